"""Compressed files from front to back, within bounds of memory and of what comes out."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

FREE = 1 << 30  # bytes that any file may unpack to
RATIO = 1000  # and so many for each of its own: what holds more is made to flood
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading raises for a file that is damaged, cut short or made to flood."""

_STEP = 1 << 16  # bytes that are read of an xz file at once
_XZ_MEMORY = 128 << 20  # what xz -9 writes takes 65 MB to unpack; a file can ask for 4 GB


class Unpacked:
    """What comes out of a compressed ``file``; closes nothing."""

    def __init__(self, file: IO[bytes], unpack: "Callable[[Any], IO[bytes]]") -> None:
        self._packed = _Counted(file)
        self._file = unpack(self._packed)
        self._size = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end; raises ``FAULTS``."""
        content = self._file.read(size)
        self._size += len(content)
        if self._size > FREE + RATIO * self._packed.size:
            raise OSError(0, f"unpacks to more than {RATIO} times its size, and more than {FREE >> 30} GB")
        return content


class _Counted:
    """As much of a file as the modules that unpack use."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.size += len(content)
        return content


class _Xz(io.RawIOBase):
    """What ``lzma.LZMAFile`` reads, with a bound on the memory that it takes."""

    def __init__(self, file: _Counted) -> None:
        self._file = file
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content and len(buffer):
            step = b""
            if self._stream.eof:
                step = self._stream.unused_data.lstrip(b"\0")  # which may fill the space between two streams
                while not step:
                    if not (step := self._file.read(_STEP)):
                        return 0
                    step = step.lstrip(b"\0")
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            elif self._stream.needs_input and not (step := self._file.read(_STEP)):
                raise EOFError("it ends before its end mark")
            try:
                content = self._stream.decompress(step, len(buffer))
            except lzma.LZMAError as error:
                if "limit" in str(error):
                    raise OSError(0, f"takes more than {_XZ_MEMORY >> 20} MB of memory to unpack") from None
                raise
        buffer[: len(content)] = content
        return len(content)


_UNPACK: dict[bytes, Callable[[Any], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    b"\xfd7zXZ\x00": lambda file: io.BufferedReader(_Xz(file)),
}


def unpacking(file: IO[bytes]) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """What unpacks a file, by what it begins with, ``None`` for a plain one; the name may say anything."""
    head = file.read(6)
    file.seek(0)
    unpack = next((each for magic, each in _UNPACK.items() if head.startswith(magic)), None)
    return None if unpack is None else lambda packed: cast("IO[bytes]", Unpacked(packed, unpack))
