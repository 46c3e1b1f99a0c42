"""A loss that falls as quality rises. Axes: N images."""

from typing import Literal, get_args

from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.torch.metric import Images, QualityMetric

Reduction = Literal["mean", "sum", "none"]


def check_reduction(reduction: str) -> None:
    """Raise ``ConfigError`` for what is no ``Reduction``."""
    if reduction not in get_args(Reduction):
        raise ConfigError(f"loss_reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")


class QualityLoss(nn.Module):
    """(best - score) / (best - worst): 0 at the best rating of the training set, 1 at the worst; lower is better.

    Minimising it improves images as the metric sees them, which after some steps is no longer how people see them:
    docs/pytorch.md shows when, and what helps. It can lie a little outside of 0 to 1, as a score can.

    ``reduction`` over the images: ``mean``, ``sum`` or ``none``. Raises ``ConfigError`` for another.
    """

    lower_better = True
    score_range = (0.0, 1.0)

    def __init__(self, metric: QualityMetric, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.metric = metric
        self.reduction = reduction

    def forward(self, images: Images) -> Tensor:
        """Images as ``QualityMetric`` takes them -> a scalar, or (N,) with ``reduction="none"``; raises as it does."""
        low, high = self.metric.score_range
        losses: Tensor = (high - self.metric(images)) / (high - low)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()
