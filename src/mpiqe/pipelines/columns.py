"""What the pipelines share: a scorer that is loaded where it is first used, and its results as columns."""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mpiqe.batch.sinks import COLUMNS, plain_values
from mpiqe.decoding import Source
from mpiqe.errors import ConfigError
from mpiqe.scoring.loading import load
from mpiqe.scoring.score import Row
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.archive import photo_in_cell
from mpiqe.sources.given import is_path
from mpiqe.sources.photo import Limits
from mpiqe.sources.reach import Reach

RESULTS = tuple(name for name in COLUMNS if name not in ("path", "width", "height"))
"""The columns that a pipeline adds: score, quality, spread, scene, distortion, interval_low, interval_high, error."""
TEXTS = ("scene", "distortion", "error")
"""Those of them that hold text; the others hold numbers."""


class ColumnScorer:
    """Scores the images of one column.

    It holds the name of the weights and options of ``mpiqe.load``, and loads the scorer when it first scores: it can
    be sent to another process, which loads its own. ``allow_host``: hosts and networks that are not public and that
    addresses in the column may lead to, as of ``mpiqe.score_to``. Raises ``ConfigError`` for a prefix that is no text
    and for an invalid host.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        column: str = "image",
        prefix: str = "",
        allow_host: Iterable[str] = (),
        **options: Any,
    ) -> None:
        if not isinstance(prefix, str):
            raise ConfigError(f"prefix must be text that begins the names of new columns, not {prefix!r}")
        self.weights = None if weights is None else os.fspath(weights)
        self.column = column
        self.prefix = prefix
        self.reach = Reach.of((), hosts=allow_host)
        self.options = options

    def __getstate__(self) -> dict[str, Any]:
        """All but the scorer."""
        return {name: value for name, value in self.__dict__.items() if name != "scorer"}

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer, loaded when it is first asked for; raises as ``mpiqe.load`` does."""
        return load(self.weights, **self.options)

    @property
    def names(self) -> list[str]:
        """The new columns."""
        return [self.prefix + name for name in RESULTS]

    def columns(self, images: Iterable[Any]) -> dict[str, list[Any]]:
        """The new columns for images in any form that ``as_source`` takes; a path or an address is of one photo.

        An image without a score has NaN for numbers, and all but ``error`` empty; one with a score an empty ``error``.
        There is no None, so that a column has the same type in every batch.
        """
        rows = self.rows(images)
        return {self.prefix + name: [filled(name, row[name]) for row in rows] for name in RESULTS}

    def rows(self, images: Iterable[Any]) -> list[dict[str, Any]]:
        """``RESULTS`` of each image, None where there is none."""
        given = [None if image is None else as_source(image) for image in images]
        there = [place for place, image in enumerate(given) if image is not None]
        photos = (self._one(given[place]) for place in there)
        scored = dict(zip(there, self.scorer.rows(photos), strict=True))
        nothing = Row("", None, "there is no image")
        return [_values(scored.get(place, nothing)) for place in range(len(given))]

    def _one(self, source: Any) -> Any:
        """A path or an address as one photo, as in a cell of a table: never a folder, a pattern or a list."""
        if not is_path(source):
            return source
        limits = Limits(timeout=self.scorer.read_timeout, reach=self.reach)
        return photo_in_cell(os.fsdecode(source), limits=limits, is_elsewhere=False)


def filled(name: str, value: Any) -> Any:
    """The value of a result, NaN or an empty text where it is None."""
    if value is not None:
        return value
    return "" if name in TEXTS else float("nan")


def _values(row: Row) -> dict[str, Any]:
    values = plain_values(row)
    return {name: values[name] for name in RESULTS}


def as_source(image: Any) -> Source:
    """An image of a pipeline as ``Scorer`` takes it: ``{"bytes": .., "path": ..}`` too, and arrays in grey."""
    if isinstance(image, Mapping) and {"bytes", "path"} & set(image):
        content = image.get("bytes")
        source: Source = content if content is not None else image.get("path") or ""
        return source
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        grey = image if image.ndim == 2 else image[..., 0]
        return np.stack([grey] * 3, axis=-1) if image.ndim == 2 or image.shape[2] == 1 else image
    if isinstance(image, (bytearray, memoryview, np.bytes_)):
        return bytes(image)
    return image if not isinstance(image, np.str_) else str(image)
