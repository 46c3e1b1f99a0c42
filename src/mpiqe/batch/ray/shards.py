"""Sources, cut into shards: a few thousand photos in order, as plain data that says how to get them, never as bytes.

An archive stays closed until a worker opens it. A Parquet file, and a plain tar that is very large, is cut into ranges
of its photos, for which its footer or its headers are read; any other archive is in one shard, since nobody knows what
is in it without reading all of it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from mpiqe.parse import parse_json
from mpiqe.sources.archive import Archive, Shared, source_from_json
from mpiqe.sources.photo import Photo

Piece: TypeAlias = Photo | Archive


@dataclass(frozen=True)
class Shard:
    """Some photos in their order."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def is_range(self) -> bool:
        """Whether it is part of an archive, which other shards share."""
        return self.pieces[0].is_range

    @property
    def follows(self) -> bool:
        """Whether it goes on in an archive with which the shard before it ends."""
        return self.pieces[0].first > 0

    @property
    def digest(self) -> str:
        """What tells it from shards with other photos: by their names, as rows are told apart."""
        names = [piece.identity for piece in self.pieces]
        return hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()

    @property
    def begins(self) -> str:
        """The name of its first photo or archive."""
        return self.pieces[0].name

    def photos(self) -> Iterator[Photo]:
        """Its photos, as ``find`` finds them; archives are opened here."""
        for piece in self.pieces:
            yield from piece.photos()

    def to_json(self) -> str:
        """All of it as text in ASCII."""
        return json.dumps([self.number, [piece.to_json() for piece in self.pieces]])

    @classmethod
    def from_json(cls, text: str, shared: Shared) -> "Shard":
        """What ``to_json`` wrote; its downloads keep to the limits of ``shared``, whose context its photos need."""
        number, pieces = parse_json(text)
        return cls(number, tuple(source_from_json(piece, shared) for piece in pieces))


def cut(found: Iterable[Piece], *, size: int) -> Iterator[Shard]:
    """Shards of about ``size`` photos, one after the other and cut while they are used.

    ``found`` are photos and closed archives (``find_closed``).
    """
    number, waiting, weight = 0, list[Piece](), 0
    for piece, more in (part for source in found for part in source.split(size)):
        if waiting and weight + more > size:
            yield Shard(number, tuple(waiting))
            number, waiting, weight = number + 1, [], 0
        waiting.append(piece)
        weight += more
    if waiting:
        yield Shard(number, tuple(waiting))
