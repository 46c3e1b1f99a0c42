"""The training loss (Eqs. 9, 11, 15, 16). Axes: B crops, C classes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.model.mpiqe import MPIQEOutput
from mpiqe.model.options import LossOptions


class Losses(NamedTuple):
    """Scalars of one batch."""

    total: Tensor
    scene: Tensor
    distortion: Tensor
    score: Tensor
    ranking: Tensor
    """Of pairs within a rated set, where that is asked for."""
    plcc: Tensor
    """1 - PLCC within a rated set, likewise."""


class Counts(NamedTuple):
    """Denominators of the means: a part of a batch is divided by the counts of the whole batch."""

    crops: int
    scene: int
    """Crops with a scene label."""
    distortion: int
    """Crops with a distortion label."""


def cross_entropy(logits: Tensor, target: Tensor, *, class_mean: bool = False, labelled: int | None = None) -> Tensor:
    """Eqs. 9 and 11: logits (B, C), target (B, C) that sums to one a row, or to zero where the label is missing.

    The mean over the labelled rows (or over ``labelled`` of them, of which these are a part); zero if there is none.
    ``class_mean`` (D6) divides by C as the paper prints.
    """
    rows = int((target.sum(dim=1) > 0).sum()) if labelled is None else labelled
    loss = -(target * logits.log_softmax(dim=1)).sum() / max(1, rows)
    return loss / logits.shape[1] if class_mean else loss


class Loss:
    """L = L_scene + lambda_1 L_dist + lambda_2 L_score (Eq. 15)."""

    def __init__(self, options: LossOptions) -> None:
        self.options = options

    def __call__(
        self, output: MPIQEOutput, *, scene: Tensor, distortion: Tensor, target: Tensor, counts: Counts | None = None
    ) -> Losses:
        """Scene targets (B, 9), distortion targets (B, 11), quality targets (B,) in the head's own units.

        ``counts`` are those of the whole batch when these B crops are a part of it: the parts' losses and gradients
        then add up to the whole batch's.
        """
        options = self.options
        crops, scenes, distortions = counts or (len(target), None, None)
        scene_loss = distortion_loss = torch.zeros((), device=target.device)
        if output.scene_logits is not None:
            scene_loss = cross_entropy(output.scene_logits, scene, class_mean=options.class_mean, labelled=scenes)
        if output.distortion_logits is not None:
            distortion_loss = cross_entropy(
                output.distortion_logits, distortion, class_mean=options.class_mean, labelled=distortions
            )
        measure = F.smooth_l1_loss if options.score_loss == "smooth_l1" else F.l1_loss  # D9; Eq. 16 prints L1
        score_loss = measure(output.prediction, target, reduction="sum") / crops
        total = (
            options.scene_weight * scene_loss
            + options.distortion_weight * distortion_loss  # lambda_1
            + options.score_weight * score_loss  # lambda_2
        )
        none = torch.zeros((), device=target.device)  # those that compare images are the whole step's
        return Losses(total, scene_loss, distortion_loss, score_loss, none, none)
