"""Which photos of a job or a table are wanted: those with scores in a range, the worst or best of them, in an order."""

import heapq
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from mpiqe.batch.sinks import Sink, Stream
from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.score import Row

Sort = Literal["score", "-score"]
Item = TypeVar("Item")

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Amount:
    """A number of photos, or a share of them, as ``--worst`` and ``--best`` take it."""

    value: float
    is_percent: bool

    @classmethod
    def parse(cls, option: str, text: str) -> "Amount":
        """Read ``20`` or ``5%``; raises ``ConfigError`` that names the option."""
        match = _AMOUNT.fullmatch(text)
        value = float(match[1]) if match else 0.0
        if match and match[2] and 0 < value <= 100:
            return cls(value, True)
        if match and not match[2] and value >= 1 and value.is_integer():
            return cls(value, False)
        raise ConfigError(f"{option} {text!r}: give a number of photos (20) or a share of them (5%)")

    def of(self, number: int) -> int:
        """How many of a ``number`` of photos; of a share at least one, if there is any."""
        wanted = math.ceil(number * self.value / 100 - 1e-9) if self.is_percent else int(self.value)
        return min(number, max(1, wanted))


@dataclass(frozen=True)
class Selection:
    """Limits on the score first, then the worst or best of what is left, then the order.

    ``worst`` and ``best`` are ``N`` or ``P%``, of the photos with a score within the limits; those photos come with the
    worst, or the best, first. ``sort``: ``score`` for the lowest first, ``-score`` for the highest. A photo without a
    score is never chosen. Raises ``ConfigError`` for values that cannot be.
    """

    min_score: float | None = None
    max_score: float | None = None
    worst: str | None = None
    best: str | None = None
    sort: Sort | None = None

    def __post_init__(self) -> None:
        low, high = self.min_score, self.max_score
        if any(value is not None and not math.isfinite(value) for value in (low, high)):
            raise ConfigError("--min-score and --max-score must be finite numbers")
        if low is not None and high is not None and low > high:
            raise ConfigError(f"no score is from {low:g} to {high:g}: --min-score is above --max-score")
        if self.worst is not None and self.best is not None:
            raise ConfigError("give --worst or --best, not both")
        if self.sort is not None and self.sort not in get_args(Sort):
            raise ConfigError(f"--sort must be {' or '.join(get_args(Sort))}, not {self.sort!r}")
        self.amount()

    @property
    def is_all(self) -> bool:
        """Whether every photo is wanted, in the order it comes."""
        return self == Selection()

    @property
    def needs_all(self) -> bool:
        """Whether the first photo is known only after the last."""
        return not (self.worst is None and self.best is None and self.sort is None)

    def amount(self) -> Amount | None:
        """How many of the worst or best, if either was asked for."""
        if self.worst is not None:
            return Amount.parse("--worst", self.worst)
        return None if self.best is None else Amount.parse("--best", self.best)

    def allows(self, score: float | None) -> bool:
        """Whether a score is within the limits."""
        if score is None:
            return False
        return (self.min_score is None or score >= self.min_score) and (
            self.max_score is None or score <= self.max_score
        )


class Chosen(Generic[Item]):
    """Takes items with their scores; at the end yields those that a ``Selection`` chooses.

    With ``--worst N`` or ``--best N`` no more than N items are in memory. Of equal scores the earlier item is taken.
    """

    def __init__(self, selection: Selection, *, higher_is_better: bool) -> None:
        self._selection = selection
        self._amount = selection.amount()
        wants_low = (selection.worst is not None) == higher_is_better
        self._sign = 1.0 if wants_low else -1.0  # of the score: the smallest are taken
        self._most = int(self._amount.value) if self._amount and not self._amount.is_percent else None
        self._items: list[tuple[float, int, Item]] = []  # (-sign * score, -number, item): the first to give up on top
        self._number = 0

    def add(self, item: Item, score: float | None) -> None:
        """Take an item."""
        if score is None or not self._selection.allows(score):
            return
        self._number += 1
        entry = (-self._sign * score, -self._number, item)
        if self._most is None:
            self._items.append(entry)
        elif len(self._items) < self._most:
            heapq.heappush(self._items, entry)
        else:
            heapq.heappushpop(self._items, entry)

    def __iter__(self) -> Iterator[Item]:
        """Those that were chosen, in order."""
        if self._amount:
            entries = sorted(self._items, reverse=True)[: self._amount.of(len(self._items))]
        else:
            entries = sorted(self._items, key=lambda entry: -entry[1])
        if self._selection.sort is not None:
            up = 1.0 if self._selection.sort == "score" else -1.0
            entries.sort(key=lambda entry: (up * -self._sign * entry[0], -entry[1]))
        return (item for _, _, item in entries)


@contextmanager
def selected(sink: Sink, selection: Selection | None, scale: Scale) -> Iterator[Sink]:
    """A sink that hands on to ``sink`` the rows that are chosen: as they come if that can be known, else at the end.

    Nothing is handed on at the end of a context that an exception ends.
    """
    if selection is None or selection.is_all:
        yield sink
    elif selection.needs_all:
        waiting = _Waiting(selection, scale)
        yield waiting
        for row in waiting.chosen:
            sink.write(row)
    else:
        yield _Passing(sink, selection)


class _Passing:
    def __init__(self, sink: Sink, selection: Selection) -> None:
        self._sink = sink
        self._selection = selection

    def write(self, row: Row) -> None:
        if row.score is not None and self._selection.allows(row.score.score):
            self._sink.write(row)


class _Waiting:
    def __init__(self, selection: Selection, scale: Scale) -> None:
        self.chosen: Chosen[Row] = Chosen(selection, higher_is_better=scale.higher_is_better)

    def write(self, row: Row) -> None:
        self.chosen.add(row, None if row.score is None else row.score.score)


class PathsSink:
    """The paths of photos that have a score, byte for byte as they were found, each followed by ``end``."""

    def __init__(self, stream: Stream, *, end: str) -> None:
        self.stream = stream
        self.end = end

    def write(self, row: Row) -> None:
        """Write the path and flush it."""
        if row.score is not None:
            self.stream.write(row.path + self.end)
            self.stream.flush()
