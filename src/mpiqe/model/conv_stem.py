"""A convolutional stem in place of CLIP's patch embedding. Axes: B crops, C channels, S pixels of a side, W width."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class ConvStem(nn.Module):
    """Convolutions in place of the patch embedding: (B, 3, S, S) -> (B, W, S / patch_size, S / patch_size).

    One stage per entry of ``channels``: a convolution that shrinks the map (the first by what is left of
    ``patch_size``, every other by two), then ``blocks`` residual 3 x 3 convolutions. Most of the work is done on small
    maps, where it costs arithmetic rather than memory traffic.

    A folder asks for it by ``"stem_channels": [...]`` and ``"stem_blocks": [...]`` in the ``vision_config`` of its
    ``config.json``; the last number of channels is the vision width.
    """

    def __init__(self, *, channels: list[int], blocks: list[int], patch_size: int) -> None:
        super().__init__()
        self.channels = list(channels)
        first = patch_size // 2 ** (len(channels) - 1)
        stages = []
        for index, (before, after) in enumerate(zip([3, *channels], channels, strict=False)):
            stride = 2 if index else first
            kernel = 3 if index else max(3, 2 * first - 1)
            layers: list[nn.Module] = [
                nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
            ]
            if index < len(channels) - 1:
                layers.append(nn.ReLU(inplace=True))
            stages.append(nn.Sequential(*layers, *(Residual(after) for _ in range(blocks[index]))))
        self.stages = nn.ModuleList(stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, W, grid, grid)."""
        return self.maps(pixels)[-1]

    def fuse(self) -> None:
        """Fold every batch normalisation into the convolution before it; eval mode computes the same function."""
        for stage in self.stages:
            layers: nn.Sequential = stage  # type: ignore[assignment]
            layers[0], layers[1] = _fused(layers[0], layers[1]), nn.Identity()
            for block in layers:
                if isinstance(block, Residual):
                    block.conv, block.norm = _fused(block.conv, block.norm), nn.Identity()

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps of all stages for (B, 3, S, S), the largest first."""
        features, found = pixels.contiguous(memory_format=torch.channels_last), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class Residual(nn.Module):
    """x + ReLU(BatchNorm(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return features + F.relu(self.norm(self.conv(features)))


def _fused(conv: Any, norm: Any) -> Any:
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    fused: Any = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding
    )
    fused.to(weight.device, memory_format=torch.channels_last)
    with torch.no_grad():
        fused.weight.copy_(weight)
        fused.bias.copy_(bias)
    return fused
