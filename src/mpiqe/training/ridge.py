"""Ridge regression in closed form, its penalty chosen by the leave-one-out error. Axes: n rows, F features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0)
"""Tried on standardised features."""


@dataclass(frozen=True)
class Ridge:
    """``features @ weight + bias`` predicts the targets."""

    weight: Tensor
    """(F,) float64, for features as they are."""
    bias: Tensor
    """() float64."""
    penalty: float
    """The one of ``PENALTIES`` with the least leave-one-out error."""
    fitted: Tensor
    """(n,) float64: predictions for the rows that it was fitted on."""
    left_out: Tensor
    """(n,) float64: what each row would have been predicted, had it been left out."""


def fit_ridge(
    features: Tensor, targets: Tensor, *, weights: Tensor | None = None, penalties: Sequence[float] = PENALTIES
) -> Ridge:
    """Fit (n, F) features, each standardised first, to (n,) targets; constant features get no weight.

    ``weights`` (n,) says how much each row's squared error counts, by default all alike; only their ratios matter. A
    row left out changes the standardisation too; that is not followed (it moves a mean by 1 / n).
    """
    features, targets = features.double(), targets.double()
    counts = torch.ones_like(targets) if weights is None else weights.double() / weights.double().mean()
    share = counts / counts.sum()
    mean = share @ features
    deviation = (share @ (features - mean).square()).sqrt()
    varies = deviation > 1e-9
    scale = torch.where(varies, deviation, 1.0)
    standardised = (features - mean) / scale * varies
    values, vectors = torch.linalg.eigh(standardised.T @ (counts[:, None] * standardised))
    rotated = standardised @ vectors  # (n, F)
    centre = share @ targets
    moments = rotated.T @ (counts * (targets - centre))
    best: tuple[float, Ridge] | None = None
    for penalty in penalties:
        fitted = centre + rotated @ (moments / (values + penalty))
        leverage = counts * (rotated.square() / (values + penalty)).sum(dim=1) + share
        left_out = targets - (targets - fitted) / (1 - leverage).clamp(min=1e-6)
        error = float(share @ (targets - left_out).square())
        if best is None or error < best[0]:
            weight = (vectors @ (moments / (values + penalty))) / scale * varies
            best = error, Ridge(weight, centre - mean @ weight, penalty, fitted, left_out)
    if best is None:
        raise ValueError("no penalties to choose from")
    return best[1]
