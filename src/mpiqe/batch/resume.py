"""Rows and settings that an earlier run has written.

A run that is killed leaves whole rows and perhaps the beginning of one more. Here it is found out where the whole ones
end, whatever the tear went through: a header, a quoted field with a line break in it, a letter of several bytes.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from mpiqe.atomic import write_atomic
from mpiqe.batch.sinks import COLUMNS, COLUMNS_WITHOUT_QUALITY, INTERVAL, csv_field, encode_name, kept_names
from mpiqe.errors import ConfigError
from mpiqe.parse import parse_json

COMPUTES = "computes"
"""The setting that is only known when a model is loaded: ``Predictor.computes``, whatever was asked for."""
VERSION = "version"
"""Likewise: the name and version of the model, ``Scale.model``."""
KEEP = "keep"
"""The columns of tables that rows have too."""
_HEADERS = {",".join(columns).encode() + b"\n": columns for columns in (COLUMNS, COLUMNS_WITHOUT_QUALITY)}
_HEADER_BEFORE = ",".join(name for name in COLUMNS_WITHOUT_QUALITY if name not in INTERVAL).encode() + b"\n"
_OF_A_MODEL = (".safetensors", ".onnx", ".xml", ".bin", ".json")
_QUOTED = re.compile(r'"((?:[^"]|"")*)",', re.DOTALL)
_STEP = 1 << 20


class Done(NamedTuple):
    """A row of an earlier run."""

    path: str
    score: float | None

    @property
    def failed(self) -> bool:
        """Whether it has no score."""
        return self.score is None


class Earlier(Protocol):
    """The rows of an earlier run."""

    columns: tuple[str, ...]
    """Those that the rows have, known once they were iterated over; further rows are to have the same."""

    def __iter__(self) -> Iterator[Done]:
        """From the first to the last whole one; raises ``ConfigError`` for what ``mpiqe score`` did not write."""

    def written(self, path: str) -> str:
        """Return a path as it is written in this format."""

    def cut(self) -> None:
        """Prepare for the next row: remove what follows the last one that was iterated over."""


class EarlierText:
    """The rows of a csv or jsonl file, read one at a time."""

    def __init__(self, path: Path, form: str, kept: Sequence[str] = ()) -> None:
        self.path = path
        self.form = form
        self.columns = COLUMNS
        after = "".join(f",{csv_field(name)}" for name in kept_names(kept)).encode()
        self._headers = {header[:-1] + after + b"\n": columns for header, columns in _HEADERS.items()}
        self._end = 0

    def __iter__(self) -> Iterator[Done]:
        """The whole rows."""
        self._end = 0
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, record in enumerate(_csv_records(file) if self.form == "csv" else _lines(file)):
                if self.form == "csv" and number == 0:
                    if record == _HEADER_BEFORE:
                        raise columns_of_before(self.path)
                    if record not in self._headers:
                        is_ours = any(record.startswith(header[:-1]) for header in _HEADERS)
                        raise self._other_columns() if is_ours else self._foreign(1)
                    self.columns = self._headers[record]
                    self._end = len(record)
                    continue
                try:
                    if self.form == "csv":
                        done = _from_csv(record, len(self.columns))
                    else:
                        done, columns = _from_json(record, self.path)
                        self.columns = self.columns if number else columns
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise self._foreign(number + (self.form == "jsonl")) from None
                yield done
                self._end += len(record)

    @property
    def start(self) -> int:
        """Where the row that was yielded last begins, in bytes."""
        return self._end

    def written(self, path: str) -> str:
        """The path in UTF-8."""
        return encode_name(path)

    def cut(self) -> None:
        """Shorten the file to the rows that were iterated over; without any it is empty."""
        if self.path.exists():
            os.truncate(self.path, self._end)

    def _other_columns(self) -> ConfigError:
        return ConfigError(
            f"{self.path} has other columns after {COLUMNS[-1]!r}: give the same --keep, or start anew with --overwrite"
        )

    def _foreign(self, number: int) -> ConfigError:
        return foreign(self.path, number, self.form)


def foreign(output: Path, number: int, form: str) -> ConfigError:
    """Return the error for a row that is not as ``mpiqe score`` writes it."""
    return ConfigError(
        f"{output}: row {number} is none that mpiqe score writes as {form}, so it cannot be continued; "
        "name another --output, or start anew with --overwrite"
    )


def has_rows(output: Path) -> bool:
    """Whether a csv file has anything but our header."""
    with output.open("rb") as file:
        return file.read(max(map(len, _HEADERS)) + 1) not in (b"", *_HEADERS)


def columns_of_before(path: Path) -> ConfigError:
    """Return the error for rows of a version that had no intervals."""
    return ConfigError(
        f"{path} was written by an earlier mpiqe, without the columns {' and '.join(INTERVAL)}, so it cannot be "
        "continued; name another --output, or start anew with --overwrite"
    )


def check_order(output: Path, number: int, there: str, found: str | None) -> None:
    """Raise ``ConfigError`` unless row ``number`` (from 1) is of the image that was found in its place."""
    if there == found:
        return
    now = "there is no such photo any more" if found is None else f"that photo is now {found!r}"
    raise ConfigError(
        f"{output}: row {number} is {there!r}, but {now}; --resume needs the same photos in the same order: "
        "name those, or start anew with --overwrite"
    )


def settings_file(output: Path) -> Path:
    """Return the path of the settings that an output was made with."""
    return output.with_name(f"{output.name}.run.json")


def refuse_foreign(output: Path) -> None:
    """Raise ``ConfigError`` if ``output`` is not empty and has no settings file beside it."""
    if output.is_file() and output.stat().st_size and not settings_file(output).is_file():
        raise ConfigError(
            f"{output} is there without {settings_file(output).name}, so nobody knows how it was made, or by what; "
            "name another --output, or start anew with --overwrite"
        )


def write_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings beside the output."""
    write_atomic(settings_file(output), (json.dumps(settings, indent=1) + "\n").encode())


def check_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` that names each setting that differs from when the output was started.

    ``COMPUTES`` and ``VERSION`` are compared where ``settings`` have them, the latter where it was known before.
    """
    file = settings_file(output)
    try:
        before = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read ({type(error).__name__}), and without it nobody knows how {output} was made; "
            "start anew with --overwrite"
        ) from error
    before = before if isinstance(before, dict) else {}
    before = {name: value for name, value in before.items() if name in settings or name not in (COMPUTES, VERSION)}
    if VERSION not in before:
        settings = {name: value for name, value in settings.items() if name != VERSION}
    differ = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if differ:
        said = "; ".join(f"{name} was {before.get(name)!r} and is {settings.get(name)!r}" for name in differ)
        how = " (--runtime, --precision and --device choose what computes)" if COMPUTES in differ else ""
        raise ConfigError(
            f"{output} was made with other settings: {said}; use the same ones{how}, or start anew with --overwrite in "
            "place of --resume"
        )


def identity(weights: str | None) -> str:
    """Return what identifies a model: a digest of its files, or its name if they are not on this machine."""
    path = Path(str(files("mpiqe") / "weights")) if weights is None else Path(weights)
    if path.is_dir():
        parts = sorted(part for part in path.rglob("*") if part.suffix in _OF_A_MODEL)
    else:
        parts = [path] if path.is_file() else []
    if not parts:
        return str(weights)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        with part.open("rb") as file:
            while step := file.read(_STEP):
                digest.update(step)
    return f"blake2b:{digest.hexdigest()}"


def record_at(output: Path, start: int, form: str) -> bytes:
    """Return the whole record of a csv or jsonl file that begins at a byte."""
    with output.open("rb") as file:
        file.seek(start)
        return next(_csv_records(file) if form == "csv" else _lines(file))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    return (line for line in file if line.endswith(b"\n"))  # only the last can lack it


def _csv_records(file: IO[bytes]) -> Iterator[bytes]:
    """Whole records. Outside quotes their number so far is even, so a line feed there ends one."""
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and record.count(b'"') % 2 == 0:
            yield record
            record = b""


def _from_csv(record: bytes, columns: int) -> Done:
    text = record.decode("utf-8", "surrogateescape")
    quoted = _QUOTED.match(text)
    path, rest = (quoted[1].replace('""', '"'), text[quoted.end() :]) if quoted else text.split(",", 1)
    score = rest.split(",", 1)[0]
    if rest.count(",") < columns - 2 or (quoted is None and '"' in path):
        raise ValueError
    return Done(_escaped(path), float(score) if score else None)


def _from_json(record: bytes, file: Path) -> tuple[Done, tuple[str, ...]]:
    values = parse_json(record)
    path, score = values["path"], values["score"]
    if not isinstance(path, str):
        raise TypeError
    if not set(INTERVAL) <= set(values):
        raise columns_of_before(file)
    columns = COLUMNS if "quality" in values else COLUMNS_WITHOUT_QUALITY
    return Done(_escaped(path), None if score is None else float(score)), columns


def _escaped(path: str) -> str:
    """As ``encode_name`` writes it; earlier versions wrote names that are not UTF-8 as they are."""
    return path.encode("utf-8", "backslashreplace").decode()
