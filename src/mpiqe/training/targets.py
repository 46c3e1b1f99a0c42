"""Convert labels to the targets of the losses."""

import torch.nn.functional as F
from torch import Tensor


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B,) int64 with -1 for no label -> (B, classes) float, a row of zeros where there is none."""
    return F.one_hot(labels.clamp(min=0), classes).float() * (labels >= 0)[:, None]
