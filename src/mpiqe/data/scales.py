"""Whether two datasets' MOS are on the same scale, so that their difference is meaningful."""

from typing import NamedTuple

from mpiqe.data.registry import DATASETS

_LEAST_OVERLAP = 0.5


class Scale(NamedTuple):
    """The lowest and highest MOS."""

    low: float
    high: float
    declared: bool
    """Whether the registry says so; else it is what the images at hand have."""


def scale_of(name: str, low: float, high: float) -> Scale:
    """The scale of the dataset ``name``, whose MOS lie between ``low`` and ``high``."""
    if name in DATASETS:
        lowest, highest = DATASETS[name].scale
        if lowest <= low and high <= highest:  # else another of its variants
            return Scale(lowest, highest, True)
    return Scale(low, high, False)


def on_one_scale(first: Scale, second: Scale) -> bool:
    """Whether two scales are the same, or, where one is not declared, share half of the range that both span."""
    if first.declared and second.declared:
        return first[:2] == second[:2]
    shared = min(first.high, second.high) - max(first.low, second.low)
    spanned = max(first.high, second.high) - min(first.low, second.low)
    return spanned == 0 or shared / spanned >= _LEAST_OVERLAP
