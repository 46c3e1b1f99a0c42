"""Labels as the losses want them."""

import statistics
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mpiqe.data.record import Record
from mpiqe.errors import DatasetError


def target_statistics(records: Sequence[Record]) -> tuple[float, float]:
    """Mean and (population) standard deviation of the records' MOS, for D10.

    Raises ``DatasetError`` where all ratings are the same: there is nothing to learn from.
    """
    ratings = [record.mos for record in records]
    mean, deviation = statistics.fmean(ratings), statistics.pstdev(ratings)
    if deviation == 0:
        raise DatasetError(f"all {len(ratings)} training images have the same MOS, {mean}: there is nothing to learn")
    return mean, deviation


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B,) int64 with -1 for no label -> (B, classes) float, a row of zeros where there is none."""
    return F.one_hot(labels.clamp(min=0), classes).float() * (labels >= 0)[:, None]
