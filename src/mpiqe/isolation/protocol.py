"""Messages between a parent and its child processes: frames on pipes, a small JSON object and bytes.

A frame is two little-endian uint32 and uint64, the lengths of the object and of the bytes, and then both. A request is
``{"size", "count", "mode", "seed", "max_pixels", "view", "thumbnail", "kind"}`` with a path (``kind`` is ``path``) or a
file's content (``content``). The child answers ``{"ready"}`` once, and then for each request ``{"width", "height"}``
with the crops (K, S, S, 3) uint8, or ``{"error"}``. Before it decodes a large photo it sends ``{"large"}`` and waits
for ``{"go"}``. Where ``thumbnail`` is not 0, crops are followed by a frame of ``{"taken", "camera"}`` and the
thumbnail's file.
"""

import contextlib
import io
import json
import mmap
import struct
import weakref
from collections import deque
from typing import Any, Protocol, TypeAlias

import numpy as np

from mpiqe.images import Pixels
from mpiqe.parse import parse_json

FILE_BYTES_PER_PIXEL = 8  # no photo's file is larger; some decoders hold it in memory twice

_LENGTHS = struct.Struct("<IQ")
_MOST_TEXT = 1 << 20  # a header is far smaller; what claims more is no header
_PIPE = 1 << 20

Bytes: TypeAlias = "bytes | memoryview"


class Pipe(Protocol):
    """An unbuffered binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read what is there; 0 at the end."""

    def write(self, data: Bytes, /) -> int | None:
        """Write a part of it at least, and say how much."""


class Buffers:
    """Arrays of ``length`` bytes, whose memory is used again when nobody holds them any more.

    From the heap, between what other threads hold on to, a long run's crops would leave holes that grow; pages of their
    own, fresh for each photo, cost as much time as the photo's way through the pipe.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._free: deque[mmap.mmap] = deque()

    def take(self) -> Pixels:
        """An array (length,), with anything in it."""
        try:
            pages = self._free.pop()
        except IndexError:
            pages = mmap.mmap(-1, self.length)
        array = np.frombuffer(pages, dtype=np.uint8)
        weakref.finalize(array, self._free.append, pages).atexit = False
        return array


def send(pipe: Pipe, header: dict[str, Any], body: Bytes = b"") -> None:
    """Write one frame. Raises ``OSError`` if nobody reads it."""
    text = json.dumps(header).encode()
    _write(pipe, _LENGTHS.pack(len(text), len(body)) + text)
    _write(pipe, body)


def receive(pipe: Pipe, *, most: int | None = None, buffers: "Buffers | None" = None) -> tuple[dict[str, Any], Pixels]:
    """The next frame: its object, and its bytes as an array (n,), at most ``most`` of them; in one of ``buffers``
    if it fills it.

    Raises ``EOFError`` at the end of the pipe, ``ValueError`` for what is no frame.
    """
    lengths = bytearray(_LENGTHS.size)
    _fill(pipe, memoryview(lengths))
    text_length, body_length = _LENGTHS.unpack(lengths)
    if text_length > _MOST_TEXT or (most is not None and body_length > most):
        raise ValueError(f"a frame of {text_length} and {body_length} bytes")
    text = bytearray(text_length)
    _fill(pipe, memoryview(text))
    reusable = buffers is not None and body_length == buffers.length > 0
    body = buffers.take() if buffers and reusable else np.empty(body_length, dtype=np.uint8)
    _fill(pipe, body.data)
    header = parse_json(text)
    if not isinstance(header, dict):
        raise ValueError("a frame without an object")
    return header, body


def widen(pipe: io.FileIO) -> None:
    """Let the pipe hold a megabyte where the system has a way to say so: a photo's crops in one or two writes."""
    try:
        from fcntl import F_SETPIPE_SZ, fcntl
    except ImportError:  # not Linux, or Python 3.9's
        return
    with contextlib.suppress(OSError):  # the user's pipes hold too much already
        fcntl(pipe.fileno(), F_SETPIPE_SZ, _PIPE)


def _fill(pipe: Pipe, buffer: memoryview) -> None:
    while buffer:
        count = pipe.readinto(buffer)
        if not count:
            raise EOFError
        buffer = buffer[count:]


def _write(pipe: Pipe, data: Bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) or 0 :]
