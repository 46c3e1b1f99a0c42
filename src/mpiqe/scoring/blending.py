"""One map of a photo from the small grids of the crops that slide over it. Does not import torch.

Axes: K crops, g cells along a crop's side, H, W pixels of the map. The canvas is what the crops were cut from; the map
may be smaller.
"""

import numpy as np
from numpy.typing import NDArray

from mpiqe.images import Positions

_LEAST = 1e-3  # the weight at a crop's edge, of 1 in its middle: never nothing, since at the photo's edge it is alone


def blend(
    grids: NDArray[np.float32],
    positions: Positions,
    *,
    size: int,
    canvas: tuple[int, int],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Grids (K, g, g) of the crops of ``size`` at ``positions`` on a ``canvas`` (width, height) -> a map (H, W).

    Each grid is interpolated linearly between the middles of its cells and counts by a raised cosine, most in the
    middle of its crop, so that no seam shows where a crop ends. The map has ``shape`` and is sampled at its pixels'
    middles; the crops must cover the canvas.
    """
    height, width = shape
    total, weight = np.zeros(shape), np.zeros(shape)
    columns = {left: _Line(left, size, grids.shape[2], canvas[0], width) for left in set(positions[:, 0].tolist())}
    rows = {top: _Line(top, size, grids.shape[1], canvas[1], height) for top in set(positions[:, 1].tolist())}
    for grid, (left, top) in zip(grids, positions.tolist(), strict=True):
        down, across = rows[top], columns[left]
        importance = np.outer(down.weight, across.weight)
        total[down.pixels, across.pixels] += importance * (down.mix @ grid @ across.mix.T)
        weight[down.pixels, across.pixels] += importance
    blended: NDArray[np.float32] = (total / weight).astype(np.float32)
    return blended


class _Line:
    """Where a crop meets the map in one direction: at which n pixels, with what weight, mixed from which cells."""

    def __init__(self, start: int, size: int, cells: int, canvas: int, pixels: int) -> None:
        middles = (np.arange(pixels) + 0.5) * canvas / pixels
        first, last = np.searchsorted(middles, (start, start + size))
        self.pixels = slice(int(first), int(last))
        place = (middles[self.pixels] - start) / size  # in 0..1
        self.weight = _LEAST + (1 - _LEAST) * np.sin(np.pi * place) ** 2
        lower = np.floor(place * cells - 0.5).astype(np.int64)
        share = place * cells - 0.5 - lower
        each = np.arange(len(place))
        self.mix = np.zeros((len(place), cells))  # (n, g)
        self.mix[each, lower.clip(0)] += 1 - share  # beyond the middle of an outer cell it is that cell alone
        self.mix[each, (lower + 1).clip(max=cells - 1)] += share
