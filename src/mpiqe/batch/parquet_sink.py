r"""Rows as a Parquet file with typed columns.

A Parquet file cannot grow by a row, so the rows go to parts, each of which is whole or not there, in a folder beside
the output. At the end they become one file, of which but a row group is in memory at a time.

The columns are those of csv, with those that are kept of a table as text, and after them one for each class,
``scene_NAME`` and ``distortion_NAME``, with its probability: flat ones, since each tool reads, filters and leaves out
such columns, and not each a map or a struct. The schema's metadata has under ``mpiqe`` a JSON object of the scale, the
settings and what computed the rows. What is not UTF-8 in a path is written as ``\udcXX`` (``sinks.encode_name``).
"""

import json
import os
import shutil
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpiqe.atomic import write_atomic
from mpiqe.batch.resume import COMPUTES, Done, columns_of_before
from mpiqe.batch.sinks import (
    COLUMNS,
    COLUMNS_WITHOUT_QUALITY,
    INTERVAL,
    encode_name,
    kept_names,
    kept_values,
    storable_values,
)
from mpiqe.batch.writing import writing
from mpiqe.errors import ConfigError
from mpiqe.extras import needing
from mpiqe.parse import parse_json
from mpiqe.runtimes.base import Predictor
from mpiqe.scoring.score import Row

PART_ROWS = 10_000
PART_SECONDS = 30.0
_GROUP_ROWS = 65_536


class ParquetSink:
    """Takes rows, saves them part by part and makes one file of them when they are all there.

    A part is saved after ``rows`` rows or, once a second has passed, a hundredth of the time since the beginning, but
    ``seconds`` at most: what a ``kill -9`` can cost, and a later run does again. Raises ``ConfigError`` where
    pyarrow is not installed or the folder for the parts cannot be made.
    """

    def __init__(
        self,
        output: Path,
        predictor: Predictor,
        *,
        settings: Mapping[str, Any],
        columns: Sequence[str] = COLUMNS,
        kept: Sequence[str] = (),
        rows: int = PART_ROWS,
        seconds: float = PART_SECONDS,
    ) -> None:
        self.output = output
        self.rows = rows
        self.seconds = seconds
        self.folder = parts_folder(output)
        self.schema = schema(predictor, settings, columns=columns, kept=kept)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write to {self.folder}: {error.strerror}; name another --output") from error
        self._saved = len(_parts(self.folder))
        self._waiting: list[dict[str, Any]] = []
        self._since = self._began = time.monotonic()

    def write(self, row: Row) -> None:
        """Take a row; it is on the disk with the next part."""
        self.write_values(_values(row))

    def write_values(self, values: dict[str, Any]) -> None:
        """Take a row's values by column."""
        self._waiting.append(values)
        now = time.monotonic()
        pause = min(self.seconds, max(1.0, (now - self._began) / 100))
        if len(self._waiting) >= self.rows or now - self._since >= pause:
            self.save()

    def save(self) -> None:
        """Write the rows that wait as a part."""
        if self._waiting:
            self._write(self._waiting)
            self._waiting = []
        self._since = time.monotonic()

    def _write(self, values: list[dict[str, Any]]) -> None:
        with writing(self.output):
            write_atomic(self.folder / f"part-{self._saved:06}.parquet", _encoded(values, self.schema))
        self._saved += 1

    def finish(self) -> None:
        """Make the output of all parts and remove them; without a row it has the columns alone."""
        self.save()
        if not self._saved:
            self._write([])
        merge(self.output)


class EarlierParquet:
    """The rows of an earlier run: those of the output, where it is finished, or those of its parts."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = parts_folder(output)
        self.columns = COLUMNS

    def __iter__(self) -> Iterator[Done]:
        """The rows, a few at a time in memory."""
        pyarrow_parquet = _pyarrow_parquet()
        for part in [self.output] if self.output.exists() else _parts(self.folder):
            try:
                with pyarrow_parquet.ParquetFile(part) as table:
                    if not set(INTERVAL) <= set(table.schema_arrow.names):
                        raise columns_of_before(part)
                    if "quality" not in table.schema_arrow.names:
                        self.columns = COLUMNS_WITHOUT_QUALITY
                    for batch in table.iter_batches(columns=["path", "score"]):
                        for path, score in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                            yield Done(path, score)
            except (OSError, ValueError) as error:  # pyarrow's own are among these
                raise ConfigError(
                    f"{part} is none that mpiqe score has written, or damaged ({' '.join(str(error).split())}); "
                    "name another --output, or start anew with --overwrite"
                ) from error

    def written(self, path: str) -> str:
        """The path in UTF-8."""
        return encode_name(path)

    def cut(self) -> None:
        """Turn a finished output into the first part again; there is nothing to leave away."""
        if self.output.exists():
            remove_parts(self.output)
            self.folder.mkdir()
            self.output.rename(self.folder / "part-000000.parquet")


class ParquetRows:
    """The rows of an earlier run by their number; a row group is in memory at a time."""

    def __init__(self, output: Path) -> None:
        self._files = [output] if output.exists() else _parts(parts_folder(output))
        self._groups: list[tuple[int, int, int]] = []  # number of its first row, file, row group
        self._rows = 0
        self._held: tuple[int, Any] | None = None
        for file, path in enumerate(self._files):
            about = _pyarrow_parquet().read_metadata(path)
            for group in range(about.num_row_groups):
                self._groups.append((self._rows, file, group))
                self._rows += about.row_group(group).num_rows

    def values(self, number: int) -> dict[str, Any]:
        """Return a row's values by column."""
        place = bisect_right(self._groups, number, key=lambda group: group[0]) - 1
        first, file, group = self._groups[place]
        if self._held is None or self._held[0] != place:
            with _pyarrow_parquet().ParquetFile(self._files[file]) as table:
                self._held = place, table.read_row_group(group)
        values: dict[str, Any] = self._held[1].slice(number - first, 1).to_pylist()[0]
        return values


def read_rows(name: str, content: bytes, columns: Sequence[str]) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """The ``columns`` that a file of ours has, row by row, and what its metadata say of scale, settings and model.

    Raises ``ConfigError``, with ``name``, for one that is damaged or that ``mpiqe score`` has not written.
    """
    pyarrow_parquet = _pyarrow_parquet()
    import pyarrow as pa

    try:
        with pyarrow_parquet.ParquetFile(pa.BufferReader(content)) as file:
            about = parse_json((file.schema_arrow.metadata or {}).get(b"mpiqe", b"null"))
            if not isinstance(about, dict):
                raise ConfigError(f"{name} is a Parquet file that mpiqe score has not written; give csv or JSON")
            rows = file.read(columns=[column for column in columns if column in file.schema_arrow.names])
            return rows.to_pylist(), about
    except (OSError, ValueError) as error:  # pyarrow's own are among these
        raise ConfigError(f"{name} is damaged ({' '.join(str(error).split())})") from error


def parts_folder(output: Path) -> Path:
    """Where the parts of an output lie until it is finished."""
    return output.with_name(f"{output.name}.parts")


def refuse_unfinished(output: Path) -> None:
    """Raise ``ConfigError`` where an earlier run was not finished, since to start anew would throw its rows away."""
    if not output.exists() and _parts(parts_folder(output)):
        raise ConfigError(
            f"{parts_folder(output)} has the rows of a run that was not finished; continue it with --resume, or start "
            "anew with --overwrite"
        )


def remove_parts(output: Path) -> None:
    """Remove the parts of an output that is finished."""
    if parts_folder(output).is_dir():
        shutil.rmtree(parts_folder(output))


def merge(output: Path) -> None:
    """Make one file of the parts, in place of any that is there, then remove them."""
    parts = _parts(parts_folder(output))
    if not parts:
        return
    with writing(output):
        join(parts, parts_folder(output) / "whole")
        (parts_folder(output) / "whole").replace(output)
    remove_parts(output)


def encoded(rows: Iterable[Row], schema: Any) -> bytes:
    """A Parquet file of the rows."""
    return _encoded([_values(row) for row in rows], schema)


def join(parts: Iterable[Path], beside: Path) -> None:
    """Make one file of several with the same schema, of which there is one at least, and see it on the disk."""
    pyarrow_parquet = _pyarrow_parquet()
    import pyarrow as pa

    parts = list(parts)
    common = pyarrow_parquet.read_schema(parts[0])
    with pyarrow_parquet.ParquetWriter(beside, common) as writer:
        waiting: list[Any] = []
        for part in parts:
            with pyarrow_parquet.ParquetFile(part) as table:
                for batch in table.iter_batches(_GROUP_ROWS):
                    waiting.append(batch)
                    if sum(map(len, waiting)) >= _GROUP_ROWS:
                        writer.write_table(pa.Table.from_batches(waiting, common))
                        waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, common))
    with beside.open("rb+") as file:
        os.fsync(file.fileno())


def _values(row: Row) -> dict[str, Any]:
    values = storable_values(row)
    for name, value in kept_values(row, tuple(row.kept or ())).items():
        values[name] = value if value is None or isinstance(value, str) else json.dumps(value)
    if row.score:
        values |= {f"scene_{name}": value for name, value in row.score.scene.items()}
        values |= {f"distortion_{name}": value for name, value in row.score.distortion.items()}
    return values


def _encoded(values: list[dict[str, Any]], schema: Any) -> bytes:
    _pyarrow_parquet()
    import pyarrow as pa

    content = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(values, schema=schema), content)
    return bytes(content.getvalue().to_pybytes())


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("part-*.parquet"))
    for number, part in enumerate(parts):
        if part.name != f"part-{number:06}.parquet":
            raise ConfigError(f"{folder}: part-{number:06}.parquet is missing; remove the folder and start anew")
    return parts


def schema(
    predictor: Predictor,
    settings: Mapping[str, Any],
    *,
    columns: Sequence[str] = COLUMNS,
    kept: Sequence[str] = (),
) -> Any:
    """The columns of a model's rows and those ``kept`` of tables, its scale, the settings, what it computes with."""
    _pyarrow_parquet()
    import pyarrow as pa

    scale = predictor.scale
    about = {
        "scale": {
            "low": scale.low,
            "high": scale.high,
            "unit": scale.unit,
            "higher_is_better": scale.higher_is_better,
            "model": scale.model,
            **({} if scale.shot_difference is None else {"shot_difference": scale.shot_difference}),
        },
        **settings,
        COMPUTES: predictor.computes,
    }
    fields = [
        pa.field("path", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        *([pa.field("quality", pa.float64())] if "quality" in columns else []),
        pa.field("spread", pa.float64()),
        pa.field("scene", pa.string()),
        pa.field("distortion", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *(pa.field(name, pa.float64()) for name in INTERVAL),
        pa.field("error", pa.string()),
        *(pa.field(name, pa.string()) for name in kept_names(kept)),
        *(pa.field(f"scene_{name}", pa.float32()) for name in predictor.scenes),
        *(pa.field(f"distortion_{name}", pa.float32()) for name in predictor.distortions),
    ]
    return pa.schema(fields, metadata={"mpiqe": json.dumps(about)})


def _pyarrow_parquet() -> Any:
    with needing("to write Parquet"):
        import pyarrow.parquet
    return pyarrow.parquet
