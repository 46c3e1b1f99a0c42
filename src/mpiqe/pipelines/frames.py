"""Columns of pandas and polars. Imports neither."""

from pathlib import Path
from typing import Any, TypeVar

from mpiqe.errors import ConfigError
from mpiqe.pipelines.columns import RESULTS, TEXTS, ColumnScorer

Frame = TypeVar("Frame")


def score_frame(
    frame: Frame,
    column: str = "path",
    *,
    weights: str | Path | None = None,
    prefix: str = "",
    **options: Any,
) -> Frame:
    """A pandas or polars ``DataFrame`` with the columns ``RESULTS`` beside its own.

    ``column`` holds paths, the bytes of files, or images. A row without a score has an ``error``; rows keep their order
    and pandas its index. ``weights`` and ``options`` are those of ``mpiqe.load``; with ``allow_host`` addresses may
    lead to hosts and networks that are not public, as in ``mpiqe.score_to``.

    Raises ``ConfigError`` for another kind of frame, for one without that column or that has one of the new ones.
    """
    scorer = ColumnScorer(weights, column=column, prefix=prefix, **options)
    kind = type(frame).__module__.split(".")[0]
    if kind not in ("pandas", "polars") or type(frame).__name__ != "DataFrame":
        raise ConfigError(
            f"score_frame takes a DataFrame of pandas or polars, not {type(frame)}; collect() a LazyFrame"
        )
    table: Any = frame
    there = list(table.columns)
    if column not in there:
        raise ConfigError(f"no column {column!r} in the frame; it has {', '.join(map(str, there))}")
    if doubled := [name for name in scorer.names if name in there]:
        raise ConfigError(f"the frame has the columns {', '.join(doubled)} already; give a prefix for the new ones")
    rows = scorer.rows(None if _is_missing(each) else each for each in table[column])
    made = {prefix + name: [row[name] for row in rows] for name in RESULTS}
    joined: Frame
    if kind == "pandas":
        joined = table.assign(**made)
    else:
        own = type(table)(made, schema={name: _polars_type(name) for name in made})
        joined = table.hstack(own)
    return joined


def _is_missing(value: Any) -> bool:
    """None, and what pandas writes in its place: NaN and NA. No image is a number."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _polars_type(name: str) -> type:
    return str if name.endswith(TEXTS) else float
