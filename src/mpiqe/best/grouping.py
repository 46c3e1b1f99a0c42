"""Which photos belong together: taken within seconds, alike, or in one folder."""

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from mpiqe.best.capture import Capture, read_captures
from mpiqe.best.likeness import BITS, alike, hash_photos
from mpiqe.errors import ConfigError

GroupBy = Literal["time", "similarity", "folder"]

WITHIN = 2.0
"""Seconds from one photo of a burst to the next."""
MOST_BITS = 10
"""Of 64 that two photos may differ in to be alike; benchmarks/bursts.py says why."""


def group_photos(
    paths: Sequence[str],
    by: GroupBy,
    *,
    within: float = WITHIN,
    most_bits: int = MOST_BITS,
    workers: int = 2,
    timeout: float = 60.0,
) -> list[int]:
    """The number of each photo's group, from 0 in the order in which groups begin; alone, a photo is a group too.

    ``time``: photos of one camera, each at most ``within`` seconds after the one before, by the time in their EXIF.
    ``similarity``: photos whose perceptual hashes differ in at most ``most_bits`` of 64 bits, and those that are alike
    to these; it needs imagehash and reads every photo. ``folder``: photos of one folder. A photo without a time, or
    that cannot be read, is alone. Raises ``ConfigError`` for another ``by`` and for limits that cannot be.
    """
    check_limits(by, within=within, most_bits=most_bits)
    if by == "folder":
        return numbered([os.path.dirname(os.path.abspath(path)) for path in paths])
    if by == "time":
        return by_time(list(read_captures(paths, workers=workers, timeout=timeout)), within)
    return _by_similarity(paths, most_bits, workers=workers, timeout=timeout)


def check_limits(by: str, *, within: float, most_bits: int) -> None:
    """Raise ``ConfigError`` for a way to group that is none, limits that cannot be or of another way."""
    if by not in get_args(GroupBy):
        raise ConfigError(f"--group-by must be one of {', '.join(get_args(GroupBy))}, not {by!r}")
    if not 0 <= within < float("inf"):
        raise ConfigError(f"--within must be a number of seconds, not {within:g}")
    if not 0 <= most_bits < BITS:
        raise ConfigError(f"--most-bits must be from 0 to {BITS - 1}, not {most_bits}")
    if by != "time" and within != WITHIN:
        raise ConfigError(f"--within is of use only with --group-by time, not {by}; leave it away")
    if by != "similarity" and most_bits != MOST_BITS:
        raise ConfigError(f"--most-bits is of use only with --group-by similarity, not {by}; leave it away")


def by_time(captures: Sequence[Capture | None], within: float) -> list[int]:
    """The number of each photo's group by its capture; photos without one are alone."""
    of_camera: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, capture in enumerate(captures):
        if capture is not None:
            of_camera[capture.camera].append((capture.seconds, index))
    pairs = []
    for moments in of_camera.values():
        moments.sort()
        pairs += [(first, second) for (before, first), (after, second) in pairwise(moments) if after - before <= within]
    return _joined(len(captures), pairs)


def _by_similarity(paths: Sequence[str], most_bits: int, *, workers: int, timeout: float) -> list[int]:
    hashes = list(hash_photos(paths, workers=workers, timeout=timeout))
    known = [index for index, value in enumerate(hashes) if value is not None]
    words = np.array([value for value in hashes if value is not None], dtype=np.uint64)
    return _joined(len(paths), ((known[i], known[j]) for i, j in alike(words, most_bits)))


def _joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Numbers of the groups that ``pairs`` connect."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in pairs:
        parent[root(first)] = root(second)
    return numbered([root(index) for index in range(count)])


def numbered(keys: Sequence[Hashable]) -> list[int]:
    """The number of each key's group, from 0 in the order in which groups begin."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
