r"""Writers of rows: a table for people, CSV and JSON lines for scripts. Each row is flushed as it comes.

CSV and JSON lines have the same columns, ``COLUMNS``, in that order. Numbers are rounded to six decimals and are never
NaN. A row that failed has its ``path`` and its ``error``; all else is null in JSON and empty in CSV, and so are the
``error`` of a row that did not fail and the interval of a model without one. ``quality`` is the score's position on the
model's scale, from 0 (worst) to 1 (best). ``scene`` and ``distortion`` are objects from name to probability in JSON and
the most probable name in CSV.

Columns of tables that are kept follow ``error`` under the names of ``kept_names``, in JSON with their types.

Both are valid UTF-8 whatever a file is called: a byte of a name that is not UTF-8 is written as ``\udcXX``
(``encode_name``, and ``decode_name`` for the way back). In CSV a field with a comma, a quote, a carriage return or a
line feed is quoted.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from mpiqe.errors import ConfigError
from mpiqe.intervals import LEVEL
from mpiqe.printable import printable
from mpiqe.runtimes.base import Predictor, interval_model_of
from mpiqe.scoring.score import Row, Score, likeliest

INTERVAL = ("interval_low", "interval_high")
COLUMNS: tuple[str, ...] = ("path", "score", "quality", "spread", "scene", "distortion", "width", "height")
COLUMNS += (*INTERVAL, "error")
COLUMNS_WITHOUT_QUALITY = tuple(name for name in COLUMNS if name != "quality")
"""Those of earlier versions, whose outputs are continued as they began."""
_DECIDED = ("decision", "rating")
_BAR = 10
_INTERVAL_HEAD = f"{LEVEL:.0%} interval"
_TO_QUOTE = re.compile(r'[",\r\n]')
_LIKE_AN_ESCAPE = re.compile(r"\\(?=udc[0-9a-f]{2})")
_ESCAPE = re.compile(rb"\\udc([0-9a-f]{2})")


class Stream(Protocol):
    """What text can be written to."""

    def write(self, text: str, /) -> object:
        """Take the text."""

    def flush(self) -> object:
        """Hand on what was written."""


class Sink(Protocol):
    """Takes rows, one by one."""

    def write(self, row: Row) -> None:
        """Write the row and flush it."""


class JsonLinesSink:
    """One JSON object a line, ASCII only."""

    def __init__(self, stream: Stream, *, columns: Sequence[str] = COLUMNS, kept: Sequence[str] = ()) -> None:
        self.stream = stream
        self.columns = columns
        self.kept = kept

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        self.stream.write(self.line(row) + "\n")
        self.stream.flush()

    def line(self, row: Row) -> str:
        """Return the row as one JSON object."""
        stored = storable_values(row)
        values = {name: stored[name] for name in self.columns}
        if row.score:
            values["scene"] = {name: _rounded(value) for name, value in row.score.scene.items()}
            values["distortion"] = {name: _rounded(value) for name, value in row.score.distortion.items()}
        values |= kept_values(row, self.kept)
        return json.dumps(values, allow_nan=False)


class JsonSink(JsonLinesSink):
    """One JSON array, which is whole after ``finish``."""

    def __init__(self, stream: Stream, *, kept: Sequence[str] = ()) -> None:
        super().__init__(stream, kept=kept)
        self._is_empty = True

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        self.stream.write(("[\n" if self._is_empty else ",\n") + self.line(row))
        self.stream.flush()
        self._is_empty = False

    def finish(self) -> None:
        """End the array."""
        self.stream.write("[\n]\n" if self._is_empty else "\n]\n")
        self.stream.flush()


class CsvSink:
    """A header, unless it is there already, and one line per row, which ends with a bare line feed."""

    def __init__(
        self, stream: Stream, *, header: bool = True, columns: Sequence[str] = COLUMNS, kept: Sequence[str] = ()
    ) -> None:
        self.stream = stream
        self.columns = columns
        self.kept = kept
        if header:
            self._write((*columns, *kept_names(kept)))

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        values = storable_values(row)
        self._write([*(values[name] for name in self.columns), *kept_values(row, self.kept).values()])
        self.stream.flush()

    def _write(self, values: Iterable[Any]) -> None:
        self.stream.write(",".join(map(csv_field, values)) + "\n")


class TableSink:
    """A table for people. The path comes last: only its width is unknown before all rows are."""

    def __init__(
        self, console: Console, predictor: Predictor, *, crops: int | None = None, name_figures: bool = False
    ) -> None:
        """``crops``: how many each photo is scored by, if that is known."""
        self.console = console
        self.name_figures = name_figures
        self.scale = predictor.scale
        span = self.scale.high - self.scale.low
        self.decimals = self.scale.decimals
        self.number_width = max(len(self._number(end)) for end in (self.scale.low, self.scale.high, -span)) + 1
        self.interval_width = 0
        if interval_model_of(predictor):
            self.interval_width = max(2 * self.number_width + len(" to "), len(_INTERVAL_HEAD))
        self.scene_width = _widest("scene", predictor.scenes)
        self.distortion_width = _widest("distortion", predictor.distortions)
        self.spread_width = 0 if crops == 1 else self.number_width  # one crop has no spread
        heads = ["score".rjust(self.number_width), " " * _BAR]
        heads += ["spread".rjust(self.spread_width)] * bool(self.spread_width)
        heads += [_INTERVAL_HEAD.rjust(self.interval_width)] * bool(self.interval_width)
        heads += ["scene".ljust(self.scene_width), "distortion".ljust(self.distortion_width), f"{'size':>11}", "photo"]
        self._print([Text(f"{self.scale}\n", "dim")])
        self._print([Text(head, "bold") for head in heads])

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        path = printable(row.path)
        if self.name_figures and row.figure is not None:
            path += f" -> {printable(row.figure)}"
        if row.score is None:
            failed = Text("failed".rjust(self.number_width), "bold red")
            self._print([failed, Text(f"{path}: {printable(row.error or '')}", "red")])
        else:
            self._print([*self._cells(row.score), Text(path)])

    def _cells(self, score: Score) -> list[Text]:
        place = (score.score - self.scale.low) / ((self.scale.high - self.scale.low) or 1)
        good = place if self.scale.higher_is_better else 1 - place
        colour = "green" if good > 2 / 3 else "yellow" if good > 1 / 3 else "red"
        full = max(0, min(_BAR, round(_BAR * place)))
        width, height = score.size
        return [
            Text(self._number(score.score).rjust(self.number_width), f"bold {colour}"),
            Text("━" * full, colour).append("─" * (_BAR - full), "bright_black"),
            *[Text(f"±{self._number(score.spread)}".rjust(self.spread_width), "dim")] * bool(self.spread_width),
            *self._interval(score),
            Text(_likeliest(score.scene).ljust(self.scene_width)),
            Text(_likeliest(score.distortion).ljust(self.distortion_width)),
            Text(f"{width}x{height}".rjust(11), "dim"),
        ]

    def _interval(self, score: Score) -> list[Text]:
        """The cell of the interval, if the table has that column."""
        if not self.interval_width:
            return []
        said = " to ".join(map(self._number, score.interval)) if score.interval else ""
        return [Text(said.rjust(self.interval_width))]

    def _number(self, value: float) -> str:
        return f"{value:.{self.decimals}f}"

    def _print(self, cells: Iterable[Text]) -> None:
        with self.console.capture() as captured:  # rich itself would exit, with status 1, when a reader goes away
            self.console.print(Text("  ").join(cells), soft_wrap=True)
        self.console.file.write(captured.get())
        self.console.file.flush()


def plain_values(row: Row) -> dict[str, Any]:
    """The row by ``COLUMNS``, with the names of the most probable scene and distortion."""
    if row.score is None:
        return dict.fromkeys(COLUMNS) | {"path": row.path, "error": row.error}
    score, (width, height) = row.score, row.score.size
    interval = (None, None) if score.interval is None else tuple(map(_rounded, score.interval))
    return {
        "path": row.path,
        "score": _rounded(score.score),
        "quality": None if score.quality is None else _rounded(score.quality),
        "spread": _rounded(score.spread),
        "scene": likeliest(score.scene),
        "distortion": likeliest(score.distortion),
        "width": width,
        "height": height,
        **dict(zip(INTERVAL, interval, strict=True)),
        "error": None,
    }


def storable_values(row: Row) -> dict[str, Any]:
    """``plain_values`` in valid UTF-8."""
    values = plain_values(row)
    values["path"], values["error"] = encode_name(row.path), row.error and encode_name(row.error)
    return values


def encode_name(name: str) -> str:
    r"""A file's name in valid UTF-8: bytes that are not, which Python reads as surrogates, become ``\udcXX``.

    A backslash that would look like the beginning of such an escape becomes ``\udc5c``, so that no two names are
    written alike.
    """
    return _LIKE_AN_ESCAPE.sub(r"\\udc5c", name).encode("utf-8", "backslashreplace").decode()


def decode_name(written: str) -> str:
    """The name of a file as ``encode_name`` was given it, for ``open``."""
    return os.fsdecode(_ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), os.fsencode(written)))


def checked_kept(keep: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of tables to keep, each once, in the order in which they are named first.

    Raises ``ConfigError`` where two of them would have one name in rows (``kept_names``).
    """
    kept = tuple(dict.fromkeys(keep))
    columns: dict[str, str] = {}
    for column, name in zip(kept, kept_names(kept), strict=True):
        if name in columns:
            raise ConfigError(
                f"--keep: the columns {columns[name]!r} and {column!r} would both be called {name!r} in the rows; "
                "leave one of them away, or rename it in the table"
            )
        columns[name] = column
    return kept


def kept_names(kept: Iterable[str]) -> tuple[str, ...]:
    """What columns of tables are called in rows: as in the table, or ``table_NAME``.

    The latter where rows have such a name, and where ``mpiqe apply`` would take it for what was decided.
    """
    return tuple(f"table_{name}" if _is_ours(name) else name for name in kept)


def _is_ours(name: str) -> bool:
    return name in (*COLUMNS, *_DECIDED) or name.startswith(("scene_", "distortion_"))


def kept_values(row: Row, kept: Sequence[str]) -> dict[str, Any]:
    """The row's values of those columns; ``None`` for an image that is not from a table."""
    values = row.kept or {}
    return dict(zip(kept_names(kept), (values.get(name) for name in kept), strict=True))


def csv_field(value: Any) -> str:
    """A field, in quotes where it needs them.

    ``csv`` itself leaves a lone carriage return unquoted on some versions of Python, and readers end a row there.
    """
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text


def _rounded(value: float) -> float:
    return round(value, 6)


def _likeliest(probabilities: dict[str, float]) -> str:
    name = likeliest(probabilities)
    return "" if name is None else f"{name} {probabilities[name]:.0%}"


def _widest(head: str, names: tuple[str, ...]) -> int:
    return max(map(len, [head, *(f"{name} 100%" for name in names)]))
