"""What the command line's PATHs stand for."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mpiqe.decoding import SUFFIXES


class Found(NamedTuple):
    """A photo's path and where it came from."""

    path: str
    below: str | None
    """The folder that stood for it; ``None`` for a photo that was named itself."""


def expand(paths: Iterable[str], *, stdin: IO[bytes]) -> Iterator[str]:
    """The files that ``paths`` stand for, as ``find`` finds them."""
    return (found.path for found in find(paths, stdin=stdin))


def find(paths: Iterable[str], *, stdin: IO[bytes]) -> Iterator[Found]:
    """The files that ``paths`` stand for, one after the other and found while they are used.

    A folder stands for every file below it that has the name of an image (``mpiqe.decoding.SUFFIXES``), ordered by name
    within each folder; names that begin with a dot are passed over, and links to folders are not followed. ``-`` stands
    for the paths, one per line, on ``stdin``; empty lines mean nothing. Any other path stands for itself, whether
    there is such a file or not, and so does a folder that cannot be listed: reading it will say what is wrong.
    """
    for path in paths:
        if path == "-":
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in stdin)
            yield from (found for line in lines if line for found in _stands_for(line))
        else:
            yield from _stands_for(path)


def _stands_for(path: str) -> Iterator[Found]:
    if not os.path.isdir(path):
        yield Found(path, None)
        return
    yield from (Found(inside, path) for inside in _below(path))


def _below(path: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        yield path
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif Path(entry.name).suffix.lower() in SUFFIXES and not entry.is_dir():
            yield entry.path
