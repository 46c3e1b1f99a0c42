"""Names with wildcards and braces, matched here where the shell did not: sorted, lazily, folder by folder."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{(\d+\.\.\d+|[^{},]*(?:,[^{},]*)+)\}")
_WILD = re.compile(r"[*?\[]")


class Entry(NamedTuple):
    """What a folder holds."""

    name: str
    path: str
    is_folder: bool
    is_link: bool = False
    size: int | None = None


Listing = Callable[[str], Iterable[Entry]]
"""The entries of a folder, sorted by name."""


def has_braces(path: str) -> bool:
    """Whether ``expand_braces`` has something to expand."""
    return _BRACES.search(path) is not None


def expand_braces(path: str) -> Iterator[str]:
    """``a-{00..02}.tar`` -> ``a-00.tar`` to ``a-02.tar``, and ``{a,b}.tar`` as well; any number of braces, lazily."""
    match = _BRACES.search(path)
    if match is None:
        yield path
        return
    numbers = _RANGE.fullmatch(match[1])
    choices: Iterable[str]
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        width = len(numbers[1]) if numbers[1].startswith("0") or len(numbers[1]) == len(numbers[2]) else 0
        step = 1 if last >= first else -1
        choices = (f"{number:0{width}}" for number in range(first, last + step, step))
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from expand_braces(path[: match.start()] + choice + path[match.end() :])


def is_wild(path: str) -> bool:
    """Whether it has wildcards: ``*``, ``?``, ``[a-z]``."""
    return _WILD.search(path) is not None


def split_wild(path: str) -> tuple[str, list[str]]:
    """The folder in front of the first wildcard ("" for none), and the parts after it."""
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if is_wild(part))
    folder = "/".join(parts[:first])
    return (folder or "/") if first else "", [part for part in parts[first:] if part]


def names_a_suffix(pattern: str) -> bool:
    """Whether a pattern says what the names end in, so that all it matches is meant: ``*.dat``, but not ``*``."""
    return re.search(r"\.[^*?\[\]./]+$", pattern) is not None


def match(folder: str, parts: list[str], listing: Listing) -> Iterator[Entry]:
    """The files below ``folder`` that the parts of a pattern match, ordered by name within each folder.

    ``**`` stands for any number of folders, none included, and at the end for every file below. Names that begin with
    a dot are matched only by a part that begins with one; ``**`` does not follow links to folders.
    """
    tests = [re.compile(fnmatch.translate(part)) for part in parts]

    def reached(places: Iterable[int]) -> set[int]:
        """With those that ``**``, standing for nothing, leads on to."""
        found = set(places)
        for place in range(len(parts)):
            if place in found and parts[place] == "**":
                found.add(place + 1)
        return found

    def below(path: str, places: set[int]) -> Iterator[Entry]:
        for entry in listing(path):
            hidden = entry.name.startswith(".")
            stays, steps = set(), set()
            for place in places - {len(parts)}:
                if hidden and not parts[place].startswith("."):
                    continue
                if parts[place] == "**":
                    stays.add(place)
                elif tests[place].match(entry.name):
                    steps.add(place + 1)
            if not entry.is_folder:
                if len(parts) in reached(chain(stays, steps)):
                    yield entry
            elif following := reached(steps if entry.is_link else stays | steps) - {len(parts)}:
                yield from below(entry.path, following)

    yield from below(folder, reached({0}))
