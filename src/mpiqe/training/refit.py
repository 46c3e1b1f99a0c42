"""Fit a trained model's ``stem_head`` to another set before the rest goes on (``--from``). Axes: n images, F features.

A ridge regression predicts the new MOS from the stem's pooled features and, as one more feature, from the prediction of
the model as it was. That one is penalised less by a factor that the leave-one-out error chooses, like the penalty. Few
photos then leave the model nearly as it was, many make a head of their own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpiqe.model.mpiqe import MPIQE, linear_layers, make_stem_head
from mpiqe.training.ridge import PENALTIES

TRUST = (0.0, 1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""How many times less the model's prediction is penalised than a feature; 0 leaves it out."""


@dataclass(frozen=True)
class Refit:
    """``offset + slope * prediction + features @ weight`` predicts the targets."""

    slope: float
    weight: Tensor
    """(F,) float64, for features as they are."""
    offset: float
    penalty: float
    trust: float
    fitted: Tensor
    """(n,) float64."""
    left_out: Tensor
    """(n,) float64: what each image would have been predicted, had it been left out."""


def fit(features: Tensor, predictions: Tensor, targets: Tensor) -> Refit:
    """Choose ``penalty`` and ``trust`` by the leave-one-out error; (n, F), (n,) and (n,).

    The slope is never below zero: a number that falls while the MOS rise, or that is a constant, is left out.
    """
    features, predictions, targets = features.double(), predictions.double(), targets.double()
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    varies = deviation > 1e-9
    scale = torch.where(varies, deviation, 1.0)
    standardised = (features - mean) / scale * varies
    middle, spread = predictions.mean(), predictions.std(correction=0)
    own = (predictions - middle) / spread.clamp(min=1e-9)
    centred = targets - targets.mean()
    products, best = standardised @ standardised.T, None
    for trust in TRUST:
        values, vectors = torch.linalg.eigh(products + trust * torch.outer(own, own))
        values, rotated = values.clamp(min=0), vectors.T @ centred
        for penalty in PENALTIES:
            share = values / (values + penalty)
            fitted = vectors @ (share * rotated)
            leverage = vectors.square() @ share + 1 / len(targets)
            left_out = centred - (centred - fitted) / (1 - leverage).clamp(min=1e-6)
            error = float((centred - left_out).square().mean())
            dual = vectors @ (rotated / (values + penalty))
            slope = float(trust * (own @ dual) / spread.clamp(min=1e-9))
            if slope >= 0 and (best is None or error < best[0]):
                weight = (standardised.T @ dual) / scale * varies
                offset = float(targets.mean() - slope * middle - mean @ weight)
                whole = (fitted + targets.mean(), left_out + targets.mean())
                best = error, Refit(slope, weight, offset, penalty, trust, *whole)
    if best is None:
        raise ValueError("no penalties to choose from")
    return best[1]


def widened(head: nn.Module) -> nn.Module:
    """``head`` with room for a linear map: itself, or two more units in each hidden layer, of no effect yet."""
    if isinstance(head, nn.Linear):
        return head
    before = linear_layers(head)
    wider = make_stem_head(
        before[0].in_features, before[0].out_features + 2, outputs=before[-1].out_features, layers=len(before) - 1
    )
    with torch.no_grad():
        for new, old in zip(linear_layers(wider), before, strict=True):
            new.weight.zero_()
            new.bias.zero_()
            new.weight[: old.weight.shape[0], : old.weight.shape[1]] = old.weight
            new.bias[: old.bias.shape[0]] = old.bias
    return wider.requires_grad_(False).to(before[0].weight.device)


@torch.no_grad()
def put_into(model: MPIQE, refit: Refit) -> None:
    """Write ``refit`` into the ``stem_head`` of ``model``, which has to be ``widened``."""
    head: Any = model.stem_head
    first, *rest = linear_layers(head)
    last = rest[-1] if rest else first
    decoders: Any = model.decoder.head[-1]
    for layer in (decoders, model.linear, last):
        if layer is not None:
            layer.weight.mul_(refit.slope)
            layer.bias.mul_(refit.slope)
    last.bias.add_(refit.offset)
    weight = refit.weight.to(last.weight)
    if not rest:
        last.weight.add_(weight[None])
        return
    first.weight[-2], first.weight[-1] = weight, -weight
    for layer in rest[:-1]:  # gelu(x) - gelu(-x) = x
        layer.weight[-2, -2:] = torch.tensor([1.0, -1.0])
        layer.weight[-1, -2:] = torch.tensor([-1.0, 1.0])
    last.weight[0, -2], last.weight[0, -1] = 1.0, -1.0
