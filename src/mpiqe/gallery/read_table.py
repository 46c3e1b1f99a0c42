"""Read tables of scores that ``mpiqe score`` has written: jsonl, csv and Parquet."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpiqe.batch.resume import VERSION, settings_file
from mpiqe.batch.sinks import INTERVAL
from mpiqe.errors import ConfigError
from mpiqe.extras import needing
from mpiqe.gallery.table import Table, TableBuilder
from mpiqe.parse import parse_json
from mpiqe.runtimes.base import Scale
from mpiqe.runtimes.graph import read_card
from mpiqe.scoring.loading import embedded_folder
from mpiqe.scoring.score import Score

_LONGEST_FIELD = 1 << 20  # of a CSV file; the standard library's own limit is too short for no path, but for messages
_NEEDED = ("path", "score")

_UNREADABLE = re.compile(r"\.(json|(csv|jsonl|ndjson|json)\.gz)$")

Row = Mapping[str, Any]


def is_table(path: str) -> bool:
    """Whether a path names a table of scores rather than photos, by its suffix; a Parquet file by its columns too."""
    suffix = Path(path).suffix.lower()
    if suffix == ".parquet" and Path(path).is_file():
        return set(_NEEDED) <= set(_parquet_names(Path(path)))
    return suffix in (".jsonl", ".ndjson", ".csv") and not path.startswith("@")


def check_readable(path: str) -> None:
    """Raise ``ConfigError`` for the name of a table that ``mpiqe score`` writes and this does not read."""
    if not path.startswith("@") and _UNREADABLE.search(path.lower()):
        raise ConfigError(
            f"{path}: of the tables that mpiqe score writes a report reads .jsonl, .ndjson, .csv and .parquet, and "
            "none that is compressed or a JSON array"
        )


def read_scores(path: Path) -> Table:
    """The scores in a table. Raises ``ConfigError`` for one that is missing, damaged or has other columns."""
    builder = TableBuilder()
    read: dict[str, Callable[[Path], Iterator[Row]]] = {".jsonl": _json_rows, ".ndjson": _json_rows, ".csv": _csv_rows}
    rows = read.get(path.suffix.lower(), _parquet_rows)(path)
    number = 0
    try:
        for row in rows:
            _add(builder, row)
            number += 1
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, csv.Error) as error:
        raise ConfigError(
            f"{path}: row {number + 1} is none that mpiqe score writes ({type(error).__name__}: {error})"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    return builder.table(name=path.name, scale=_scale(path))


def _add(builder: TableBuilder, row: Row) -> None:
    path = row["path"]
    if not isinstance(path, str):
        raise TypeError(f"path is {path!r}")
    if row["score"] in (None, ""):
        builder.fail(path, str(row.get("error") or "no reason is given"))
        return
    interval = _number(row.get(INTERVAL[0])), _number(row.get(INTERVAL[1]))
    scene, distortion = row.get("scene"), row.get("distortion")
    all_known = isinstance(scene, Mapping) and isinstance(distortion, Mapping)
    score = _number(row["score"])
    if score is None:
        raise ValueError(f"score is {row['score']!r}")
    values = Score(
        score=score,
        spread=_number(row.get("spread")) or 0.0,
        scene=_probabilities(scene) if all_known else {},
        distortion=_probabilities(distortion) if all_known else {},
        size=(int(row.get("width") or 0), int(row.get("height") or 0)),
        interval=None if interval[0] is None or interval[1] is None else (interval[0], interval[1]),
    )
    if all_known:
        builder.add(path, values)
    else:
        builder.add_named(path, values, scene=scene or None, distortion=distortion or None)


def _number(value: Any) -> float | None:
    if value in (None, ""):
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _probabilities(values: Any) -> dict[str, float]:
    return {str(name): _number(value) or 0.0 for name, value in values.items()}


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                row = parse_json(line)
                if not isinstance(row, dict):
                    raise TypeError("it is no object")
                yield row


def _csv_rows(path: Path) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
            if missing:
                raise ConfigError(f"no column {' and '.join(missing)}; is it a table that mpiqe score has written?")
            yield from rows
    finally:
        csv.field_size_limit(before)


def _parquet_rows(path: Path) -> Iterator[Row]:
    with needing("to read Parquet"):
        import pyarrow.parquet as pq

    names = _parquet_names(path)
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise ConfigError(f"no column {' and '.join(missing)}; is it a table that mpiqe score has written?")
    kinds = {kind: [name for name in names if name.startswith(f"{kind}_")] for kind in ("scene", "distortion")}
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                if all(kinds.values()) and row["score"] is not None:
                    for kind, columns in kinds.items():
                        row[kind] = {name.removeprefix(f"{kind}_"): row[name] for name in columns}
                yield row


def _parquet_names(path: Path) -> list[str]:
    with needing("to read Parquet"):
        import pyarrow.parquet as pq
    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:  # pyarrow's own are among these
        raise ConfigError(f"{path} is damaged or no Parquet file ({' '.join(str(error).split())})") from error


def _scale(path: Path) -> Scale | None:
    """The scale of a table's scores: Parquet holds it; of the embedded model's rows it is known otherwise."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        try:
            scale = parse_json((pq.read_schema(path).metadata or {}).get(b"mpiqe", b"{}"))["scale"]
            return Scale(
                low=float(scale["low"]),
                high=float(scale["high"]),
                unit=str(scale["unit"]),
                higher_is_better=bool(scale["higher_is_better"]),
                model=str(scale.get("model", "")),
                shot_difference=_number(scale.get("shot_difference")),
            )
        except (ValueError, KeyError, TypeError):
            return None
    try:
        version = parse_json(settings_file(path).read_bytes()).get(VERSION)
    except (OSError, ValueError, AttributeError):
        return None
    embedded = read_card(embedded_folder()).scale
    return embedded if version == embedded.model else None
