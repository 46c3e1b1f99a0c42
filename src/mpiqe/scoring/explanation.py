"""Distortion and attention maps of an image. Does not import torch.

Axes: K crops that slide over the photo, S pixels along a crop's side, w windows and g patches along it; H, W pixels of
the maps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe import images
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.images import Pixels, Positions, Source
from mpiqe.runtimes.base import AttentionMaps, ExplainablePredictor, Scale
from mpiqe.scoring.blending import blend
from mpiqe.scoring.score import Score, likeliest
from mpiqe.scoring.scorer import Scorer

LONGEST = 1024
MOST_CROPS = 1024
_BATCH = 32  # crops in memory at a time, whatever the size of the photo
_LABELS = 5


class Label(NamedTuple):
    """A name and how probable it is among the scenes or among the distortions."""

    kind: Literal["scene", "distortion"]
    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image's score and its maps. The maps and the reduced image have the same size in pixels."""

    score: Score
    """As the scorer gives it."""
    scale: Scale
    """What the score means."""
    labels: tuple[Label, ...]
    """The five most probable, of scenes and distortions together (which sum to 1 each)."""
    distortion: str | None
    """The score's most probable distortion; ``None`` for a model without distortions."""
    distortion_map: NDArray[np.float32] | None
    """(H, W) in [0, 1]: the weights of Eq. 10 for ``distortion``, over the largest of them."""
    attention_map: NDArray[np.float32]
    """(H, W) the decoder's cross-attention in even shares: 2 where it is twice what evenness would give."""
    photo: Pixels
    """(H, W, 3) the upright photo, reduced to the maps' size."""


def explain(
    scorer: Scorer,
    source: Source,
    *,
    score: Score | None = None,
    longest: int = LONGEST,
    most_crops: int = MOST_CROPS,
) -> Explanation:
    """Compute the maps of an image: of its most probable distortion and of the decoder's attention.

    Crops slide over the whole photo in the scorer's view of it, at native resolution or resized, half a crop apart
    and from edge to edge (``images.sliding_positions``; a photo with a side under a crop's is enlarged as for scoring).
    Where that makes more than ``most_crops`` they move apart, to seven eighths of a crop at most. The maps have the
    photo's size, reduced where its longer side is over ``longest``: a window is some thirty pixels wide, so nothing is
    lost but memory.

    The distortion's weights are Eq. 10's with i over the windows of all crops, so that crops can be compared; within
    one crop they would sum to one whatever it shows. The attention is the mean over the decoder's layers, heads and
    queries, crop by crop, the share of CLS left out. Both are blended where crops overlap.

    ``score`` is the photo's own where it is known already; otherwise the scorer is asked.

    Raises ``ImageError`` for a photo that cannot be read, ``ConfigError`` for a predictor without attention
    maps, ``WeightsError`` for attention maps that are not finite.
    """
    predictor = scorer.predictor
    if not isinstance(predictor, ExplainablePredictor):
        raise ConfigError(
            f"{type(predictor).__name__} cannot explain: it has no attention_maps() and no window_temperature"
        )
    if longest < 1 or most_crops < 1:
        raise ConfigError(f"longest and most_crops must be at least 1, not {longest} and {most_crops}")
    source = scorer.content(source)
    score = scorer(source) if score is None else score
    size = scorer.predictor.crop_size
    photo, canvas = images.read_canvas(source, size=size, max_pixels=scorer.max_pixels, view=scorer.view)
    positions = images.sliding_positions(*canvas.size, size=size, most=most_crops)
    similarity, attention = _attention_maps(predictor, canvas, positions, size)

    width, height = _reduced(photo.size, longest)
    shape = height, width
    distortion = likeliest(score.distortion)
    distortion_map = None
    if distortion is not None:
        chosen = similarity[..., scorer.predictor.distortions.index(distortion)]
        weights = window_weights(chosen, predictor.window_temperature)
        distortion_map = blend(weights / weights.max(), positions, size=size, canvas=canvas.size, shape=shape)
        distortion_map /= distortion_map.max()
    return Explanation(
        score=score,
        scale=scorer.scale,
        labels=most_probable(score),
        distortion=distortion,
        distortion_map=distortion_map,
        attention_map=blend(attention, positions, size=size, canvas=canvas.size, shape=shape),
        photo=np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)),
    )


def window_weights(similarity: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Eq. 10's weights a_i = softmax_i(s_i / T) of one class, with i over all windows of all crops: (K, w, w)."""
    exponents = similarity.astype(np.float64) / temperature
    weights = np.exp(exponents - exponents.max())
    normed: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normed


def most_probable(score: Score, count: int = _LABELS) -> tuple[Label, ...]:
    """The ``count`` most probable labels of scenes and distortions together, the most probable first."""
    labels = chain(
        (Label("scene", name, value) for name, value in score.scene.items()),
        (Label("distortion", name, value) for name, value in score.distortion.items()),
    )
    return tuple(sorted(labels, key=lambda label: -label.probability)[:count])


def _attention_maps(
    predictor: ExplainablePredictor, canvas: Image.Image, positions: Positions, size: int
) -> AttentionMaps:
    """Return the maps of all crops, (K, ...); only one batch of crops is in memory at a time."""

    def parts() -> Iterator[AttentionMaps]:
        for start in range(0, len(positions), _BATCH):
            yield predictor.attention_maps(images.cut(canvas, positions[start : start + _BATCH], size=size))

    similarity, attention = (np.concatenate(part) for part in zip(*parts(), strict=True))
    if not (np.isfinite(similarity).all() and np.isfinite(attention).all()):
        raise WeightsError("the attention maps are not finite: the model's weights are damaged")
    return AttentionMaps(similarity, attention)


def _reduced(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height in the same proportion, the longer at most ``longest`` and the shorter at least one pixel."""
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
