"""Pillow's resizing of 8-bit pixels as a differentiable function.

Pillow filters along the rows, rounds to whole levels, filters along the columns and rounds again, from version 13 on
the other way round where that is less work; a photo that has to become much smaller is first averaged over blocks of
whole pixels. Each of these steps is a product with a fixed matrix, here with the coefficients that Pillow computes with
(``src/libImaging/Resample.c``).

Axes: N images, C channels, H, W pixels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mpiqe.images import REDUCING_GAP

FilterName = Literal["lanczos", "bicubic"]

_PRECISION = 1 << 22  # Pillow holds coefficients as whole multiples of 1 / _PRECISION
_MAY_BEGIN_WITH_COLUMNS = int(PIL.__version__.split(".")[0]) >= 13
_CACHED = 64  # matrices of 1 MB or so: the sizes of a few batches


class _Filter(NamedTuple):
    support: float
    """Pixels from its middle to its end."""
    at: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_FILTERS: dict[FilterName, _Filter] = {"lanczos": _Filter(3.0, _lanczos), "bicubic": _Filter(2.0, _bicubic)}


def resize(pixels: Tensor, size: tuple[int, int], *, how: FilterName, quantize: bool = True) -> Tensor:
    """Resize (N, C, H, W) floating point, 0 to 255, to ``size`` (width and height).

    With ``lanczos`` as ``mpiqe`` brings large photos down (with ``REDUCING_GAP``), with ``bicubic`` as it enlarges
    small ones. With ``quantize`` every step is rounded to whole levels as in Pillow: whole levels give the same
    pixels. That takes fp64; Apple's MPS has none, and there one pixel in 50,000 is off by a level. The gradient passes
    the rounding as if it were not there. Without ``quantize`` the function is continuous, in the type of ``pixels``.
    """
    kept = pixels.dtype
    if quantize and pixels.device.type != "mps":
        pixels = pixels.double()
    finish = _to_levels if quantize else _clamped
    height, width = pixels.shape[-2:]
    covered = (float(width), float(height))
    if how == "lanczos":
        factors = [int(side / new / REDUCING_GAP) or 1 for side, new in zip(covered, size, strict=True)]
        if max(factors) > 1:
            pixels = _reduce(pixels, factors[0], factors[1], quantize=quantize)
            covered = _single(width / factors[0]), _single(height / factors[1])  # the last block may be cut short
    steps = [(-1, size[0], covered[0]), (-2, size[1], covered[1])]
    saved_down, saved_across = pixels.shape[-2] - size[1], pixels.shape[-1] - size[0]
    if _MAY_BEGIN_WITH_COLUMNS and saved_down > max(0, 2 * saved_across):
        steps.reverse()
    for axis, new, side in steps:
        if (pixels.shape[axis], float(pixels.shape[axis])) != (new, side):
            matrix = _matrix(pixels.shape[axis], new, side, how).to(pixels)
            pixels = finish(pixels @ matrix.T if axis == -1 else matrix @ pixels)
    return pixels.to(kept)


def to_levels(pixels: Tensor) -> Tensor:
    """Round to whole levels, half to even as ``numpy.rint``; the gradient passes as if nothing was done."""
    return pixels.round().detach() + (pixels - pixels.detach())


def _to_levels(pixels: Tensor) -> Tensor:
    """Round half up and clamp, as Pillow does; the gradient is that of clamping alone."""
    clamped = pixels.clamp(0, 255)
    return (clamped + 0.5).floor().detach() + (clamped - clamped.detach())


def _clamped(pixels: Tensor) -> Tensor:
    return pixels.clamp(0, 255)


def _single(value: float) -> float:
    """Round to fp32, in which Pillow passes on the region to resize."""
    return float(np.float32(value))


def _reduce(pixels: Tensor, across: int, down: int, *, quantize: bool) -> Tensor:
    """Means of blocks of ``across`` x ``down`` pixels, fewer in the last column and row if no more are left."""
    sums = F.avg_pool2d(pixels, (down, across), ceil_mode=True, divisor_override=1)
    rows, columns = (
        np.minimum(step, side - step * np.arange(-(-side // step)))
        for step, side in zip((down, across), pixels.shape[-2:], strict=True)
    )
    counts = np.outer(rows, columns)
    means = sums / torch.from_numpy(counts).to(pixels)
    if not quantize:
        return means
    # Pillow divides by a product with a whole number of 24 bits, which is often one level low at exact halves
    inverses = np.floor(np.float32(1 << 24) / counts.astype(np.float32)).astype(np.float64)
    halves, inverses = (torch.from_numpy(each).to(pixels) for each in (counts // 2, inverses))
    levels = ((sums + halves) * inverses / (1 << 24)).floor()
    return levels.detach() + (means - means.detach())


@lru_cache(maxsize=_CACHED)
def _matrix(old: int, new: int, covered: float, how: FilterName) -> Tensor:
    """The matrix (new, old) fp64 that ``covered`` of ``old`` pixels are filtered with to become ``new``."""
    kernel = _FILTERS[how]
    scale = covered / new
    stretch = max(1.0, scale)  # of the filter, against aliasing
    support = kernel.support * stretch
    matrix: NDArray[np.float64] = np.zeros((new, old))
    for row in range(new):
        middle = (row + 0.5) * scale
        first, last = max(0, int(middle - support + 0.5)), min(old, int(middle + support + 0.5))
        weights = kernel.at((np.arange(first, last, dtype=np.float64) - middle + 0.5) / stretch)
        matrix[row, first:last] = weights / weights.sum()
    return torch.from_numpy(_fixed_point(matrix))


def _fixed_point(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round half away from zero, as Pillow does."""
    scaled = matrix * _PRECISION
    whole: NDArray[np.float64] = np.where(scaled < 0, np.ceil(scaled - 0.5), np.floor(scaled + 0.5))
    return whole / _PRECISION
