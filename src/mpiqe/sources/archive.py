"""Archives of images, tar, zip and tables, that stay closed until somebody asks for what is in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import islice
from types import TracebackType
from typing import Any

from mpiqe.isolation.table_process import Tables
from mpiqe.sources import parquet, passed_over, store
from mpiqe.sources.kinds import is_table, kind_of
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.photo import Budget, Limits, Photo, file_photo, unreadable
from mpiqe.sources.urls import addressed, scheme, shown

LARGE_TAR = 4 << 30  # bytes; smaller ones are not gone over just to be split
_BYTES_PER_PHOTO = 64 << 10  # a guess, to put small tars together


class Shared:
    """What the archives of one job share: limits, the memory for images, the process that reads tables, and a count of
    what is ``left_out``.

    Use it as a context; at its end the process is gone.
    """

    def __init__(
        self,
        limits: Limits,
        column: str | None = None,
        left_out: PassedOver | None = None,
        *,
        kept: Sequence[str] = (),
    ) -> None:
        self.limits = limits
        self.column = column
        self.kept = kept
        self.left_out = left_out or PassedOver()
        self.budget = Budget()
        self.tables = Tables(max_bytes=limits.max_bytes, timeout=limits.timeout)

    def __enter__(self) -> "Shared":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.tables.close()


@dataclass(frozen=True)
class Archive:
    """The images in a tar, zip or table, from number ``first`` to before number ``last``, counted from 0."""

    name: str
    """What rows and messages call it; holds no secrets."""
    location: str = field(repr=False)
    """A path, or an address of a store, which may hold a password."""
    in_store: bool
    shared: Shared = field(repr=False, compare=False)
    first: int = 0
    last: int | None = None

    @property
    def is_range(self) -> bool:
        """Whether it is a part of the file, of which there may be others."""
        return self.first > 0 or self.last is not None

    @property
    def identity(self) -> Any:
        """What tells it from others, as a plain value."""
        return [self.name, self.first, self.last]

    def to_json(self) -> dict[str, Any]:
        """Return plain values that another process finds it by; an address in it may hold a password."""
        return {
            "archive": self.name,
            "location": self.location,
            "in_store": self.in_store,
            "first": self.first,
            "last": self.last,
        }

    def photos(self) -> Iterator[Photo]:
        """Open it and yield its images in order, but those whose names are not wanted.

        What a table has before them is not read, nor are bytes in a plain tar. Raises ``ConfigError`` where a package
        that is needed is not installed; whatever else goes wrong is in place of the image that it is wrong with.
        """
        for photo in self._photos():
            if photo.fault is not None or self.shared.limits.names.wanted(photo.name):
                yield photo
            else:
                photo.discard()
                self.shared.left_out.add(passed_over.FILTERED)

    def _photos(self) -> Iterator[Photo]:
        shared, path = self.shared, addressed(self.location) if self.in_store else self.location
        opened = partial(store.opened, limits=shared.limits) if self.in_store else None
        if kind := kind_of(path):
            members = import_module(kind.module).photos(
                self.location, shown=self.name, limits=shared.limits, budget=shared.budget, opened=opened
            )
            yield from islice(members, self.first, self.last)
        else:
            yield from parquet.photos(
                self.location,
                shown=self.name,
                column=shared.column,
                limits=shared.limits,
                budget=shared.budget,
                named=partial(photo_in_cell, limits=shared.limits, is_elsewhere=self.in_store),
                opened=opened,
                tables=shared.tables,
                first=self.first,
                last=self.last,
                kept=shared.kept,
            )

    def count(self) -> int | None:
        """Return how many images it has; ``None`` where that takes reading everything, or it cannot be read."""
        if self.in_store:
            return None
        try:
            if kind := kind_of(self.location):
                counted: int | None = import_module(kind.module).count(self.location)
                return counted
            return parquet.count(self.location, tables=self.shared.tables)
        except Exception:  # it is a guess for the progress bar; what is wrong will be in a row
            return None

    def split(self, size: int) -> Iterator[tuple["Archive", int]]:
        """Yield parts of at most ``size`` images, and about how many each has; all in one where nobody can know.

        Parts of an archive count as ``size``, so that none shares a shard.
        """
        length = self._length()
        is_worth_it = is_table(self.name) or (length or 0) > LARGE_TAR
        counted = self.count() if is_worth_it else None
        if counted is None:
            yield self, size if length is None else length // _BYTES_PER_PHOTO + 1
        elif counted <= size:
            yield self, max(1, counted)
        else:
            for first in range(0, counted, size):
                last = first + size
                yield replace(self, first=first, last=last if last < counted else None), size

    def _length(self) -> int | None:
        """How many bytes it has; ``None`` for one that is elsewhere or missing."""
        try:
            return None if self.in_store else os.path.getsize(self.location)
        except OSError:  # its row will say so
            return None


def photo_in_cell(path: str, *, limits: Limits, is_elsewhere: bool) -> Photo:
    """Return what a table's cell stands for: one image, never a folder, so that rows stay beside rows.

    A table on this machine may name its files; one that ``is_elsewhere`` may not.
    """
    kind = scheme(path)
    if kind is None:
        if is_elsewhere:
            return unreadable(path, "a table that is not on this machine names no files of this machine")
        return file_photo(path)
    if kind in ("http", "https"):
        from mpiqe.sources import http  # its libraries take as long to load as an image takes to score

        return http.photo(path, limits, own=False)
    refusal = limits.reach.refusal(path, files=not is_elsewhere)
    if refusal is not None:
        return unreadable(shown(path), refusal)
    return store.photo(path, limits)


def photo_from_json(values: dict[str, Any], limits: Limits) -> Photo:
    """Return the photo of which ``Photo.to_json`` wrote these values; it keeps to ``limits``."""
    if "file" in values:
        return file_photo(values["file"])
    if "unreadable" in values:
        return unreadable(values["unreadable"], values["reason"])
    if "http" in values:
        from mpiqe.sources import http

        return http.photo(values["http"], limits, own=values["own"])
    return store.photo(values["object"], limits, size=values["size"])


def source_from_json(values: dict[str, Any], shared: Shared) -> Photo | Archive:
    """Return the photo or archive whose ``to_json`` wrote these values; it keeps to the limits of ``shared``."""
    if "archive" not in values:
        return photo_from_json(values, shared.limits)
    return Archive(values["archive"], values["location"], values["in_store"], shared, values["first"], values["last"])
