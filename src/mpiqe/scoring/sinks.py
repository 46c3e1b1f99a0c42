"""Rows on their way out: a table for people, CSV and JSON lines for scripts. Each row is flushed as it comes.

CSV and JSON lines have the same columns, ``COLUMNS``, in that order. Numbers are rounded to six decimals and are never
NaN. A row that failed has its ``path`` and its ``error``; all else is null in JSON and empty in CSV, and so are the
``error`` of a row that did not fail and the interval of a model without one. ``scene`` and ``distortion`` are objects
from name to probability in JSON and the most probable name in CSV.
"""

import csv
import json
from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from mpiqe.intervals import LEVEL
from mpiqe.scoring.predictor import Predictor, interval_model_of
from mpiqe.scoring.score import Row, Score, likeliest

INTERVAL = ("interval_low", "interval_high")
COLUMNS: tuple[str, ...] = ("path", "score", "spread", "scene", "distortion", "width", "height")
COLUMNS += (*INTERVAL, "error")
_BAR = 10
_INTERVAL_HEAD = f"{LEVEL:.0%} interval"


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

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        values = plain_values(row)
        if row.score:
            values["scene"] = {name: _rounded(value) for name, value in row.score.scene.items()}
            values["distortion"] = {name: _rounded(value) for name, value in row.score.distortion.items()}
        self.stream.write(json.dumps(values, allow_nan=False) + "\n")
        self.stream.flush()


class CsvSink:
    """A header, unless it is there already, and one line per row, which ends with a bare line feed."""

    def __init__(self, stream: Stream, *, header: bool = True) -> None:
        self.stream = stream
        self.writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if header:
            self.writer.writeheader()

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        self.writer.writerow(plain_values(row))
        self.stream.flush()


class TableSink:
    """Lines to look at. The path comes last, since it alone is of no known width: no row has to wait for the others."""

    def __init__(self, console: Console, predictor: Predictor) -> None:
        self.console = console
        self.scale = predictor.scale
        span = self.scale.high - self.scale.low
        self.decimals = self.scale.decimals
        self.number_width = max(len(self._number(end)) for end in (self.scale.low, self.scale.high, -span)) + 1
        self.interval_width = 0
        if interval_model_of(predictor):
            self.interval_width = max(2 * self.number_width + len(" to "), len(_INTERVAL_HEAD))
        self.scene_width = _widest("scene", predictor.scenes)
        self.distortion_width = _widest("distortion", predictor.distortions)
        heads = ["score".rjust(self.number_width), " " * _BAR, "spread".rjust(self.number_width)]
        heads += [_INTERVAL_HEAD.rjust(self.interval_width)] * bool(self.interval_width)
        heads += ["scene".ljust(self.scene_width), "distortion".ljust(self.distortion_width), f"{'size':>11}", "photo"]
        self._print([Text(f"{self.scale}\n", "dim")])
        self._print([Text(head, "bold") for head in heads])

    def write(self, row: Row) -> None:
        """Write the row and flush it."""
        path = _printable(row.path)
        if row.score is None:
            failed = Text("failed".rjust(self.number_width), "bold red")
            self._print([failed, Text(f"{path}: {_printable(row.error or '')}", "red")])
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
            Text(f"±{self._number(score.spread)}".rjust(self.number_width), "dim"),
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
        "spread": _rounded(score.spread),
        "scene": likeliest(score.scene),
        "distortion": likeliest(score.distortion),
        "width": width,
        "height": height,
        **dict(zip(INTERVAL, interval, strict=True)),
        "error": None,
    }


def _rounded(value: float) -> float:
    return round(value, 6)


def _likeliest(probabilities: dict[str, float]) -> str:
    name = likeliest(probabilities)
    return "" if name is None else f"{name} {probabilities[name]:.0%}"


def _widest(head: str, names: tuple[str, ...]) -> int:
    return max(map(len, [head, *(f"{name} 100%" for name in names)]))


def _printable(text: str) -> str:
    """A path can hold line breaks, terminal codes and broken UTF-8."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
