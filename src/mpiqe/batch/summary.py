"""Figures of a whole job, collected row by row: 8 bytes a photo."""

import statistics
from array import array
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Of all rows of an output that have a score."""

    median: float
    worst: float
    worst_name: str
    """The path of the first image with that score."""


class Scores:
    """Collects scores; ``higher_is_better`` is known when a model is loaded."""

    def __init__(self) -> None:
        self.higher_is_better = True
        self._scores = array("d")
        self._lowest: tuple[float, str] | None = None
        self._highest: tuple[float, str] | None = None

    def add(self, name: str, score: float | None) -> None:
        """Add a row; one without a score counts nothing."""
        if score is None:
            return
        self._scores.append(score)
        if self._lowest is None or score < self._lowest[0]:
            self._lowest = score, name
        if self._highest is None or score > self._highest[0]:
            self._highest = score, name

    def summary(self) -> Summary | None:
        """Return the figures; ``None`` where there is no score."""
        worst = self._lowest if self.higher_is_better else self._highest
        if worst is None:
            return None
        return Summary(statistics.median(self._scores), *worst)
