"""Files with the rows of finished shards, which are merged at the end.

Each shard's rows are a file in a folder beside the output which every node sees. It is whole or not there, and its name
says all that the driver needs to know of it, so that to go on with a million of them takes one listing.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from mpiqe.batch.parquet_sink import join, parts_folder
from mpiqe.batch.ray.shards import Shard
from mpiqe.batch.sinks import CsvSink
from mpiqe.errors import ConfigError

_NAME = re.compile(r"shard-(\d{9})-([0-9a-f]{16})-(\d+)-(\d+)-([a-z0-9_]+)(-follows)?(-ends)?\.(csv|jsonl|parquet)")


class Part(NamedTuple):
    """A shard's finished rows."""

    number: int
    digest: str
    rows: int
    failed: int
    computes: str
    """What computed them, ``Predictor.computes``."""
    follows: bool
    """The shard goes on in an archive with which the one before it ends."""
    ends: bool
    """That archive could not be read on: it has no photos in the shards that follow."""
    form: str

    @property
    def name(self) -> str:
        """The file's name."""
        computes, follows, ends = self.computes.replace(" ", "_"), "-follows" * self.follows, "-ends" * self.ends
        return f"shard-{self.number:09}-{self.digest}-{self.rows}-{self.failed}-{computes}{follows}{ends}.{self.form}"


def part_of(shard: Shard, *, rows: int, failed: int, computes: str, last: str | None, form: str) -> Part:
    """Return the part of a shard with so many rows; ``last`` is the last row's path.

    A row that has the name of the archive itself says that it cannot be read on.
    """
    ends = shard.is_range and last == shard.begins
    return Part(shard.number, shard.digest, rows, failed, computes, shard.follows, ends, form)


def finished(output: Path) -> list[Part]:
    """The parts that are there, by number."""
    folder = parts_folder(output)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    parts: dict[int, Part] = {}
    for name in filter(_NAME.fullmatch, names):
        part = part_named(name)
        parts.setdefault(part.number, part)  # a shard that was done twice counts once
    return list(parts.values())


def part_named(name: str) -> Part:
    """The part in a file of that name."""
    match = _NAME.fullmatch(name)
    assert match, name  # noqa: S101 # our own worker has given it
    number, digest, rows, failed, computes, follows, ends, form = match.groups()
    words = computes.replace("_", " ")
    return Part(int(number), digest, int(rows), int(failed), words, bool(follows), bool(ends), form)


def refuse_unfinished(output: Path) -> None:
    """Raise ``ConfigError`` where shards of an earlier run wait to be continued."""
    if finished(output):
        raise ConfigError(
            f"{parts_folder(output)} has the rows of a run with --engine ray that was not finished; continue it with "
            "--engine ray --resume, or start anew with --overwrite"
        )


def common(output: Path, parts: Iterable[Part]) -> str | None:
    """Return what all parts were computed with, ``None`` without parts; raises ``ConfigError`` if they differ."""
    first = None
    for part in parts:
        first = first or part
        if part.computes != first.computes:
            raise ConfigError(
                f"{output}: shard {first.number} was computed with {first.computes!r} and shard {part.number} with "
                f"{part.computes!r}, which do not belong in one file; choose with --runtime and --precision what all "
                f"nodes have, and remove {parts_folder(output)}, or the shards of one of the two from it"
            )
    return first and first.computes


def counted(parts: Iterable[Part]) -> Iterator[Part]:
    """Those whose rows count, of parts by number: where an archive ends early, what follows in it is left out."""
    ended = False
    for part in parts:
        if part.follows and ended:
            continue
        ended = part.ends
        yield part


def merge(output: Path, parts: Iterable[Part], kept: Sequence[str] = ()) -> None:
    """Make the output of the parts, a piece of one in memory at a time, in place of any that is there."""
    parts = list(parts)
    folder = parts_folder(output)
    beside = folder / "whole"
    if parts[0].form == "parquet":
        join([folder / part.name for part in parts], beside)
    else:
        with beside.open("wb") as file:
            if parts[0].form == "csv":
                header = StringIO()
                CsvSink(header, kept=kept)
                file.write(header.getvalue().encode())
            for part in parts:
                with (folder / part.name).open("rb") as rows:
                    shutil.copyfileobj(rows, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    beside.replace(output)
