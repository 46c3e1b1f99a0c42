"""An image of a job before it is read: what its row calls it, and how its bytes are had.

Every kind of source makes the same ``Photo``, so that nobody else needs to know which kind it was.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from mpiqe.errors import ImageError, image_named
from mpiqe.regular_files import open_regular
from mpiqe.sources.names import Names
from mpiqe.sources.reach import Reach

_BUDGET = 256 << 20  # bytes; one image alone may be larger
_BUDGET_SECONDS = 30.0  # until an image is read again later rather than waited for


@dataclass(frozen=True)
class Limits:
    """Which images are wanted, how much one that has to be fetched may cost, and where it may come from."""

    max_bytes: int = 256 << 20
    """Larger downloads, objects, members and cells are refused."""
    timeout: float = 60.0
    """Seconds that one download may take, with its redirects and retries, or one request to a store."""
    connect_timeout: float = 10.0
    """Seconds until a server must have taken the connection."""
    read_timeout: float = 20.0
    """Seconds that a server may stay silent."""
    attempts: int = 4
    """How often a download is tried where trying again can help."""
    redirects: int = 5
    """How many redirects are followed."""
    pause: float = 0.5
    """Seconds before the second attempt; each further pause is twice as long."""
    reach: Reach = field(default_factory=Reach)
    """Where addresses may lead."""
    names: Names = field(default_factory=Names)
    """What the images are called that are wanted."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, eq=False)
class Photo:
    """An image that can be read. Make one with a finder, or with ``file_photo``, ``unreadable`` and ``held_photo``."""

    name: str
    """What its row and messages call it: a file's path, ``archive::member``, a URL without its secrets."""
    fetch: Callable[[], bytes] = field(repr=False)
    """Gets its bytes, as ``read`` does; its ``ImageError`` needs no name."""
    file: str | None = None
    """The path, if it is a file of its own on this machine: a reader can open that itself."""
    folder: str | None = None
    """Of a file that was found in a folder or by a pattern: that folder, or the one that the pattern begins with."""
    relative: str = ""
    """Of what is no file: the relative path to name its figure by, as untrusted as the archive or the URL."""
    fault: str | None = None
    """Why it cannot be read, where that is known before anybody tries."""
    origin: dict[str, Any] | None = field(default=None, repr=False)
    """What ``to_json`` returns; ``None`` for an image in an archive. An address in it may hold a password."""
    kept: Mapping[str, Any] | None = None
    """Of one in a table: the row's values of other columns that were asked for, as plain values."""
    discard: Callable[[], None] = field(default=_nothing, repr=False)
    """Frees the memory that it may hold, when nobody is going to read it."""

    def read(self) -> bytes:
        """Return the bytes of its file.

        Raises ``ImageError`` with its name. Called on a reading thread: what may hang is asked with ``timeouts.call``,
        so that it ends in time and when the job is stopped.
        """
        with image_named(self.name):
            return self.fetch()

    def source(self) -> str | bytes:
        """Return what ``mpiqe.images`` reads: the path of its file, or its bytes. Raises ``ImageError``."""
        return self.read() if self.file is None else self.file

    def to_json(self) -> dict[str, Any]:
        """Return plain values that another process finds it by; an image in an archive has none, but the archive."""
        if self.origin is None:
            raise ValueError(f"{self.name} is found by the archive that it lies in")
        return self.origin

    @property
    def is_named(self) -> bool:
        """Whether it was named itself, a file or a web address, and not found among others."""
        return self.folder is None and (self.file is not None or "http" in (self.origin or {}))

    # What follows it has in common with an archive that was left closed (``archive.Archive``).

    first = 0
    is_range = False

    @property
    def identity(self) -> Any:
        """What tells it from others, as a plain value."""
        return self.name

    def photos(self) -> Iterator["Photo"]:
        """Yield itself."""
        yield self

    def count(self) -> int | None:
        """Return 1."""
        return 1

    def split(self, _size: int) -> Iterator[tuple["Photo", int]]:
        """Yield itself and 1."""
        yield self, 1


def file_photo(path: str, folder: str | None = None) -> Photo:
    """Return the photo in a file of this machine, found in ``folder`` if it was not named itself."""
    return Photo(path, partial(_read_file, path), file=path, folder=folder, origin={"file": path})


def content_photo(name: str, content: bytes) -> Photo:
    """Return the photo of which all bytes are there."""
    return Photo(name, lambda: content, relative=name)


def _read_file(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ImageError(None, error.strerror or str(error)) from error


def unreadable(name: str, reason: str, relative: str = "broken") -> Photo:
    """Return a photo, or a stand-in for an archive of them, of which it is known already why it cannot be read."""

    def fetch() -> NoReturn:
        raise ImageError(None, reason)

    return Photo(name, fetch, relative=relative, fault=reason, origin={"unreadable": name, "reason": reason})


def too_large(size: int | None, limit: int) -> str:
    """Return the reason why something over the ``limit`` is refused; ``size`` is ``None`` if it is not known."""
    stated = "more than that" if size is None else f"{size} bytes"
    return f"over the limit of {limit} bytes ({stated}); raise --max-bytes if you trust it"


class Budget:
    """How many bytes of images may be held at a time, all archives of a job together."""

    def __init__(self, *, room: int = _BUDGET, wait_seconds: float = _BUDGET_SECONDS) -> None:
        self.room = room
        self.wait_seconds = wait_seconds
        self.held = 0
        self.changed = threading.Condition()

    def take(self, size: int) -> bool:
        """Wait until there is room for ``size`` bytes or nothing is held; ``False`` if nobody makes room."""
        with self.changed:
            free = self.changed.wait_for(lambda: not self.held or self.held + size <= self.room, self.wait_seconds)
            if free:
                self.held += size
            return free

    def give(self, size: int) -> None:
        """Free ``size`` bytes."""
        with self.changed:
            self.held -= size
            self.changed.notify_all()


def held_photo(name: str, content: bytes, *, budget: Budget, again: Callable[[], bytes], relative: str) -> Photo:
    """Return a photo out of what can only be read from front to back, in memory until a reading thread asks for it.

    Its bytes go to the first who reads it; after that they are read ``again`` from the archive. Where the budget has no
    room, since nobody reads what is held, they are not kept, and reading again is slow and costs no memory.
    """
    held = _Held(content, budget, again)
    return Photo(name, held.fetch, relative=relative, discard=held.discard)


class _Held:
    def __init__(self, content: bytes, budget: Budget, again: Callable[[], bytes]) -> None:
        self._budget = budget
        self._again = again
        self._content = content if budget.take(len(content)) else None

    def fetch(self) -> bytes:
        content = self._taken()
        return self._again() if content is None else content

    def discard(self) -> None:
        self._taken()

    def _taken(self) -> bytes | None:
        with self._budget.changed:
            content, self._content = self._content, None
            if content is not None:
                self._budget.give(len(content))
            return content
