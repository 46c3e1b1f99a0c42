"""Create the metric or the loss from weights."""

from pathlib import Path
from typing import Literal, overload

import torch

from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.option_types import CropMode
from mpiqe.scoring.loading import load
from mpiqe.torch.loss import QualityLoss, Reduction, check_reduction
from mpiqe.torch.metric import QualityMetric


@overload
def create_metric(
    weights: str | Path | None = None,
    *,
    as_loss: Literal[False] = False,
    device: str | torch.device | None = None,
    loss_reduction: Reduction = "mean",
    crops: int | None = None,
    crop_mode: CropMode | None = None,
    view_side: int | None = None,
    seed: int = 0,
    backbone: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quantize: bool = True,
) -> QualityMetric: ...


@overload
def create_metric(
    weights: str | Path | None = None,
    *,
    as_loss: Literal[True],
    device: str | torch.device | None = None,
    loss_reduction: Reduction = "mean",
    crops: int | None = None,
    crop_mode: CropMode | None = None,
    view_side: int | None = None,
    seed: int = 0,
    backbone: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quantize: bool = True,
) -> QualityLoss: ...


def create_metric(
    weights: str | Path | None = None,
    *,
    as_loss: bool = False,
    device: str | torch.device | None = None,
    loss_reduction: Reduction = "mean",
    crops: int | None = None,
    crop_mode: CropMode | None = None,
    view_side: int | None = None,
    seed: int = 0,
    backbone: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quantize: bool = True,
) -> QualityMetric | QualityLoss:
    """A ``QualityMetric``, images -> scores (N,), or with ``as_loss`` a ``QualityLoss``, lower is better.

    ``weights``: the embedded model if not given, or a run folder, a checkpoint file or a hub id. ``device``: where it
    computes, CUDA or MPS where there is one if not given; ``.to`` moves it. ``loss_reduction`` over the images of a
    loss: ``mean``, ``sum`` or ``none``. ``crops`` (more of them cost more and are harder to cheat), ``crop_mode``,
    ``view_side``, ``seed``, ``backbone`` and ``max_pixels`` are those of ``mpiqe.load``, ``quantize`` that of
    ``QualityMetric``.

    Raises ``WeightsError`` and ``ConfigError`` as ``mpiqe.load`` does, and ``ConfigError`` for another
    ``loss_reduction``, also without ``as_loss``; an exported graph has no gradient.
    """
    check_reduction(loss_reduction)
    scorer = load(
        weights,
        backbone=backbone,
        runtime="torch",
        device="auto" if device is None else str(device),
        precision="fp32",
        crops=crops,
        crop_mode=crop_mode,
        view_side=view_side,
        seed=seed,
        max_pixels=max_pixels,
    )
    metric = QualityMetric(scorer, quantize=quantize)
    return QualityLoss(metric, reduction=loss_reduction) if as_loss else metric
