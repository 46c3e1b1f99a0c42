"""Reading photos apart from the scorer: a file that makes a decoder crash, hang or eat memory costs its own row.

Each thread that reads drives a process (``reader_process`` from this side, ``reader_child`` from the other). Photos
that lie in this process as pixels already are taken as they are.
"""

import contextlib
import os
import threading
from collections.abc import Generator
from functools import partial
from typing import TypeAlias

from mpiqe import images
from mpiqe.errors import ConfigError, ImageError
from mpiqe.images import Pixels, Source
from mpiqe.scoring.reader_frames import FILE_BYTES_PER_PIXEL, Buffers
from mpiqe.scoring.reader_process import Cutting, Reader, Watch
from mpiqe.scoring.sources import patience
from mpiqe.scoring.sources.found import Fetched

_ATTEMPTS = 4
_PAUSE = 0.5  # seconds before the second attempt to start a process, and twice as long before each further one
_FILE_BYTES = 64 << 20  # and so much more for whatever else a file holds


AnySource: TypeAlias = "Source | Fetched"


def describe(source: AnySource) -> str:
    """What rows and messages call a source."""
    return source.name if isinstance(source, Fetched) else images.describe(source)


def read_here(source: AnySource, cutting: Cutting) -> tuple[Pixels, tuple[int, int]]:
    """A photo's crops (K, S, S, 3) and its own (width, height), read in this process. Raises ``ImageError``."""
    if isinstance(source, Fetched):
        with _named(source.name):
            content = source.fetch()
            with _unnamed(content):
                return read_here(content, cutting)
    positions = partial(
        images.crop_positions, size=cutting.size, count=cutting.count, mode=cutting.mode, seed=cutting.seed
    )
    return images.read_crops(
        source, size=cutting.size, positions=positions, max_pixels=cutting.max_pixels, view=cutting.view
    )


class Readers:
    """Reader processes, as many as there are threads that call ``read`` at once; started when they are needed.

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
        self._closed = threading.Event()
        self._watch = Watch(timeout=timeout)
        self._worked = False

    def read(self, source: AnySource) -> tuple[Pixels, tuple[int, int]]:
        """A photo's crops (K, S, S, 3) and its own (width, height).

        Raises ``ImageError`` with the photo's name, and ``ConfigError`` if no process can be started.
        """
        with patience.stopped_by(self._closed):
            return self._read(source)

    def _read(self, source: AnySource) -> tuple[Pixels, tuple[int, int]]:
        if not (self._isolate and isinstance(source, (str, os.PathLike, bytes, Fetched))):
            return read_here(source, self._cutting)
        with _named(describe(source)):
            if isinstance(source, (str, os.PathLike)):
                kind, body = "path", os.fsencode(_absolute(os.fspath(source)))
            else:
                kind, body = "content", source if isinstance(source, bytes) else source.fetch()
                if len(body) > _FILE_BYTES + FILE_BYTES_PER_PIXEL * self._cutting.max_pixels:
                    raise ImageError(
                        f"a file of {len(body)} bytes is too large for a photo of at most {self._cutting.max_pixels} "
                        "pixels; raise max_pixels if you trust the file"
                    )
            with self._reader() as reader:
                return reader.read(kind, body, self._cutting, self._leave, self._buffers)

    def close(self) -> None:
        """End all processes, from any thread."""
        with self._lock:
            self._closed.set()
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
                kept = reader.alive and not self._closed.is_set()
                if kept:
                    self._idle.append(reader)
            if not kept:
                self._discard(reader)

    def _start(self) -> Reader:
        for attempt in range(_ATTEMPTS):
            try:
                return self._start_once()
            except ConfigError:  # once it worked; the system may be short of processes or memory for the moment
                if not self._worked or attempt == _ATTEMPTS - 1 or self._closed.wait(_PAUSE * 2**attempt):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _start_once(self) -> Reader:
        with self._lock:
            if self._closed.is_set():
                raise ImageError("reading was stopped")
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


@contextlib.contextmanager
def _named(name: str) -> Generator[None, None, None]:
    """Give an ``ImageError`` the photo's name where it has none."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error.__cause__


@contextlib.contextmanager
def _unnamed(content: bytes) -> Generator[None, None, None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(str(error).removeprefix(f"{images.describe(content)}: ")) from error.__cause__


def _absolute(path: str) -> str:
    """As a process with another working directory must be told it."""
    try:
        return os.path.join(os.getcwd(), path) if path else path
    except FileNotFoundError:  # the working directory was removed
        return path
