"""The score of a batch of tensors, as a module that is differentiable to the pixels.

Axes: N images, H, W their pixels, K crops of an image, S pixels along a crop's side.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from mpiqe import images as imaging
from mpiqe.errors import ConfigError, ImageError
from mpiqe.runtimes.base import Scale
from mpiqe.runtimes.torch import TorchPredictor
from mpiqe.scoring.scorer import Scorer
from mpiqe.torch.resize import resize, to_levels

Images: TypeAlias = "Tensor | Sequence[Tensor]"
"""(N, 3, H, W), or a list of (3, H, W) of any sizes: RGB, uint8 or floating point in [0, 1]."""


class QualityMetric(nn.Module):
    """Scores images with the model, view and crops of a ``Scorer``; the same number as it gives for the same pixels.

    A score does not depend on the rest of the batch. Higher is better. It is differentiable to the pixels wherever
    these require a gradient. The model's own weights do not: they are buffers that no optimiser sees and no
    ``state_dict`` holds, and the module stays in eval mode whatever ``train()`` is told.

    It computes in fp32 under ``torch.autocast`` too, and its buffers keep their types: ``.to``, ``.half()`` and
    ``.double()``, of the module or of one that holds it, change the device alone.

    ``quantize``: floating-point pixels are rounded to 8 bits, as ``Scorer`` rounds them and as a file would, with a
    gradient that passes the rounding; without, the score is a continuous function of the pixels, on example photos up
    to 5 % of the range away. ``random`` crops are drawn anew at every call, from torch's generator.

    ``scorer`` must have been loaded with the runtime ``torch``; raises ``ConfigError`` for another. The metric takes
    its model over: the scorer is not to be used any more. ``create_metric`` does both.
    """

    lower_better = False

    def __init__(self, scorer: Scorer, *, quantize: bool = True) -> None:
        super().__init__()
        predictor = scorer.predictor
        if not isinstance(predictor, TorchPredictor):
            raise ConfigError(
                f"a metric needs a scorer of the runtime torch, this one computes with {predictor.computes}"
            )
        self.model = predictor.model
        self.scale: Scale = predictor.scale
        self.crops, self.crop_mode, self.seed = scorer.crops, scorer.crop_mode, scorer.seed
        self.view, self.max_pixels = scorer.view, scorer.max_pixels
        self.crop_size, self.crops_at_once = predictor.crop_size, predictor.crops_at_once
        self.quantize = quantize
        _parameters_to_buffers(self.model)
        self._folded: Any = None
        self._folded_as: tuple[torch.device, torch.dtype] | None = None
        self.eval()

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest rating that the model was trained on; a score can lie a little outside."""
        return self.scale.low, self.scale.high

    def train(self, mode: bool = True) -> "QualityMetric":
        """Stay in eval mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "QualityMetric":
        """Move as ``.to``, ``.cuda`` and ``.half`` ask, of this module or of one that holds it; keep every type."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, images: Images) -> Tensor:
        """(N, 3, H, W) or a list of (3, H, W), uint8 or floating point in [0, 1] -> scores (N,) fp32; N >= 1.

        Images come to the device of the metric. Raises ``ImageError`` for other shapes and types, for values outside
        [0, 1] or not finite, and for images over ``max_pixels``.
        """
        batches = _batches(images)
        if not batches:
            raise ImageError(None, "a batch without an image has no score")
        with torch.autocast(self._device().type, enabled=False):
            crops = torch.cat([self._cut(batch) for batch in batches])  # (N, 3, S, S) x K, image by image
            folded = self._text_side()
            parts = [self.model(part, folded).score for part in torch.split(crops, self.crops_at_once)]
        return torch.cat(parts).float().view(-1, self.crops).mean(dim=1)

    def extra_repr(self) -> str:
        """What it scores in, and of which part of an image."""
        return f"{self.scale}; {self.crops} {self.crop_mode} crops, {self.view}, quantize={self.quantize}"

    def _cut(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> crops of their view (N K, 3, S, S), 0 to 255, each image's one after the other."""
        pixels = self._levels(images)
        width, height = pixels.shape[-1], pixels.shape[-2]
        size = self.view.size(width, height, crop=self.crop_size)
        if size != (width, height):
            imaging.check_view(size, max_pixels=max(self.max_pixels, width * height))
            pixels = resize(pixels, size, how="lanczos", quantize=self.quantize)
        elif min(size) < self.crop_size:
            size = imaging.enlarged_size(width, height, size=self.crop_size, max_pixels=self.max_pixels)
            pixels = resize(pixels, size, how="bicubic", quantize=self.quantize)
        places = imaging.crop_positions(
            *size, size=self.crop_size, count=self.crops, mode=self.crop_mode, seed=self.seed, generator=_generator()
        )
        side = self.crop_size
        crops = [pixels[:, :, top : top + side, left : left + side] for left, top in places.tolist()]
        return torch.stack(crops, dim=1).flatten(0, 1)

    def _levels(self, images: Tensor) -> Tensor:
        """Check a batch and bring it to fp32 of 0 to 255 on the metric's device."""
        if images.ndim != 4 or images.shape[1] != 3 or not (images.is_floating_point() or images.dtype == torch.uint8):
            raise ImageError(
                None,
                f"images must be (N, 3, H, W) or a list of (3, H, W), uint8 or floating point in [0, 1], this is "
                f"{tuple(images.shape)} {images.dtype}",
            )
        height, width = images.shape[-2:]
        if not images.numel():
            raise ImageError(None, f"{len(images)} images of {width} x {height} pixels: the batch is empty")
        if width * height > self.max_pixels:
            raise ImageError(None, f"{width} x {height} pixels are over the limit of {self.max_pixels} (max_pixels)")
        moved = images.to(self._device())
        if moved.dtype == torch.uint8:
            return moved.float()
        low, high = moved.detach().aminmax()
        if not (low >= 0 and high <= 1):  # as written, NaN is refused too
            raise ImageError(
                None,
                f"floating point images must lie in [0, 1], these are {low:g} to {high:g}; undo the normalisation or "
                "clamp them: metric(images.clamp(0, 1))",
            )
        levels = moved.float() * 255
        return to_levels(levels) if self.quantize else levels

    def _device(self) -> torch.device:
        return self.model.clip.logit_scale.device

    def _text_side(self) -> Any:
        """What does not depend on the image, computed once for each device and type that the module is moved to."""
        scale = self.model.clip.logit_scale
        if self._folded_as != (scale.device, scale.dtype):
            with torch.inference_mode(False), torch.no_grad():  # kept for calls that need a gradient
                self._folded = self.model.fold()
            self._folded_as = (scale.device, scale.dtype)
        return self._folded


def _batches(images: Images) -> list[Tensor]:
    """One batch, or one of a single image for each of a list."""
    if isinstance(images, Tensor):
        return [images]
    listed = list(images) if isinstance(images, Iterable) and not isinstance(images, str) else [images]
    for image in listed:
        if not isinstance(image, Tensor):
            raise ImageError(
                None,
                f"a metric takes a tensor (N, 3, H, W) or a list of tensors (3, H, W), this is {type(image).__name__}; "
                "for paths and other images take mpiqe.load()(path)",
            )
    return [image[None] for image in listed]


def _generator() -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, ())))


def _parameters_to_buffers(model: nn.Module) -> None:
    for module in model.modules():
        for key, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, key)
            module.register_buffer(key, parameter.detach(), persistent=False)
        for key in list(module._buffers):
            module._non_persistent_buffers_set.add(key)
