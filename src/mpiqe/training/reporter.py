"""What a loop tells whoever watches it; only the command line prints."""

from collections.abc import Mapping
from typing import Any, Protocol


class Reporter(Protocol):
    """Watches a run."""

    def note(self, text: str) -> None:
        """One line about what is being done."""

    def begin(self, *, steps: int, done: int) -> None:
        """The run has ``steps`` optimiser steps, of which ``done`` were made before."""

    def step(self, loss: float) -> None:
        """One optimiser step was made."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """One epoch has ended; ``row`` is its line in ``metrics.jsonl``."""


class Silent:
    """A reporter that keeps everything to itself."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def begin(self, *, steps: int, done: int) -> None:
        """Say nothing."""

    def step(self, loss: float) -> None:
        """Say nothing."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Say nothing."""
