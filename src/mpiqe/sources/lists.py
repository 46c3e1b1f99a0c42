"""Lists of paths, in files and on standard input, one at a time and never a long one in memory."""

import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from mpiqe.decoding import begins_image

LONGEST = 1 << 16  # bytes; the longest paths have 4,096, signed addresses some thousand

_BEGINNING = 16  # bytes that tell an image
_LIKE_TEXT = (b"RIFF", b"GIF8", b"BM", b"II*", b"MM")  # images whose first bytes may be letters and a line feed
_TEXT = frozenset(range(0x20, 0x100)) | {0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x1B}
_BINARY = (b"\x89PNG", b"\xff\xd8\xff")


class Incoming(io.RawIOBase):
    """Standard input, of which it can be told whether its next line has come. Not on Windows, which cannot tell."""

    def __init__(self, descriptor: int) -> None:
        self.is_asked_next = False
        """Set by the finder: whether finding one more image begins with reading a line."""
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._is_over = False

    def waits(self) -> bool:
        """Whether finding one more image would wait for whoever writes the list."""
        if not self.is_asked_next or self._is_over or b"\n" in self._buffer:
            return False
        return not select.select([self._descriptor], [], [], 0)[0]

    def readable(self) -> bool:
        """Yes."""
        return True

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line, of ``size`` bytes at most, or what there is at the end."""
        most = sys.maxsize if size is None or size < 0 else size
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) < most and self._fill():
            pass
        return self._taken(min(most, end + 1 if end >= 0 else len(self._buffer)))

    def readinto(self, buffer: Any, /) -> int:
        """Read what is there, and wait only where nothing is."""
        if not self._buffer:
            self._fill()
        content = self._taken(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read1(self, size: int) -> bytes:
        """Return what is there, at most ``size`` bytes, and wait only where nothing is."""
        return self.read(size) or b""

    def _fill(self) -> bool:
        content = os.read(self._descriptor, LONGEST)
        self._is_over = not content
        self._buffer += content
        return bool(content)

    def _taken(self, size: int) -> bytes:
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content


def incoming(stream: IO[bytes]) -> IO[bytes]:
    """Standard input as one that can tell whether more has come, where the system can."""
    try:
        descriptor = stream.fileno()
        select.select([descriptor], [], [], 0)
    except (OSError, ValueError):  # no file, as in tests and notebooks, or one that cannot be asked
        return stream
    return cast("IO[bytes]", Incoming(descriptor))


def first_line(file: IO[bytes]) -> tuple[bytes, bool]:
    """The first line, or the first bytes of an image, and whether it is one; no more is read than that takes."""
    head = file.readline(LONGEST)
    is_odd = head.startswith((*_BINARY, *_LIKE_TEXT)) or not _TEXT.issuperset(head[:_BEGINNING])
    while is_odd and head.endswith(b"\n") and len(head) < _BEGINNING and (more := file.read(_BEGINNING - len(head))):
        head += more
    is_image = is_odd and begins_image(head) and (head.startswith(_BINARY) or not _TEXT.issuperset(head[:_BEGINNING]))
    return head, is_image


def is_image_file(path: Path) -> bool:
    """Whether a file that should be a list is an image."""
    with path.open("rb") as file:
        return first_line(file)[1]


def rest_of(head: bytes, file: IO[bytes], most: int) -> bytes:
    """An image's bytes, at most ``most`` and one of them."""
    content = bytearray(head)
    while len(content) <= most and (step := file.read(min(1 << 20, most + 1 - len(content)))):
        content += step
    return bytes(content[: most + 1])


def lines(head: bytes, file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield the lines of a list that begins with ``head``, without their ends; ``None`` for one that is too long."""
    line = head
    if b"\n" in head and not head.endswith(b"\n"):  # more than a line was read where an image was looked for
        line += file.readline(LONGEST)
    while line:
        if len(line) >= LONGEST and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            for each in line.removesuffix(b"\n").split(b"\n"):
                yield each.removesuffix(b"\r")
        line = file.readline(LONGEST)


def records(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield what zero bytes separate, as ``find -print0`` writes names; ``None`` for what is too long."""
    rest, is_too_long = b"", False
    while step := _available(file):
        *whole, rest = (rest + step).split(b"\0")
        for record in whole:
            yield None if is_too_long or len(record) > LONGEST else record
            is_too_long = False
        if len(rest) > LONGEST:
            rest, is_too_long = b"", True
    if rest or is_too_long:
        yield None if is_too_long else rest


def _available(file: IO[bytes]) -> bytes:
    """What is there, without waiting for more; nothing at the end."""
    read = getattr(file, "read1", file.read)
    return bytes(read(LONGEST))
