"""Which scene, which distortion, and where (Eqs. 8, 10). Axes: B crops, N patches, C classes, D joint width."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.errors import ConfigError


def scene_logits(cls: Tensor, features: Tensor, logit_scale: Tensor) -> Tensor:
    """Eq. 8: CLS (B, D) against scene features (C, D) -> logits (B, C), cosines over CLIP's temperature."""
    return logit_scale * F.normalize(cls, dim=-1) @ F.normalize(features, dim=-1).T


def distortion_logits(
    patches: Tensor, features: Tensor, scale: Tensor | float, *, windows: int, window_temperature: float
) -> tuple[Tensor, Tensor]:
    """Eq. 10: patches (B, N, D) against distortion features (C, D).

    The patch grid is max-pooled to ``windows`` x ``windows``; each class weighs the windows by a softmax over them at
    ``window_temperature`` (D5) and takes the weighted mean of its cosines, multiplied by ``scale`` (D17).

    Returns logits (B, C) and the window weights (B, windows^2, C), which sum to one over the windows.
    """
    similarity = window_similarity(patches, features, windows=windows)
    weights = (similarity / window_temperature).softmax(dim=1)  # across windows, not classes
    return scale * (weights * similarity).sum(dim=1), weights


def window_similarity(patches: Tensor, features: Tensor, *, windows: int) -> Tensor:
    """The cosines s_ic of Eq. 10 for each window and class, (B, windows^2, C), the windows row by row."""
    batch, number, width = patches.shape
    side = round(number**0.5)
    if windows > side:
        raise ConfigError(f"windows={windows} asks for more windows than the {side} x {side} patches of this backbone")
    grid = patches.transpose(1, 2).reshape(batch, width, side, side)
    pooled = _max_pooled(grid, windows).flatten(2).transpose(1, 2)  # (B, windows^2, D)
    # Eq. 10 prints V^s; read as V^d, the distortion features.
    return F.normalize(pooled, dim=-1) @ F.normalize(features, dim=-1).T


def _max_pooled(grid: Tensor, windows: int) -> Tensor:
    """(B, D, side, side) -> (B, D, windows, windows): ``adaptive_max_pool2d``, which cannot be exported."""
    side = grid.shape[-1]
    if side % windows == 0:
        return F.max_pool2d(grid, side // windows)
    bounds = [(i * side // windows, -(-(i + 1) * side // windows)) for i in range(windows)]
    rows = torch.stack([grid[:, :, first:last].amax(dim=2) for first, last in bounds], dim=2)
    return torch.stack([rows[..., first:last].amax(dim=3) for first, last in bounds], dim=3)
