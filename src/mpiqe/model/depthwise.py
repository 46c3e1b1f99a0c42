"""Depthwise convolution whose backward pass is quick in bfloat16 on a CPU.

PyTorch's own gradients of depthwise convolutions in bfloat16 take 10 to 60 times as long as the forward pass where the
kernel is 5 x 5 or the stride 2 (``benchmarks/depthwise.py``). The same gradients are composed here of operations that
are quick.

Axes: B crops, C channels, H, W places, k kernel side.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_convolution_backward = torch.ops.aten.convolution_backward


def depthwise_conv(features: Tensor, weight: Tensor, bias: Tensor, *, stride: int) -> Tensor:
    """``F.conv2d`` with one filter (C, 1, k, k) per channel, k 3 or 5, and padding of k // 2."""
    padding = weight.shape[-1] // 2
    if not torch.is_autocast_enabled("cpu") or features.device.type != "cpu" or not torch.is_grad_enabled():
        return F.conv2d(features, weight, bias, stride=stride, padding=padding, groups=len(weight))
    operands = features.bfloat16(), weight.bfloat16(), bias.bfloat16()
    made: Tensor = _Depthwise.apply(*operands, stride)  # type: ignore[no-untyped-call]
    return made


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.stride = stride
        return F.conv2d(features, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_features = _of_features(gradient, weight, ctx.stride, features.shape) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(gradient, features, weight, ctx.stride) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_features, of_weight, of_bias, None


def _of_features(gradient: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The convolution with the filters turned by 180 degrees, of the gradient with zeros between its places."""
    batch, channels, height, width = shape
    if stride == 2:
        spread = gradient.new_zeros(batch, gradient.shape[2], 2, gradient.shape[3], 2, channels)
        spread[:, :, 0, :, 0] = gradient.permute(0, 2, 3, 1)
        gradient = spread.view(batch, 2 * gradient.shape[2], 2 * gradient.shape[3], channels).permute(0, 3, 1, 2)
        gradient = gradient[:, :, :height, :width]
    return F.conv2d(gradient, weight.flip(2, 3), padding=weight.shape[-1] // 2, groups=channels)


def _of_weight(gradient: Tensor, features: Tensor, weight: Tensor, stride: int) -> Tensor:
    """PyTorch's own for 3 x 3; a 5 x 5 filter's is put together from those of four 3 x 3 filters that overlap."""
    if weight.shape[-1] == 3:
        return _of_3x3(gradient, features, weight, stride, padding=1)
    padded = F.pad(features, (2, 2, 2, 2))
    rows, columns = ((size - 1) * stride + 3 for size in gradient.shape[2:])
    found = torch.empty_like(weight)
    for top in (0, 2):
        for left in (0, 2):
            part = padded[:, :, top : top + rows, left : left + columns]
            part = part.contiguous(memory_format=torch.channels_last)
            place = (slice(None), slice(None), slice(top, top + 3), slice(left, left + 3))
            found[place] = _of_3x3(gradient, part, weight[place], stride, padding=0)
    return found


def _of_3x3(gradient: Tensor, features: Tensor, weight: Tensor, stride: int, *, padding: int) -> Tensor:
    found: Tensor = _convolution_backward(
        gradient,
        features,
        weight.contiguous(),
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [False, True, False],
    )[1]
    return found
