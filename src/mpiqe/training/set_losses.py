"""Losses that compare the images of a step with each other, within each rated set alone. Axes: B images.

Neither knows a set's scale, so sets that were rated in different ways can be learned together: pairs by the fidelity
loss of Zhang et al. (UNIQUE, TIP 2021; LIQE, CVPR 2023), and 1 - PLCC, as in the training on mixed datasets of Li,
Jiang and Jiang (IJCV 2021).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mpiqe.model.options import LossOptions
from mpiqe.training.liqe_loss import pair_loss

_LEAST_SQUARE = 1e-12  # of a deviation, below which numbers are all the same


def sets_of(images: Tensor, ends: Sequence[int]) -> Tensor:
    """Which rated set each of ``images`` (B,) is of, counted from 0; ``ends``: the first image after each set."""
    return torch.bucketize(images, torch.tensor(ends, device=images.device), right=True)


def plcc_loss(quality: Tensor, mos: Tensor, *, sets: Tensor) -> Tensor:
    """1 - PLCC of (B,) with (B,), the mean over sets. One whose numbers are all the same in either does not count.

    Zero where none counts.
    """
    losses = []
    for each in sorted(set(sets.tolist())):
        own = sets == each
        first, second = (values[own] - values[own].mean() for values in (quality, mos))
        squares = first.square().sum(), second.square().sum()
        if min(square.item() for square in squares) > _LEAST_SQUARE:
            losses.append(1 - (first * second).sum() / (squares[0] * squares[1]).sqrt())
    return torch.stack(losses).mean() if losses else 0 * quality.sum()  # with a graph, in a step of no such set


class Comparison(NamedTuple):
    """Losses of a whole step, detached."""

    ranking: Tensor
    plcc: Tensor
    gradients: tuple[Tensor, ...]
    """Of the weighted sum with respect to the predictions of each part, (B,) each."""


class SetLosses:
    """The weighted sum of both losses over a step, and what it asks of each prediction.

    ``ends``: the index of the first image after each rated set. ``unit``: how many units of the model's own number are
    a deviation of the first set's MOS; in these the fidelity loss counts differences.
    """

    def __init__(self, options: LossOptions, *, ends: Sequence[int], unit: float = 1.0) -> None:
        self.ends, self.unit = tuple(ends), unit
        self.ranking_weight, self.plcc_weight = options.ranking_weight, options.plcc_weight

    def __call__(self, predictions: Sequence[Tensor], mos: Sequence[Tensor], images: Sequence[Tensor]) -> Comparison:
        """Compare the images of all parts: the model's own number, MOS and index of each, (B,) a part."""
        said = torch.cat([part.detach().float() for part in predictions]).requires_grad_()
        rated, indices = torch.cat(list(mos)), torch.cat(list(images))
        sets = sets_of(indices, self.ends)
        ranking = pair_loss(said / self.unit, rated, sets=sets, images=indices)
        plcc = plcc_loss(said, rated, sets=sets)
        (gradient,) = torch.autograd.grad(self.ranking_weight * ranking + self.plcc_weight * plcc, said)
        parts = torch.split(gradient, [len(part) for part in predictions])
        return Comparison(ranking.detach(), plcc.detach(), tuple(parts))

    def total(self, compared: Comparison) -> Tensor:
        """The weighted sum."""
        return self.ranking_weight * compared.ranking + self.plcc_weight * compared.plcc
