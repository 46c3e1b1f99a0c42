"""Read what was decided about photos: decisions, scores, or just paths.

A table is csv, a JSON list, JSON lines or Parquet of ``mpiqe score``. It has a column ``path`` and any of ``decision``
(pick, reject or empty), ``rating`` (0 to 5 or empty) and the columns of ``mpiqe score``. Anything else is a list of
paths, one a line or each ended by NUL.
"""

import codecs
import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mpiqe.batch.parquet_sink import read_rows
from mpiqe.batch.sinks import decode_name
from mpiqe.errors import ConfigError
from mpiqe.parse import parse_json
from mpiqe.scoring.score import likeliest

Kind = Literal["decisions", "scores", "paths"]

DECISIONS = ("pick", "reject")
_NUMBERS = ("score", "quality", "interval_low", "interval_high")
_COLUMNS = ("path", "decision", "rating", *_NUMBERS, "distortion")
_DELIMITERS = ",;\t"
_SHOWN_FAULTS = 5
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class Entry:
    """What a table says about one photo."""

    path: str
    """As it is opened: names that are not UTF-8 have their bytes again."""
    decision: str = ""
    """pick, reject or empty."""
    rating: int | None = None
    """0 to 5 stars; ``None`` if nobody gave any."""
    score: float | None = None
    quality: float | None = None
    interval: tuple[float, float] | None = None
    distortion: str | None = None
    """The most probable one."""


@dataclass(frozen=True)
class Table:
    """The entries of a file, in its order."""

    name: str
    kind: Kind
    entries: list[Entry]
    higher_is_better: bool = True
    model: str = ""
    """The model and its version, where the table says them."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many photos were picked, rejected, rated and left undecided."""


def read_decisions(name: str, content: bytes | None = None) -> Table:
    """Read a file, or the ``content`` of one that cannot be read twice; its kind is found by its beginning.

    Raises ``ConfigError`` for one that is not there, is none of these, or has invalid decisions or ratings; the
    first few such lines are named in one message.
    """
    if content is None:
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read {name}: {error.strerror}; give decisions, scores or a list of paths"
            ) from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # "Unicode text" of Excel
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError:
            raise ConfigError(f"{name} begins as UTF-16 does and is not; save it in UTF-8") from None
    about: Mapping[str, Any] = {}
    if content.startswith(b"PAR1"):
        rows, about = _parquet(name, content)
    elif content.startswith(b"\x1f\x8b"):
        raise ConfigError(f"{name} is compressed; unpack it with gunzip and give what comes out")
    elif b"\0" in content:  # which neither JSON nor csv has
        return Table(name, "paths", [Entry(path) for path in _paths(content)])
    elif (start := content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]) == b"[":
        rows = _json_list(name, content)
    elif start == b"{":
        rows = _json_lines(name, content)
    elif (delimiter := _delimiter(content)) is not None:
        rows = _csv(name, content, delimiter)
    else:
        return Table(name, "paths", [Entry(path) for path in _paths(content)])
    entries, kind = _entries(name, rows)
    scale = about.get("scale", {})
    return Table(
        name,
        kind,
        entries,
        higher_is_better=bool(scale.get("higher_is_better", True)),
        model=str(scale.get("model") or ""),
        counts={
            "pick": sum(entry.decision == "pick" for entry in entries),
            "reject": sum(entry.decision == "reject" for entry in entries),
            "rated": sum(entry.rating is not None for entry in entries),
            "undecided": sum(not entry.decision and entry.rating is None for entry in entries),
        },
    )


Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""Where a row stands, and its values by column."""


def _entries(name: str, rows: Rows) -> tuple[list[Entry], Kind]:
    entries: list[Entry] = []
    faults: list[str] = []
    columns: set[str] = set()
    for place, row in rows:
        columns |= row.keys()
        try:
            entries.append(_entry(row))
        except ValueError as error:
            faults.append(f"{name}, {place}: {error}")
    if faults:
        more = [f"and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
        raise ConfigError("\n".join([*faults[:_SHOWN_FAULTS], *more]))
    if columns & {"decision", "rating"}:
        return entries, "decisions"
    return entries, "scores" if "score" in columns else "paths"


def _entry(row: Mapping[str, Any]) -> Entry:
    path, decision = row.get("path"), row.get("decision") or ""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"path = {_shown(path)} is not the path of a photo")
    if decision not in ("", *DECISIONS):
        raise ValueError(f"decision = {_shown(decision)}: it must be {', '.join(DECISIONS)} or empty")
    numbers = {name: _number(name, row.get(name)) for name in ("rating", *_NUMBERS)}
    rating = numbers.pop("rating")
    if rating is not None and rating not in range(6):
        raise ValueError(f"rating = {row.get('rating')!r}: it must be a whole number from 0 to 5, or empty")
    low, high = numbers["interval_low"], numbers["interval_high"]
    distortion = row.get("distortion")
    if isinstance(distortion, dict):  # JSON lines have all probabilities
        distortion = likeliest({str(label): _number(str(label), value) or 0.0 for label, value in distortion.items()})
    return Entry(
        path=decode_name(path),
        decision=decision,
        rating=None if rating is None else int(rating),
        score=numbers["score"],
        quality=numbers["quality"],
        interval=None if low is None or high is None else (low, high),
        distortion=str(distortion) if distortion else None,
    )


def _number(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # JSON's integers may have more digits than a float holds
        raise ValueError(f"{name} = {_shown(value)} is not a number") from None
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError(f"{name} = {_shown(value)} is not a number")
    return number


def _shown(value: Any) -> str:
    """A value for a message; of a table whose columns are objects it would fill the screen."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}.."


def _json_list(name: str, content: bytes) -> Rows:
    try:
        values = parse_json(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ConfigError(f"{name} is not valid JSON: {error}") from error
    return [(f"entry {number}", _row(name, f"entry {number}", value)) for number, value in enumerate(values, 1)]


def _json_lines(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                value = parse_json(line)
            except ValueError as error:
                raise ConfigError(f"{name}, line {number}: no JSON ({error})") from error
            yield f"line {number}", _row(name, f"line {number}", value)


def _row(name: str, place: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"path": value}
    if isinstance(value, dict):
        return {column: value[column] for column in _COLUMNS if column in value}
    raise ConfigError(f"{name}, {place}: {_shown(value)} is neither a path nor an object with one")


def _delimiter(content: bytes) -> str | None:
    """What separates the columns of a csv file; ``None`` for one whose first line does not name a ``path``."""
    header = re.split(rb"[\r\n]", content.removeprefix(b"\xef\xbb\xbf"), maxsplit=1)[0].decode("utf-8", "replace")
    for delimiter in _DELIMITERS:
        try:
            names = _names(next(csv.reader([header], delimiter=delimiter), []))
        except csv.Error:  # too long a line, for one
            continue
        if "path" in names:
            return delimiter
    return None


def _names(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _csv(name: str, content: bytes, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _names(next(reader))
        for cells in reader:
            if cells:
                values = dict(zip(columns, cells, strict=False))
                yield f"line {reader.line_num}", {column: values[column] for column in _COLUMNS if column in values}
    except csv.Error as error:
        raise ConfigError(f"{name}, line {reader.line_num}: {error}") from error


def _parquet(name: str, content: bytes) -> tuple[Rows, Mapping[str, Any]]:
    rows, about = read_rows(name, content, _COLUMNS)
    return [(f"row {number}", row) for number, row in enumerate(rows, 1)], about


def _paths(content: bytes) -> Iterator[str]:
    """A list of paths: bytes as they are, unless only what they stand for (``decode_name``) is there."""
    null = b"\0" in content
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\0" if null else b"\n"):
        path = os.fsdecode(line if null else line.removesuffix(b"\r"))
        if path:
            yield path if os.path.lexists(path) else decode_name(path)
