"""A stage of a WebDataset pipeline. Does not import it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mpiqe.errors import ConfigError
from mpiqe.pipelines.columns import ColumnScorer, filled


class WebDatasetScorer(ColumnScorer):
    """Adds scores to samples as they pass; make one with ``mpiqe.webdataset``."""

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        column: str,
        prefix: str,
        min_score: float | None,
        chunk: int,
        **options: Any,
    ) -> None:
        super().__init__(weights, column=column, prefix=prefix, **options)
        if chunk < 1:
            raise ConfigError(f"chunk must be at least 1 sample, not {chunk}")
        self.keys = column.split(";")
        self.min_score = min_score
        self.chunk = chunk

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the samples in their order with the new entries, without those under ``min_score``."""
        rest = iter(samples)
        while taken := list(islice(rest, self.chunk)):
            for sample, row in zip(taken, self.rows(map(self._image, taken)), strict=True):
                if self.min_score is None or (row["score"] is not None and row["score"] >= self.min_score):
                    yield {**sample, **{self.prefix + name: filled(name, value) for name, value in row.items()}}

    def _image(self, sample: dict[str, Any]) -> Any:
        return next((sample[key] for key in self.keys if key in sample), None)


def webdataset(
    weights: str | Path | None = None,
    *,
    column: str = "jpg;jpeg;png;webp",
    prefix: str = "",
    min_score: float | None = None,
    chunk: int = 64,
    **options: Any,
) -> WebDatasetScorer:
    """Make a stage for ``wds.WebDataset(..).compose(mpiqe.webdataset())`` that adds ``RESULTS`` to each sample.

    ``column``: the entry with the image, the first that is there of several with semicolons between; bytes as they are
    before ``decode("pil", partial=True)``, or decoded. With ``min_score`` samples under it are left out, and those
    without a score. ``chunk`` samples are scored together. ``prefix``, ``weights`` and ``options`` are as in
    ``mpiqe.hf``.
    """
    return WebDatasetScorer(weights, column=column, prefix=prefix, min_score=min_score, chunk=chunk, **options)
