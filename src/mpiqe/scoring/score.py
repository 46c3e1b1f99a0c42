"""Results of scoring."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpiqe.preview import Preview


@dataclass(frozen=True)
class Score:
    """One photo's quality. ``score`` and ``spread`` are in the units of ``Scorer.scale``."""

    score: float
    """Mean over the photo's crops."""
    spread: float
    """Standard deviation over the crops (of the population: one crop has 0): how uneven the photo is."""
    scene: dict[str, float]
    """Probability of each scene, mean over crops; they sum to 1. Empty for a model without scenes."""
    distortion: dict[str, float]
    """Probability of each distortion, likewise."""
    size: tuple[int, int]
    """Width and height of the upright photo in pixels."""
    interval: tuple[float, float] | None = None
    """Low and high: of photos like the validation photos, 90 % have their MOS in it.

    ``None`` for a model without calibration, and with fewer crops per photo, or another view of it,
    than it was calibrated with.
    """
    quality: float | None = None
    """Position of ``score`` on the scale, from 0 (worst) to 1 (best), whatever the scale's unit and direction are.

    ``None`` for a score that no ``Scorer`` has made.
    """

    def __float__(self) -> float:
        """Return ``score``: ``float(scorer(photo))``."""
        return self.score


@dataclass(frozen=True)
class Row:
    """One image of many: its score, or the reason why there is none."""

    path: str
    score: Score | None
    error: str | None
    figure: str | None = None
    """The file in which its explanation was drawn, if one was asked for."""
    kept: Mapping[str, Any] | None = None
    """Of an image in a table: its row's values of other columns that were asked for."""
    preview: Preview | None = None
    """Its thumbnail, if one was asked for."""


def likeliest(probabilities: dict[str, float]) -> str | None:
    """The most probable name, the first of several; ``None`` where there are no names."""
    return max(probabilities, key=probabilities.__getitem__, default=None)
