"""The tables of EfficientNet-Lite: what can be known of the network without torch."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

STRIDE = 32  # pixels from one place of the last map to the next
HEAD_CHANNELS = 1280
FIRST_CHANNELS = 32
POOLED = (1, 2, 4)  # stages whose means and deviations join the tokens: strides 4, 8 and 16


class Variant(NamedTuple):
    """One of the published networks."""

    width: float
    """Factor on the channels of every stage."""
    depth: float
    """Factor on the number of blocks of every stage but the first and the last."""
    sha256: str
    """Digest of the file of weights."""


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "efficientnet-lite0": Variant(1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        "efficientnet-lite1": Variant(1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        "efficientnet-lite2": Variant(1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    }
)


class Stage(NamedTuple):
    """A row of the architecture's table: blocks of one width at one resolution."""

    blocks: int
    kernel: int
    stride: int
    """Of the first block; the others have 1."""
    expansion: int
    channels: int


_STAGES = (  # EfficientNet-B0's table (Tan and Le, ICML 2019)
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def stages_of(variant: str) -> tuple[Stage, ...]:
    """The table of one of ``VARIANTS``. Lite keeps the blocks of the first and the last stage at one."""
    width, depth, _ = VARIANTS[variant]
    last = len(_STAGES) - 1
    return tuple(
        stage._replace(
            blocks=stage.blocks if index in (0, last) else math.ceil(depth * stage.blocks),
            channels=_rounded(width * stage.channels),
        )
        for index, stage in enumerate(_STAGES)
    )


def token_features(variant: str) -> int:
    """Channels that a token of ``EfficientNetStem`` is projected from."""
    return joined_channels(variant, POOLED)


def joined_channels(variant: str, stages: Sequence[int]) -> int:
    """Of the head's mean with mean and deviation of ``stages``."""
    table = stages_of(variant)
    return HEAD_CHANNELS + 2 * sum(table[index].channels for index in stages)


def _rounded(channels: float) -> int:
    """To a multiple of 8, and never down by more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
