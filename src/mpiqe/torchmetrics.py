"""MP-IQE as a metric of torchmetrics: the mean score of all images of all processes. Axes: N images, H, W pixels."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mpiqe.errors import ConfigError
from mpiqe.extras import needing
from mpiqe.torch import Images, create_metric

with needing("for mpiqe.torchmetrics"):
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat

Reduction = Literal["mean", "none"]


class MPIQE(Metric):
    """The mean score of images, or with ``reduction="none"`` every score (N,), those of process 0 first.

    ``update`` takes ``mpiqe.torch.Images``: (N, 3, H, W) or a list of (3, H, W), uint8 or floating point in [0, 1].
    ``compute`` before any image is NaN, as ``MeanMetric``'s, or empty. With ``normalize`` scores are 0 for the lowest
    and 1 for the highest rating of the training set.

    ``weights`` and ``options`` are those of ``mpiqe.torch.create_metric``, whose module is ``feature_network``; move
    the metric to its device with ``.to``, as any other. ``kwargs`` are torchmetrics' own (``sync_on_compute``, ..).
    Raises ``ConfigError`` for another reduction, and as ``create_metric`` does.
    """

    is_differentiable = True
    higher_is_better = True
    full_state_update = False
    feature_network: str = "network"

    total: Tensor
    count: Tensor
    scores: list[Tensor]

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        reduction: Reduction = "mean",
        normalize: bool = False,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if reduction not in get_args(Reduction):
            raise ConfigError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")
        self.network = create_metric(weights, **{"device": "cpu", **(options or {})})
        self.reduction = reduction
        self.normalize = normalize
        if reduction == "none":
            self.add_state("scores", default=[], dist_reduce_fx="cat")
        else:
            self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Images) -> None:
        """Add images."""
        scores = self.network(images)
        if self.normalize:
            low, high = self.network.score_range
            scores = (scores - low) / (high - low)
        if self.reduction == "none":
            self.scores.append(scores)
        else:
            self.total = self.total + scores.sum()
            self.count = self.count + len(scores)

    def compute(self) -> Tensor:
        """The mean as a scalar, or every score (N,)."""
        if self.reduction == "none":
            return dim_zero_cat(self.scores) if len(self.scores) else torch.zeros(0, device=self.device)
        return (self.total / self.count).float()
