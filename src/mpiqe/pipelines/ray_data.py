"""A class for ``Dataset.map_batches`` of Ray Data. Does not import Ray."""

from typing import Any

import numpy as np

from mpiqe.pipelines.columns import ColumnScorer


class RayScorer(ColumnScorer):
    """Adds scores to batches: ``ds.map_batches(mpiqe.RayScorer, concurrency=2, fn_constructor_kwargs={..})``.

    ``column`` holds images as ``ray.data.read_images`` reads them (arrays), bytes as ``read_binary_files`` does
    (``column="bytes"``: a damaged file costs its own row), or paths. ``weights``, ``prefix`` and ``options`` are as in
    ``mpiqe.hf``. Each actor loads one scorer.
    """

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch of NumPy columns with the new ones."""
        made = self.columns(batch[self.column])
        return {**batch, **{name: np.array(values) for name, values in made.items()}}
