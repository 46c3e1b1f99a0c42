"""Photos in tar archives, as WebDataset lays them out. Nothing is unpacked to disk.

The headers are read here and not by ``tarfile``, which keeps every member it has seen and reads a name of any length.
A plain archive is gone over from header to header, and a photo is a slice of it. A compressed one can only be read from
front to back: its photos are held in memory, within a budget, until they are fetched.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple

from mpiqe.errors import ImageError
from mpiqe.regular_files import open_regular
from mpiqe.sources.kinds import stem_of
from mpiqe.sources.local import is_member
from mpiqe.sources.photo import Budget, Limits, Photo, held_photo, too_large, unreadable
from mpiqe.sources.unpacking import FAULTS, unpacking

_BLOCK = tarfile.BLOCKSIZE
_LONGEST_NAME = 1 << 20  # bytes of a long name or an extended header; a hostile one says gigabytes
_STEP = 1 << 20  # bytes that are passed over at once
_LONGEST_KEY = 12  # letters that tell what matters; a hostile header has many more, and many of them
_LARGEST = 1 << 62  # bytes of a member; no file can be passed over by more
_CUT_SHORT = "cut short: the archive ends within it"

Open = Callable[[str], IO[bytes]]


class Member(NamedTuple):
    """What a header says of what follows it."""

    name: str
    offset: int
    size: int
    is_file: bool


class DamagedError(Exception):
    """An archive that cannot be read any further."""


class TarStream:
    """Read a tar from front to back: iterate over its members and ``read`` the wanted ones before the next."""

    def __init__(self, file: IO[bytes], *, can_seek: bool) -> None:
        self.file = file
        self.can_seek = can_seek
        self.position = 0
        self._next = 0

    def __iter__(self) -> Iterator[Member]:
        """The members; raises ``DamagedError``, or what the decompression raises."""
        extended: dict[str, str] = {}
        while True:
            self._pass_over(self._next - self.position)
            start = self.position
            block = self.read(_BLOCK)
            if not block:
                raise DamagedError("cut short: it ends without tar's end mark" if start else "empty file")
            if block == bytes(_BLOCK):
                return
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                short = "cut short" if len(block) < _BLOCK else "damaged or no tar archive"
                raise DamagedError(f"{short}: no header at byte {start} ({error})") from None
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
                extended |= self._extension(header)
                continue
            if header.type == tarfile.GNUTYPE_SPARSE and block[482]:
                while self.read(_BLOCK)[504:505] not in (b"", b"\0"):  # further maps of holes
                    pass
            try:
                size = int(extended.get("size", header.size))
            except ValueError:
                size = -1
            if not 0 <= size <= _LARGEST:
                raise DamagedError(f"damaged: a size that is no size at byte {start}")
            has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
            self._next = self.position + (-(-size // _BLOCK) * _BLOCK if has_content else 0)
            sparse = header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extended)
            yield Member(extended.get("path", header.name), self.position, size, header.isreg() and not sparse)
            extended = {}

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only where the archive ends."""
        content = self.file.read(size)
        self.position += len(content)
        return content

    def _extension(self, header: tarfile.TarInfo) -> dict[str, str]:
        if not 0 <= header.size <= _LONGEST_NAME:
            raise DamagedError(f"a name or header of {header.size} bytes at byte {self.position - _BLOCK}")
        content = self.read(header.size)
        self._next = self.position + -header.size % _BLOCK
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": _text(content.partition(b"\0")[0])}
        return _records(content) if header.type == tarfile.XHDTYPE else {}

    def _pass_over(self, size: int) -> None:
        if self.can_seek:
            self.file.seek(size, 1)
            self.position += size
            return
        while size > 0:
            got = len(self.read(min(size, _STEP)))
            if not got:
                raise DamagedError("cut short: it ends within a member")
            size -= got


def count(archive: str) -> int | None:
    """How many photos there are, found from the headers alone; ``None`` for a compressed archive."""
    with open_regular(archive) as file:
        if unpacking(file):
            return None
        return sum(_is_photo(member) for member in TarStream(file, can_seek=True))


def photos(archive: str, *, shown: str, limits: Limits, budget: Budget, opened: Open | None = None) -> Iterator[Photo]:
    """The members with the names of images, in order; links, devices and hidden names are passed over.

    ``opened`` opens what is no file of this machine, and is then called ``shown``. A member that is too large or cut
    short is a photo that fails; an archive that cannot be read on ends with one that has the archive's name.
    """
    try:
        with (opened or open_regular)(archive) as file:
            unpack = unpacking(file) if file.seekable() else None
            sliced = opened is None and unpack is None
            end = file.seek(0, 2) if sliced else None
            file.seek(0) if file.seekable() else None
            stream = TarStream(unpack(file) if unpack else file, can_seek=sliced)
            for index, member in enumerate(stream):
                if not _is_photo(member):
                    continue
                name = member.name.removeprefix("./")
                path, relative = f"{shown}::{name}", f"{stem_of(shown)}/{name}"
                whole = end is None or member.offset + member.size <= end
                if member.size > limits.max_bytes:
                    yield unreadable(path, too_large(member.size, limits.max_bytes), relative)
                elif whole and sliced:
                    yield Photo(path, partial(_slice, archive, member.offset, member.size), relative=relative)
                elif whole and len(content := stream.read(member.size)) == member.size:
                    again = partial(_again, archive, index, member.size, opened or open_regular)
                    yield held_photo(path, content, budget=budget, again=again, relative=relative)
                    del content
                else:
                    yield unreadable(path, _CUT_SHORT, relative)
                    return
                if not whole:
                    return
    except (DamagedError, *FAULTS) as error:
        yield unreadable(shown, _reason(error), stem_of(shown))


def _slice(archive: str, offset: int, size: int) -> bytes:
    """The bytes of a member that lies as it is in a plain archive; raises ``ImageError``."""
    try:
        with open_regular(archive) as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise ImageError(None, error.strerror or str(error)) from error
    if len(content) < size:
        raise ImageError(None, _CUT_SHORT)
    return content


def _again(archive: str, index: int, size: int, opened: Open) -> bytes:
    """A member's bytes, after going over all that lies before it; raises ``ImageError``."""
    try:
        with opened(archive) as file:
            unpack = unpacking(file) if file.seekable() else None
            stream = TarStream(unpack(file) if unpack else file, can_seek=False)
            for place, member in enumerate(stream):
                if place == index and member.size == size:
                    return stream.read(size)
    except (DamagedError, *FAULTS) as error:
        raise ImageError(None, _reason(error)) from error
    raise ImageError(None, "the archive has changed meanwhile")


def _is_photo(member: Member) -> bool:
    return member.is_file and is_member(member.name)


def _records(content: bytes) -> dict[str, str]:
    """Of an extended header: lines of "length key=value", each length counting itself and the line feed."""
    extended = {}
    while content:
        match = re.match(rb"(\d{1,9}) ([^=]+)=", content)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(content):
            raise DamagedError("damaged: an extended header that does not add up")
        if match[2] in (b"path", b"size") or match[2].startswith(b"GNU.sparse"):
            extended[_text(match[2])[:_LONGEST_KEY]] = _text(content[match.end() : length - 1])
        content = content[length:]
    return extended


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _reason(error: Exception) -> str:
    if isinstance(error, DamagedError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or cut short ({type(error).__name__}: {error})"
