"""The best shot of a group and how sure that is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shot:
    """A photo with its score."""

    path: str
    score: float
    quality: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def half_width(self) -> float | None:
        """Half of its interval, in units of the score."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True)
class Best:
    """The shots of a group, the best first."""

    shots: tuple[Shot, ...]
    margin: float | None
    """How far the best is ahead of the next, in units of their intervals; ``None`` for one shot, or without intervals.

    A unit is the root of the sum of the squares of both half widths: the interval of a difference, if the errors of the
    two scores have nothing to do with each other. Shots of one subject err alike, so that it is a cautious unit.
    """

    clear_from: float = 1.0
    """The margin from which on the best is told from the next."""

    @property
    def best(self) -> Shot:
        """The one with the best score."""
        return self.shots[0]

    @property
    def can_tell(self) -> bool:
        """Whether the best is far enough ahead of the next."""
        return self.margin is not None and self.margin >= self.clear_from

    def behind(self, shot: Shot) -> float | None:
        """How far a shot is behind the best, in the margin's units."""
        return 0.0 if shot is self.best else margin_of(self.best, shot)

    def decision(self, shot: Shot) -> str:
        """``pick`` for the best, ``reject`` for what is told from it, and empty for the others."""
        if shot is self.best:
            return "pick"
        behind = self.behind(shot)
        return "reject" if behind is not None and behind >= self.clear_from else ""


def best_of(shots: Iterable[Shot], *, higher_is_better: bool = True, clear_from: float = 1.0) -> Best:
    """Order the shots of a group, of which there is at least one, and measure the best's margin to the next."""
    sign = -1.0 if higher_is_better else 1.0
    ordered = tuple(sorted(shots, key=lambda shot: sign * shot.score))
    return Best(ordered, margin_of(ordered[0], ordered[1]) if len(ordered) > 1 else None, clear_from)


def margin_of(first: Shot, second: Shot) -> float | None:
    """How far two scores are apart, in units of their intervals (``Best.margin``)."""
    if first.half_width is None or second.half_width is None:
        return None
    unit = math.hypot(first.half_width, second.half_width)
    distance = abs(first.score - second.score)
    return distance / unit if unit else math.inf if distance else 0.0
