"""Match the photos of two tables: scores by two models, or of two versions of the photos."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError
from mpiqe.gallery.table import Table


@dataclass(frozen=True)
class Match:
    """Two tables of the same photos in the same order."""

    first: Table
    second: Table
    same_files: bool
    """Whether both name the same files, so that models differ, or files of the same name in two folders."""
    left_out: int
    """Photos of one of the tables that the other has no score of."""


def match(first: Table, second: Table) -> Match:
    """Match two tables by path, by the path below each table's own folder, or by that without suffix.

    What matches most photos is taken. Raises ``ConfigError`` where nothing matches, and for a photo that is in a table
    twice.
    """
    found = [_pairs(keys(first.paths), keys(second.paths)) for keys in (_whole, _below, _without_suffix)]
    if found[0] is None:
        raise ConfigError(f"{first.name} or {second.name} has a photo twice, so they cannot be compared")
    best = max((pairs for pairs in found if pairs is not None), key=len)
    if not best:
        raise ConfigError(f"{first.name} and {second.name} have no photo in common, neither by path nor by name")
    pairs: NDArray[np.intp] = np.array(best, dtype=np.intp)
    left_out = len(first.paths) + len(second.paths) - 2 * len(pairs)
    return Match(first.take(pairs[:, 0]), second.take(pairs[:, 1]), best is found[0], left_out)


def _pairs(mine: list[str], theirs: list[str]) -> list[tuple[int, int]] | None:
    """Rows of one name; ``None`` where a name is there twice."""
    there = {key: row for row, key in enumerate(theirs)}
    if len(there) < len(theirs) or len(set(mine)) < len(mine):
        return None
    return [(row, there[key]) for row, key in enumerate(mine) if key in there]


def _whole(paths: list[str]) -> list[str]:
    return paths


def _below(paths: list[str]) -> list[str]:
    """Each path from the deepest folder on that all of them lie in."""
    folders = [path.replace(os.sep, "/").split("/")[:-1] for path in paths]
    low, high = min(folders, default=[]), max(folders, default=[])
    common = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return ["/".join(path.replace(os.sep, "/").split("/")[common:]) for path in paths]


def _without_suffix(paths: list[str]) -> list[str]:
    return [os.path.splitext(path)[0] for path in _below(paths)]
