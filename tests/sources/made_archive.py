"""A kind of archive that this file and one row of the table add: images one behind another, each after its length."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import IO

from mpiqe.regular_files import open_regular
from mpiqe.sources.kinds import ArchiveKind, stem_of
from mpiqe.sources.photo import Budget, Limits, Photo, too_large, unreadable

MADE = ArchiveKind((".pile",), "tests.sources.made_archive")
Open = Callable[[str], IO[bytes]]


def pile(contents: list[bytes]) -> bytes:
    """An archive of these images."""
    return b"".join(len(content).to_bytes(4, "big") + content for content in contents)


def photos(location: str, *, shown: str, limits: Limits, budget: Budget, opened: Open | None = None) -> Iterator[Photo]:
    """A photo for each image, named by its number."""
    opened = opened or open_regular
    for number, (offset, size) in enumerate(_members(location, opened)):
        name, relative = f"{shown}::{number}", f"{stem_of(location)}/{number}"
        if size > limits.max_bytes:
            yield unreadable(name, too_large(size, limits.max_bytes), relative)
        else:
            yield Photo(name, partial(_content, location, offset, size, opened), relative=relative)


def count(location: str) -> int:
    """The number of images."""
    return sum(1 for _ in _members(location, open_regular))


def _members(location: str, opened: Open) -> Iterator[tuple[int, int]]:
    with opened(location) as file:
        while head := file.read(4):
            offset, size = file.tell(), int.from_bytes(head, "big")
            yield offset, size
            file.seek(offset + size)


def _content(location: str, offset: int, size: int, opened: Open) -> bytes:
    with opened(location) as file:
        file.seek(offset)
        return file.read(size)
