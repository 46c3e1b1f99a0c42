"""The best shot of a group and how sure that is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Scale

MarginBy = Literal["difference", "intervals"]


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
    """How far the best is ahead of the next, in units (``margin_of``); ``None`` for one shot, or without a unit."""

    clear_from: float = 1.0
    """The margin from which on the best is told from the next."""
    difference: float | None = None
    """The unit, if it is one for all shots: ``Scale.shot_difference``; ``None`` for that of their intervals."""

    @property
    def margin_by(self) -> MarginBy:
        """What a unit is."""
        return "intervals" if self.difference is None else "difference"

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
        return 0.0 if shot is self.best else margin_of(self.best, shot, self.difference)

    def decision(self, shot: Shot) -> str:
        """``pick`` for the best, ``reject`` for what is told from it, and empty for the others."""
        if shot is self.best:
            return "pick"
        behind = self.behind(shot)
        return "reject" if behind is not None and behind >= self.clear_from else ""


def unit_of(scale: Scale, by: MarginBy | None) -> float | None:
    """The ``difference`` that margins are measured in on a scale; ``None`` for the intervals of the shots themselves.

    By default that of the scale, where one was measured. Raises ``ConfigError`` if it is asked for and is not there.
    """
    if by == "difference" and scale.shot_difference is None:
        raise ConfigError(
            f"--margin-by difference: no bursts have calibrated {scale.model or 'this model'}; "
            "run benchmarks/bursts.py --calibrate on it, or take --margin-by intervals"
        )
    return None if by == "intervals" else scale.shot_difference


def best_of(
    shots: Iterable[Shot],
    *,
    higher_is_better: bool = True,
    clear_from: float = 1.0,
    difference: float | None = None,
) -> Best:
    """Order the shots of a group, of which there is at least one, and measure the best's margin to the next."""
    sign = -1.0 if higher_is_better else 1.0
    ordered = tuple(sorted(shots, key=lambda shot: sign * shot.score))
    margin = margin_of(ordered[0], ordered[1], difference) if len(ordered) > 1 else None
    return Best(ordered, margin, clear_from, difference)


def margin_of(first: Shot, second: Shot, difference: float | None = None) -> float | None:
    """How far two scores are apart, in units of ``difference``: 1 where nine of ten are in the right order.

    Without it in units of their intervals, the root of the sum of the squares of both half widths. That is the interval
    of a difference if the errors of the two scores have nothing to do with each other. But shots of one subject err
    alike, so it is by far too wide a unit. ``None`` for shots without intervals.
    """
    if difference is not None:
        return abs(first.score - second.score) / difference
    if first.half_width is None or second.half_width is None:
        return None
    unit = math.hypot(first.half_width, second.half_width)
    distance = abs(first.score - second.score)
    return distance / unit if unit else math.inf if distance else 0.0
