"""Groups of like photos on a page and the best shot of each, as in ``mpiqe best``. Axes: N photos, G groups."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiqe.best.capture import Capture
from mpiqe.best.grouping import MOST_BITS, WITHIN, GroupBy, by_time, check_limits, group_photos, numbered
from mpiqe.best.shots import MarginBy, Shot, best_of, unit_of
from mpiqe.errors import ConfigError
from mpiqe.gallery.table import Table, split_path
from mpiqe.runtimes.base import Scale

ALONE = 0xFFFFFFFF
"""The group of a photo that has none."""


@dataclass(frozen=True)
class Grouping:
    """Which photos are shots of one subject, and from which margin on the best of them is told; as in ``mpiqe best``.

    Raises ``ConfigError`` for a way to group that is none, and for limits that cannot be.
    """

    by: GroupBy = "time"
    within: float = WITHIN
    most_bits: int = MOST_BITS
    clear_from: float = 1.0
    margin_by: MarginBy | None = None

    def __post_init__(self) -> None:
        check_limits(self.by, within=self.within, most_bits=self.most_bits)
        if not self.clear_from > 0:
            raise ConfigError(f"--clear-from must be above 0, not {self.clear_from:g}")

    def difference(self, scale: Scale | None) -> float | None:
        """The unit of margins; raises ``ConfigError`` where one is asked for that the model does not have."""
        return unit_of(scale or Scale(low=0, high=1, unit=""), self.margin_by)


@dataclass(frozen=True)
class ShotGroups:
    """Groups of two photos or more."""

    by: GroupBy
    clear_from: float
    of: NDArray[np.uint32]
    """(N,) the number of each photo's group, ``ALONE`` for one without."""
    best: NDArray[np.uint32]
    """(G,) the number of each group's best photo."""
    margin: NDArray[np.float32]
    """(G,) how far the best is ahead of the next; NaN without intervals."""
    behind: NDArray[np.float32]
    """(N,) how far each photo is behind its group's best, in the same units."""


def find_groups(
    table: Table,
    grouping: Grouping,
    captures: Sequence[Capture | None],
    files: Sequence[str | None],
    *,
    workers: int,
    timeout: float,
) -> ShotGroups | None:
    """The groups among a table's photos; ``None`` if all are alone.

    ``captures`` of all photos are known from the reading that made their thumbnails; for likeness the ``files`` are
    read once more.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(_numbers(table, grouping, captures, files, workers=workers, timeout=timeout)):
        members[number].append(row)
    rows_of = [rows for rows in members.values() if len(rows) > 1]
    if not rows_of:
        return None
    of = np.full(len(table.paths), ALONE, dtype=np.uint32)
    behind = np.full(len(table.paths), np.nan, dtype=np.float32)
    best = np.empty(len(rows_of), dtype=np.uint32)
    margin = np.empty(len(rows_of), dtype=np.float32)
    higher = table.scale is None or table.scale.higher_is_better
    difference = grouping.difference(table.scale)
    for number, rows in enumerate(rows_of):
        shots = {row: _shot(table, row) for row in rows}
        group = best_of(shots.values(), higher_is_better=higher, difference=difference)
        of[rows] = number
        behind[rows] = [_or_nan(group.behind(shot)) for shot in shots.values()]
        best[number] = next(row for row, shot in shots.items() if shot is group.best)
        margin[number] = _or_nan(group.margin)
    return ShotGroups(grouping.by, grouping.clear_from, of, best, margin, behind)


def _numbers(
    table: Table,
    grouping: Grouping,
    captures: Sequence[Capture | None],
    files: Sequence[str | None],
    *,
    workers: int,
    timeout: float,
) -> list[int]:
    if grouping.by == "time":
        return by_time(captures, grouping.within)
    if grouping.by == "folder":
        return numbered([split_path(path)[0] for path in table.paths])
    known = [row for row, file in enumerate(files) if file is not None]
    there = [file for file in files if file is not None]
    groups = group_photos(there, grouping.by, most_bits=grouping.most_bits, workers=workers, timeout=timeout)
    numbers = list(range(len(known), len(known) + len(files)))  # alone, as what is in archives and on servers is
    for row, group in zip(known, groups, strict=True):
        numbers[row] = group
    return numbers


def _shot(table: Table, row: int) -> Shot:
    low, high = float(table.low[row]), float(table.high[row])
    interval = None if math.isnan(low) or math.isnan(high) else (low, high)
    return Shot(table.paths[row], float(table.score[row]), interval=interval)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
