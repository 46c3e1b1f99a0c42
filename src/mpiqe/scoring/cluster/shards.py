"""Sources, cut into shards: a few thousand photos in order, as plain data that says how to get them, never as bytes.

An archive stays closed until a worker opens it. A Parquet file, and a plain tar that is very large, is cut into ranges
of its photos, for which its footer or its headers are read; any other archive is in one shard, since nobody knows what
is in it without reading all of it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from mpiqe.parse import parse_json
from mpiqe.scoring.paths import Found, Limits, count_one, inside, is_closed
from mpiqe.scoring.sources import http, remote
from mpiqe.scoring.sources.found import Broken
from mpiqe.scoring.sources.parquet import is_parquet
from mpiqe.scoring.sources.urls import last_name, shown
from mpiqe.scoring.table_process import Tables

_LARGE_TAR = 4 << 30  # bytes; smaller ones are not gone over just to be cut
_BYTES_PER_PHOTO = 64 << 10  # a guess, to put small tars together


class Inside(NamedTuple):
    """An archive's photos from number ``first`` to before number ``last``."""

    archive: Found
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class Shard:
    """Some photos in their order."""

    number: int
    pieces: tuple[Found | Inside, ...]

    @property
    def is_range(self) -> bool:
        """Whether it is part of an archive, which other shards share."""
        first = self.pieces[0]
        return isinstance(first, Inside) and (first.first > 0 or first.last is not None)

    @property
    def follows(self) -> bool:
        """Whether it goes on in an archive with which the shard before it ends."""
        first = self.pieces[0]
        return isinstance(first, Inside) and first.first > 0

    @property
    def digest(self) -> str:
        """What tells it from shards with other photos: by their names, as rows are told apart."""
        names = [
            [piece.archive.path, piece.first, piece.last] if isinstance(piece, Inside) else piece.path
            for piece in self.pieces
        ]
        return hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()

    @property
    def begins(self) -> str:
        """The name of its first photo or archive."""
        first = self.pieces[0]
        return first.archive.path if isinstance(first, Inside) else first.path

    def photos(self, *, limits: Limits, column: str | None) -> Iterator[Found]:
        """Its photos, as ``find`` finds them; archives are opened here."""
        for piece in self.pieces:
            if isinstance(piece, Inside):
                yield from inside(piece.archive, limits=limits, column=column, first=piece.first, last=piece.last)
            else:
                yield piece

    def to_json(self) -> str:
        """All of it as text in ASCII."""
        return json.dumps([self.number, [_plain(piece) for piece in self.pieces]])

    @classmethod
    def from_json(cls, text: str, *, limits: Limits) -> "Shard":
        """What ``to_json`` wrote; its downloads keep to ``limits``."""
        number, pieces = parse_json(text)
        return cls(number, tuple(_piece(piece, limits) for piece in pieces))


def cut(found: Iterable[Found], *, size: int) -> Iterator[Shard]:
    """Shards of about ``size`` photos, one after the other and cut while they are used.

    ``found`` are photos and archives that ``find`` has left closed (``whole``).
    """
    number, waiting, weight = 0, list[Found | Inside](), 0
    for piece, more in _pieces(found, size):
        if waiting and weight + more > size:
            yield Shard(number, tuple(waiting))
            number, waiting, weight = number + 1, [], 0
        waiting.append(piece)
        weight += more
    if waiting:
        yield Shard(number, tuple(waiting))


def _pieces(found: Iterable[Found], size: int) -> Iterator[tuple[Found | Inside, int]]:
    """Each with about as many photos as it has; ranges of an archive fill a shard, so that none shares one."""
    with Tables(Limits()) as tables:
        yield from _weighed(found, size, tables)


def _weighed(found: Iterable[Found], size: int, tables: Tables) -> Iterator[tuple[Found | Inside, int]]:
    for one in found:
        if not is_closed(one):
            yield one, 1
            continue
        bytes_there = _bytes(one)
        counted = count_one(one, tables=tables) if is_parquet(one.path) or (bytes_there or 0) > _LARGE_TAR else None
        if counted is None:
            yield Inside(one), size if bytes_there is None else bytes_there // _BYTES_PER_PHOTO + 1
        elif counted <= size:
            yield Inside(one), max(1, counted)
        else:
            for first in range(0, counted, size):
                last = first + size
                yield Inside(one, first, last if last < counted else None), size


def _bytes(found: Found) -> int | None:
    """How large an archive on this machine is; ``None`` for one that is elsewhere or missing."""
    try:
        return None if found.fetched else os.path.getsize(found.path)
    except OSError:  # its row will say so
        return None


def _plain(piece: Found | Inside) -> Any:
    if isinstance(piece, Inside):
        return {"inside": _plain(piece.archive), "first": piece.first, "last": piece.last}
    fetched = piece.fetched
    if fetched is None:
        return piece.path
    if isinstance(fetched, http.Download):
        return {"http": fetched.url}
    if isinstance(fetched, remote.Object):
        return {"object": fetched.url, "size": fetched.size}
    assert isinstance(fetched, Broken), fetched  # noqa: S101 # all else has its bytes in an archive, and those are closed
    return {"broken": fetched.name, "reason": fetched.reason}


def _piece(plain: Any, limits: Limits) -> Found | Inside:
    if isinstance(plain, str):
        return Found(plain)
    if "inside" in plain:
        archive = _piece(plain["inside"], limits)
        assert isinstance(archive, Found)  # noqa: S101
        return Inside(archive, plain["first"], plain["last"])
    if "http" in plain:
        url = plain["http"]
        return Found(shown(url), None, http.Download(url, limits), last_name(url))
    if "object" in plain:
        url = plain["object"]
        return Found(shown(url), None, remote.Object(url, limits, plain["size"]), last_name(url))
    return Found(plain["broken"], None, Broken(plain["broken"], plain["reason"]), "broken")
