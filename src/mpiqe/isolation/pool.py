"""A pool of child processes that read images: a file that makes a decoder crash, hang or eat memory costs its own row.

Each thread that reads drives a process (``process`` from this side, ``image_child`` from the other). Photos
that lie in this process as pixels already are taken as they are.
"""

import contextlib
import os
import threading
from collections.abc import Generator
from functools import partial

from mpiqe import images
from mpiqe.errors import ConfigError, ImageError, image_named
from mpiqe.images import Source, describe
from mpiqe.isolation.process import Cutting, Reader, Reading, Watch
from mpiqe.isolation.protocol import FILE_BYTES_PER_PIXEL, Buffers
from mpiqe.preview import Previews

_ATTEMPTS = 4
PAUSE = 0.5
"""Seconds before the second attempt to start a process; twice as long before each further one."""
FILE_BYTES = 64 << 20  # and so much more for whatever else a file holds


def read_here(source: Source, cutting: Cutting) -> Reading:
    """Read a photo in this process. Raises ``ImageError``."""
    positions = partial(
        images.crop_positions, size=cutting.size, count=cutting.count, mode=cutting.mode, seed=cutting.seed
    )
    previews = Previews(cutting.thumbnail)
    crops, size = images.read_crops(
        source,
        size=cutting.size,
        positions=positions,
        max_pixels=cutting.max_pixels,
        view=cutting.view,
        on_decoded=previews.take,
    )
    return Reading(crops, size, previews.last)


class Readers:
    """A pool of reader processes, one for each thread that calls ``read`` at the same time, started on demand.

    A process that ends, or takes longer than ``timeout`` seconds for a photo, is replaced. ``close`` ends them all, and
    with them the reading and fetching that is under way. Without ``isolate`` all reading is done in this process.
    """

    def __init__(self, *, cutting: Cutting, timeout: float, isolate: bool = True) -> None:
        self._cutting = cutting
        self._isolate = isolate
        self._timeout = timeout
        self._buffers = Buffers(cutting.crops_bytes)
        self._lock = threading.Lock()
        self._all: set[Reader] = set()
        self._idle: list[Reader] = []
        self._leave = threading.Lock()  # to decode a large photo
        self.closed = threading.Event()
        """Set by ``close``: whoever fetches what is to be read may give up."""
        self._watch = Watch(timeout=timeout)
        self._worked = False

    def read(self, source: Source) -> Reading:
        """Read a photo.

        Raises ``ImageError`` and, if no process can be started, ``ConfigError``.
        """
        if not (self._isolate and isinstance(source, (str, os.PathLike, bytes))):
            return read_here(source, self._cutting)
        with image_named(describe(source)), self._reader() as reader:
            if not isinstance(source, bytes):
                try:
                    path = os.fsencode(_absolute(os.fspath(source)))
                except UnicodeEncodeError as error:
                    raise ImageError(None, "no file system holds such a name") from error
                return reader.read("path", path, self._cutting, self._leave, self._buffers)
            if len(source) > FILE_BYTES + FILE_BYTES_PER_PIXEL * self._cutting.max_pixels:
                raise ImageError(
                    None,
                    f"a file of {len(source)} bytes is too large for a photo of at most {self._cutting.max_pixels} "
                    "pixels; raise max_pixels if you trust the file",
                )
            return reader.read("content", source, self._cutting, self._leave, self._buffers)

    def close(self) -> None:
        """End all processes, from any thread."""
        with self._lock:
            self.closed.set()
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for reader in busy:  # the threads that use them close them
            reader.kill()
        for reader in idle:
            self._discard(reader)
        self._watch.close()

    @contextlib.contextmanager
    def _reader(self) -> Generator[Reader, None, None]:
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = self._start()
        try:
            yield reader
        finally:
            with self._lock:
                kept = reader.alive and not self.closed.is_set()
                if kept:
                    self._idle.append(reader)
            if not kept:
                self._discard(reader)

    def _start(self) -> Reader:
        for attempt in range(_ATTEMPTS):
            try:
                return self._start_once()
            except ConfigError:  # once it worked; the system may be short of processes or memory for the moment
                if not self._worked or attempt == _ATTEMPTS - 1 or self.closed.wait(PAUSE * 2**attempt):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _start_once(self) -> Reader:
        with self._lock:
            if self.closed.is_set():
                raise ImageError(None, "reading was stopped")
            reader = Reader(timeout=self._timeout)
            self._all.add(reader)
        self._watch.add(reader)
        try:
            reader.wait_until_ready()
        except ConfigError:
            self._discard(reader)
            raise
        self._worked = True
        return reader

    def _discard(self, reader: Reader) -> None:
        reader.close()
        self._watch.discard(reader)
        with self._lock:
            self._all.discard(reader)


def _absolute(path: str) -> str:
    """Return the path for a process with another working directory."""
    try:
        return os.path.join(os.getcwd(), path) if path else path
    except FileNotFoundError:  # the working directory was removed
        return path
