"""A function for ``Dataset.map`` of Hugging Face's ``datasets``. Does not import it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpiqe.pipelines.columns import ColumnScorer


class HuggingFaceScorer(ColumnScorer):
    """Adds scores to a batch of a dataset; make one with ``mpiqe.hf``."""

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Return the new columns of a batch, ``map`` with ``batched=True``."""
        return self.columns(batch[self.column])


def hf(
    weights: str | Path | None = None, *, column: str = "image", prefix: str = "", **options: Any
) -> HuggingFaceScorer:
    """Make a function for ``ds.map(mpiqe.hf(), batched=True)`` that adds ``RESULTS`` to a dataset, streamed or not.

    ``column`` is an ``Image`` feature, decoded or with ``decode=False`` (then a damaged file costs its own row: its
    score is NaN and its ``error`` says why; it is empty elsewhere), or paths. ``prefix`` begins the names of the new
    columns. ``weights`` and ``options`` are those of ``mpiqe.load``; each process of ``num_proc`` loads its own, and
    the cache of ``datasets`` tells models and options apart.
    """
    return HuggingFaceScorer(weights, column=column, prefix=prefix, **options)
