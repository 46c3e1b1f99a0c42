"""Interface for the progress of a training run; only the command line prints."""

from collections.abc import Mapping
from typing import Any, Protocol


class Reporter(Protocol):
    """Receives the progress of a run."""

    def note(self, text: str) -> None:
        """Show one line of text."""

    def begin(self, *, steps: int, done: int) -> None:
        """The run has ``steps`` optimiser steps, of which ``done`` were made before."""

    def step(self, loss: float) -> None:
        """One optimiser step was made."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """One epoch has ended; ``row`` is its line in ``metrics.jsonl``."""


class Silent:
    """A reporter that does nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def begin(self, *, steps: int, done: int) -> None:
        """Do nothing."""

    def step(self, loss: float) -> None:
        """Do nothing."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Do nothing."""
