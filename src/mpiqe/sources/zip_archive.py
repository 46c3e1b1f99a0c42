"""Photos in zip archives. Nothing is unpacked to disk.

The directory at the archive's end is read here entry by entry, and not by ``zipfile``, which holds all of them. A photo
is a place in the archive; it is read, within its stated size, when a reading thread asks for it.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple

from mpiqe.errors import ImageError
from mpiqe.regular_files import open_regular
from mpiqe.sources.kinds import stem_of
from mpiqe.sources.local import is_member
from mpiqe.sources.photo import Budget, Limits, Photo, too_large, unreadable
from mpiqe.sources.unpacking import FREE, RATIO

_END, _END_SIZE = b"PK\5\6", 22
_END64, _END64_SIZE = b"PK\6\6", 56
_LOCATOR64, _LOCATOR64_SIZE = b"PK\6\7", 20
_ENTRY, _ENTRY_SIZE = b"PK\1\2", 46
_LOCAL, _LOCAL_SIZE = b"PK\3\4", 30
_LONGEST_COMMENT = 1 << 16
_IN_64 = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 1, 1 << 11
_NOT_THERE = "damaged: the member is not where the directory says"

Open = Callable[[str], IO[bytes]]


class Member(NamedTuple):
    """What the directory says of a member."""

    name: str
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    offset: int


class DamagedError(Exception):
    """An archive that cannot be read any further."""


def count(archive: str) -> int:
    """How many photos there are; raises ``OSError`` and ``DamagedError``."""
    with open_regular(archive) as file:
        return sum(is_member(member.name) for member in _members(file))


def photos(archive: str, *, shown: str, limits: Limits, budget: Budget, opened: Open | None = None) -> Iterator[Photo]:
    """The members with the names of images, in the order of the directory; hidden names are passed over.

    ``opened`` opens what is no file of this machine, and is then called ``shown``. No member is held in memory, so
    nothing is taken of the ``budget``. A member that is too large, encrypted or packed by a method other than deflate
    is a photo that fails. An archive that cannot be read on, or whose members are said to be more than a gigabyte and a
    thousand times its size, ends with one of its own name.
    """
    try:
        with (opened or open_regular)(archive) as file:
            most, total = FREE + RATIO * file.seek(0, 2), 0
            for member in _members(file):
                if not is_member(member.name):
                    continue
                path, relative = f"{shown}::{member.name}", f"{stem_of(shown)}/{member.name}"
                total += member.size
                if total > most:
                    raise DamagedError(f"unpacks to more than {RATIO} times its size, and more than {FREE >> 30} GB")
                if fault := _fault(member, limits):
                    yield unreadable(path, fault, relative)
                else:
                    yield Photo(path, partial(_content, archive, member, opened or open_regular), relative=relative)
    except (OSError, DamagedError) as error:
        yield unreadable(shown, _reason(error), stem_of(shown))


def _fault(member: Member, limits: Limits) -> str | None:
    """Why a member is not read, as far as the directory says."""
    if max(member.size, member.packed) > limits.max_bytes:
        return too_large(max(member.size, member.packed), limits.max_bytes)
    if member.flags & _ENCRYPTED:
        return "encrypted"
    if member.method not in (_STORED, _DEFLATED):
        return f"packed by method {member.method}; only stored and deflated members are read"
    return None


def _members(file: IO[bytes]) -> Iterator[Member]:
    """The entries of the directory, one at a time; raises ``DamagedError``."""
    start, left, shift = _directory(file)
    file.seek(start)
    while left >= _ENTRY_SIZE:
        head = _exactly(file, _ENTRY_SIZE)
        if not head.startswith(_ENTRY):
            raise DamagedError("damaged: its directory has no entry where one should be")
        flags, method = struct.unpack_from("<HH", head, 8)
        checksum, packed, size, *lengths = struct.unpack_from("<IIIHHH", head, 16)
        (offset,) = struct.unpack_from("<I", head, 42)
        name, extra, _ = (_exactly(file, length) for length in lengths)
        size, packed, offset = _wide(size, packed, offset, extra)
        left -= _ENTRY_SIZE + sum(lengths)
        yield Member(_text(name, flags), flags, method, checksum, packed, size, offset + shift)


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """Where the directory begins, its length in bytes, and by how much offsets are shifted: by what lies before."""
    length = file.seek(0, 2)
    if not length:
        raise DamagedError("empty file")
    back = min(length, _END_SIZE + _LONGEST_COMMENT)
    file.seek(length - back)
    tail = _exactly(file, back)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise DamagedError("cut short or no zip archive: there is no directory at its end")
    size, start = struct.unpack_from("<II", tail, at + 12)
    end = length - back + at
    if at >= _LOCATOR64_SIZE and tail.startswith(_LOCATOR64, at - _LOCATOR64_SIZE):  # that of 64 bits lies before it
        end -= _LOCATOR64_SIZE + _END64_SIZE
        file.seek(max(0, end))
        record = _exactly(file, _END64_SIZE)
        if not record.startswith(_END64):
            raise DamagedError("damaged: there is no directory where it says")
        size, start = struct.unpack_from("<QQ", record, 40)
    shift = end - size - start
    if shift < 0 or size > end:
        raise DamagedError("damaged: its directory is said to be larger than it is")
    return end - size, size, shift


def _wide(size: int, packed: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """The three numbers, those that do not fit from the extra field of zip64."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = [number for (number,) in struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8])]
            values = [wide.pop(0) if value == _IN_64 and wide else value for value in (size, packed, offset)]
            return values[0], values[1], values[2]
        at += 4 + length
    return size, packed, offset


def _content(archive: str, member: Member, opened: Open) -> bytes:
    """The bytes of a member, no more than the directory says and checked against it; raises ``ImageError``."""
    try:
        with opened(archive) as file:
            if member.offset > file.seek(0, 2) - _LOCAL_SIZE:  # 64 bits of it are more than can be sought
                raise DamagedError(_NOT_THERE)
            file.seek(member.offset)
            head = _exactly(file, _LOCAL_SIZE)
            if not head.startswith(_LOCAL):
                raise DamagedError(_NOT_THERE)
            file.seek(sum(struct.unpack_from("<HH", head, 26)), os.SEEK_CUR)
            packed = _exactly(file, member.packed)
        content = packed if member.method == _STORED else _inflated(packed, member.size)
        if len(content) != member.size or zlib.crc32(content) != member.checksum:
            raise DamagedError("damaged: the member is another than the directory says")
    except (OSError, DamagedError, zlib.error) as error:
        raise ImageError(None, _reason(error)) from error
    return content


def _inflated(packed: bytes, size: int) -> bytes:
    """What a member unpacks to, and one byte more than ``size`` at most."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    return unpack.decompress(packed, size + 1)


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise DamagedError("cut short: the archive ends within it")
    return content


def _text(name: bytes, flags: int) -> str:
    """A member's name: UTF-8 where that is said or possible, else the letters of the first zip programs."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")
    return text.removeprefix("./")


def _reason(error: Exception) -> str:
    if isinstance(error, DamagedError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"damaged ({type(error).__name__}: {error})"
