"""LIQE's losses (Zhang et al., CVPR 2023) and their dynamic weights. Axes: B images, C classes.

All three are fidelity losses (Tsai et al., SIGIR 2007), 1 - sum of sqrt(p g) over the outcomes. The
formulae are the public code's (docs/decisions.md).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mpiqe.model.liqe import Marginals
from mpiqe.model.loss import Losses

_EPSILON = 1e-8  # under each root, whose slope at zero is infinite
TEMPERATURE = 2.0
"""Of the softmax that gives the dynamic weights."""


class Weights(NamedTuple):
    """What each term of the sum is multiplied by."""

    scene: float = 1.0
    distortion: float = 1.0
    score: float = 1.0


def fidelity(probability: Tensor, target: Tensor) -> Tensor:
    """1 - sqrt(p g) - sqrt((1 - p)(1 - g)) of two Bernoulli distributions, element by element."""
    rest = (1 - probability).clamp(min=0)  # a sum of a softmax's outcomes may be above 1 by its rounding
    return 1 - (probability * target + _EPSILON).sqrt() - (rest * (1 - target) + _EPSILON).sqrt()


def scene_loss(probabilities: Tensor, scenes: Tensor) -> Tensor:
    """Mean fidelity loss over labelled images and classes, of (B, C) each; an image may have several scenes.

    ``scenes`` is above zero where an image has the scene. Zero without a labelled image.
    """
    labelled = scenes.sum(dim=1) > 0
    if not labelled.any():
        return probabilities.new_zeros(())
    return fidelity(probabilities[labelled], (scenes[labelled] > 0).to(probabilities.dtype)).mean()


def distortion_loss(probabilities: Tensor, distortions: Tensor) -> Tensor:
    """Fidelity loss of (B, C) with ``distortions`` (B,), -1 for no label: over labelled images, divided by C.

    Zero without a labelled image.
    """
    labelled = distortions >= 0
    if not labelled.any():
        return probabilities.new_zeros(())
    target = torch.nn.functional.one_hot(distortions[labelled], probabilities.shape[1]).to(probabilities.dtype)
    overlap = (probabilities[labelled] * target + _EPSILON).sqrt().sum(dim=1)
    return ((1 - overlap) / probabilities.shape[1]).mean()


def pair_loss(quality: Tensor, mos: Tensor, *, sets: Tensor, images: Tensor) -> Tensor:
    """Fidelity loss of which of two images is the better one; the mean over a set's pairs, then over sets, of (B,).

    The probability is Thurstone's, Phi(q_i - q_j); the target is 1, 0, or 1/2 where both have the same MOS. ``sets``
    says which rated set an image is of, ``images`` which image it is: two crops of one image are no pair. A set with
    no pair does not count; zero where none has one.
    """
    first, second = torch.triu_indices(len(mos), len(mos), offset=1, device=mos.device)
    within = (sets[first] == sets[second]) & (images[first] != images[second])
    first, second = first[within], second[within]
    probability = 0.5 * (1 + torch.erf((quality[first] - quality[second]) / math.sqrt(2)))
    target = 0.5 * (1 + torch.sign(mos[first] - mos[second])).to(probability.dtype)
    losses = fidelity(probability, target)
    means = [losses[sets[first] == each].mean() for each in sorted(set(sets[first].tolist()))]
    return torch.stack(means).mean() if means else 0 * quality.sum()  # with a graph, in a step of no pair


class LIQELoss:
    """The sum of the three losses of a step, which ``weights`` weigh.

    Without ``scenes`` or ``distortions`` that term is left out: the model's texts name none, or no label teaches them.
    """

    def __init__(self, *, scenes: bool = True, distortions: bool = True) -> None:
        self.scenes, self.distortions = scenes, distortions
        self.weights = Weights()

    def __call__(
        self, found: Marginals, *, scenes: Tensor, distortions: Tensor, mos: Tensor, sets: Tensor, images: Tensor
    ) -> Losses:
        """Of B images: ``scenes`` (B, 9), ``distortions``, ``mos``, ``sets`` and ``images`` (B,)."""
        scene = distortion = torch.zeros((), device=mos.device)
        if self.scenes and found.scene is not None:
            scene = scene_loss(found.scene, scenes)
        if self.distortions and found.distortion is not None:
            distortion = distortion_loss(found.distortion, distortions)
        score = pair_loss(found.quality, mos, sets=sets, images=images)
        weights = self.weights
        total = weights.scene * scene + weights.distortion * distortion + weights.score * score
        none = torch.zeros((), device=mos.device)
        return Losses(total, scene, distortion, score, none, none)


def dynamic_weights(epochs: Sequence[Sequence[float]], *, temperature: float = TEMPERATURE) -> Weights:
    """Dynamic weight average (Liu et al., CVPR 2019) from the mean losses of the epochs so far.

    ``epochs`` has a (scene, distortion, score) for each. A term's weight is the softmax, over the terms, of its last
    mean over the one before, divided by ``temperature``, times the number of terms: what falls slowly counts more. All
    are 1 in the first two epochs. A term that is 0 there is none: it takes no part, and its weight is 1.
    """
    if len(epochs) < 2:
        return Weights()
    before, last = epochs[-2], epochs[-1]
    there = [index for index in range(len(last)) if before[index] > 0 and last[index] > 0]
    shares = {index: math.exp(last[index] / before[index] / temperature) for index in there}
    total = sum(shares.values())
    return Weights(*(len(there) * shares[index] / total if index in shares else 1.0 for index in range(len(last))))
