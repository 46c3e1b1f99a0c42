"""Where the rows of a job come to lie, and in which form: by the name of the output, and from a file beside it.

While a job runs its rows lie as plain csv, jsonl or Parquet, so that a later job can continue them after a kill. They
lie in the output itself if that is new and has that form. Else they lie in ``NAME.new`` beside it until all are there:
where another file is to be replaced, where the output is compressed, and where it is one JSON array.
"""

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast, get_args

from mpiqe.batch.resume import foreign, has_rows, settings_file
from mpiqe.batch.signatures import signatures_file
from mpiqe.errors import ConfigError
from mpiqe.sources.unpacking import FAULTS, unpacking

Format = Literal["table", "csv", "jsonl", "json", "parquet", "paths", "paths0"]
"""The last two are paths alone, each followed by a line feed or by NUL."""
RowsFormat = Literal["table", "csv", "jsonl", "parquet", "paths", "paths0"]

_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "table",
}
_GZ = ".gz"
_PACKABLE = ("csv", "jsonl", "json")
_STEP = 1 << 20


class Form(NamedTuple):
    """What an output is in the end."""

    format: Format
    is_packed: bool = False

    @property
    def rows(self) -> RowsFormat:
        """What it is while a job writes it."""
        return "jsonl" if self.format == "json" else self.format

    @property
    def is_made_at_the_end(self) -> bool:
        """Whether it cannot be written row by row."""
        return self.is_packed or self.format == "json"


def form_of(path: Path | None, asked: Format | None, *, is_file: bool) -> Form:
    """The form that is ``asked`` for, or by the suffix of ``path``, with ``.gz`` behind it or not; else a table.

    What is no file (``is_file``), such as a pipe, may be called anything. Raises ``ConfigError`` for a suffix that says
    nothing, for Parquet without a file, and for what is not packed.
    """
    if asked is not None and asked not in get_args(Format):
        raise ConfigError(f"file_format must be one of {', '.join(get_args(Format))}, not {asked!r}")
    if path is None:
        if asked == "parquet":
            raise ConfigError("parquet is for a file: give --output FILE")
        return Form(asked or "table")
    name = path.name.lower()
    if not is_file:
        return Form(asked or _BY_SUFFIX.get(os.path.splitext(name)[1], "table"))
    is_packed = name.endswith(_GZ)
    suffix = os.path.splitext(name.removesuffix(_GZ))[1]
    form = asked or _BY_SUFFIX.get(suffix) or (None if suffix or is_packed else "table")
    if form is None:
        raise ConfigError(
            f"{path}: {suffix or _GZ!r} says no format; end the name of --output in {', '.join(_BY_SUFFIX)} or "
            f"{', '.join(f'.{each}{_GZ}' for each in _PACKABLE)}, or give --format"
        )
    if is_packed and form not in _PACKABLE:
        raise ConfigError(f"{path}: {form} is not compressed with gzip; leave {_GZ} away")
    return Form(form, is_packed)


def beside(output: Path) -> Path:
    """Where rows lie until they take the output's place."""
    return output.with_name(f"{output.name}.new")


def is_occupied(output: Path, form: Form) -> bool:
    """Whether a file has something in it that is lost when another takes its place."""
    if not output.is_file() or not output.stat().st_size:
        return False
    return form.is_made_at_the_end or form.rows != "csv" or has_rows(output)


def unmade(output: Path, form: Form, to: Path) -> None:
    """Write the rows of a finished output as they were while they came; raises ``ConfigError`` for a foreign file."""
    with output.open("rb") as file, to.open("wb") as plain:
        unpack = unpacking(file) if form.is_packed else None
        try:
            lines = _lines(unpack(file) if unpack else file)
            for line in _of_array(lines, output) if form.format == "json" else lines:
                plain.write(line)
        except FAULTS as error:
            raise foreign(output, 1, form.format) from error


def made(rows: Path, form: Form, to: Path) -> None:
    """Write the output of its rows, whole, and see it on the disk."""
    with rows.open("rb") as lines, to.open("wb") as file:
        packed = (
            gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) if form.is_packed else None
        )
        target = cast("IO[bytes]", packed or file)
        if form.format == "json":
            target.write(b"[\n")
            end = b""
            for line in lines:
                target.write(end + line.rstrip(b"\n"))
                end = b",\n"
            target.write(end[1:] + b"]\n")
        else:
            shutil.copyfileobj(lines, target, _STEP)
        if packed:
            packed.close()
        file.flush()
        os.fsync(file.fileno())


def _of_array(lines: Iterator[bytes], output: Path) -> Iterator[bytes]:
    """The objects of an array that ``made`` wrote, one a line."""
    if next(lines, b"") != b"[\n":
        raise foreign(output, 1, "json")
    for line in lines:
        if line == b"]\n":
            return
        yield line.removesuffix(b"\n").removesuffix(b",") + b"\n"


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines, of a file that may only have ``read``."""
    rest = b""
    while step := file.read(_STEP):
        *whole, rest = (rest + step).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def move(source: Path, to: Path) -> None:
    """Move rows that are all there, and their settings, into their place.

    The rows come first: a kill in between leaves settings that ``finish_move`` brings after them.
    """
    if source.exists():
        source.replace(to)
    finish_move(source, to)


def finish_move(source: Path, to: Path) -> None:
    """Bring settings after rows that have moved."""
    if source.exists():
        return
    if signatures_file(source).is_file():
        signatures_file(source).replace(signatures_file(to))
    if settings_file(source).is_file():
        settings_file(source).replace(settings_file(to))
