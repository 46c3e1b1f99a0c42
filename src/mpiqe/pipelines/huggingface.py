"""A function for ``Dataset.map`` of Hugging Face's ``datasets``. Does not import it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpiqe.batch.resume import identity
from mpiqe.hub import fetch, parse_hub_id
from mpiqe.pipelines.columns import ColumnScorer
from mpiqe.runtimes.graph import CARD
from mpiqe.scoring.loading import EMBEDDED, version_of_folder


class HuggingFaceScorer(ColumnScorer):
    """Adds scores to a batch of a dataset; make one with ``mpiqe.hf``.

    ``version`` says which model it is, for caches: the results of two versions do not mix. It is a digest of the files
    of ``weights``; of a model on the hub the commit, at which every process then loads it.
    """

    def __init__(self, weights: str | Path | None = None, **options: Any) -> None:
        super().__init__(weights, **options)
        hub_id = parse_hub_id(self.weights)
        if hub_id is not None:
            self.version: str | None = fetch(hub_id, [CARD]).name
            self.weights = str(replace(hub_id, revision=self.version))
        elif self.weights in (None, EMBEDDED):
            self.version = version_of_folder(None)
        else:
            self.version = identity(self.weights)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Return the new columns of a batch, ``map`` with ``batched=True``."""
        return self.columns(batch[self.column])


def hf(
    weights: str | Path | None = None, *, column: str = "image", prefix: str = "", **options: Any
) -> HuggingFaceScorer:
    """Make a function for ``ds.map(mpiqe.hf(), batched=True)`` that adds ``RESULTS`` to a dataset, streamed or not.

    ``column`` is an ``Image`` feature, decoded or with ``decode=False`` (then a damaged file costs its own row: its
    score is NaN and its ``error`` says why; it is empty elsewhere), or paths. ``prefix`` begins the names of the new
    columns. ``weights`` and ``options`` are those of ``mpiqe.load``, and ``allow_host`` of ``mpiqe.score_to``; each
    process of ``num_proc`` loads its own, and the cache of ``datasets`` tells models, retrained ones too, and options
    apart. A model on the hub is that of the moment's commit; raises ``WeightsError`` where the hub does not give it.
    """
    return HuggingFaceScorer(weights, column=column, prefix=prefix, **options)
