"""Quality as a reward for a generator, called as Flow-GRPO and TRL's DDPO call one. Axes: N images, H, W pixels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mpiqe.decoding import Source, is_tensor
from mpiqe.errors import ImageError
from mpiqe.scoring.loading import load

Rewards: TypeAlias = NDArray[np.float32]
Reward: TypeAlias = Callable[..., tuple[Rewards, dict[str, Any]]]


def reward(weights: str | Path | None = None, *, normalize: bool = False, **options: Any) -> Reward:
    """Make ``fn(images, prompts=None, metadata=None) -> (scores, {})``: higher is better.

    ``images``: N images as a tensor (N, 3, H, W), uint8 or floating point in [0, 1], an array (N, H, W, 3) uint8, or a
    list of anything that ``Scorer`` takes: PIL images, tensors (3, H, W), arrays, paths. ``scores`` are (N,) fp32, in
    the units of ``mpiqe.load(weights).scale``, or with ``normalize`` 0 for its lowest and 1 for its highest rating. A
    score depends on its own image alone: not on the prompt, and not on the batch.

    ``options`` are those of ``mpiqe.load``: ``runtime="torch"`` with ``device="cuda:0"`` scores beside the generator;
    without, the quickest runtime on the CPU. Raises as ``mpiqe.load`` does; ``fn`` raises ``ImageError`` for images
    outside [0, 1] or not finite. There is no gradient: ``mpiqe.torch.create_metric`` has one.
    """
    scorer = load(weights, **options)
    scale = scorer.scale

    def score(images: Any, prompts: Any = None, metadata: Any = None) -> tuple[Rewards, dict[str, Any]]:
        scores = np.array([each.score for each in scorer(_each(images))], dtype=np.float32)
        if normalize:
            scores = (scores - np.float32(scale.low)) / np.float32(scale.high - scale.low)
        return scores, {}

    return score


def _each(images: Any) -> Sequence[Source]:
    if (is_tensor(images) or isinstance(images, np.ndarray)) and images.ndim != 4:
        raise ImageError(None, f"a batch must be (N, 3, H, W) or an array (N, H, W, 3), this is {tuple(images.shape)}")
    return list(images)
