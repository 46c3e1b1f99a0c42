"""Figures of a whole job, collected row by row, in memory that does not grow with their number."""

from collections import Counter
from dataclasses import dataclass

_DIGITS = 5  # significant ones of the scores that are counted: there are 90,000 from 10 to 100


@dataclass(frozen=True)
class Summary:
    """Of all rows of an output that have a score."""

    median: float
    """Of the scores with five significant digits."""
    worst: float
    worst_name: str
    """The path of the first image with that score."""


class Scores:
    """Collects scores; ``higher_is_better`` is known when a model is loaded."""

    def __init__(self) -> None:
        self.higher_is_better = True
        self._counts: Counter[float] = Counter()
        self._lowest: tuple[float, str] | None = None
        self._highest: tuple[float, str] | None = None

    def add(self, name: str, score: float | None) -> None:
        """Add a row; one without a score counts nothing."""
        if score is None:
            return
        self._counts[float(f"{score:.{_DIGITS}g}")] += 1
        if self._lowest is None or score < self._lowest[0]:
            self._lowest = score, name
        if self._highest is None or score > self._highest[0]:
            self._highest = score, name

    def summary(self) -> Summary | None:
        """Return the figures; ``None`` where there is no score."""
        worst = self._lowest if self.higher_is_better else self._highest
        if worst is None:
            return None
        return Summary(self._median(), *worst)

    def _median(self) -> float:
        number = self._counts.total()
        middle, seen, found = {(number - 1) // 2, number // 2}, 0, list[float]()
        for score in sorted(self._counts):
            seen += self._counts[score]
            found += [score for place in middle if seen - self._counts[score] <= place < seen]
        return sum(found) / len(found)
