"""LIQE's losses: by hand, and against the formulae of its public code written anew in numpy."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from mpiqe.model.liqe import Marginals
from mpiqe.training.liqe_loss import (
    LIQELoss,
    Weights,
    distortion_loss,
    dynamic_weights,
    fidelity,
    pair_loss,
    scene_loss,
)

TINY = 1e-8


def _root(value: float) -> float:
    return math.sqrt(value + TINY)


def _phi(value: float) -> float:
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def _random(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of 9 and 11, qualities, scenes (several each) and distortions of 12 images, all labelled."""
    draw = np.random.default_rng(seed)
    powers = [np.exp(draw.standard_normal((12, classes))) for classes in (9, 11)]
    scene, distortion = (rows / rows.sum(axis=1, keepdims=True) for rows in powers)
    scenes = np.zeros((12, 9))
    for row in scenes:
        row[draw.choice(9, size=draw.integers(1, 4), replace=False)] = 1
    return scene, distortion, 1 + 4 * draw.random(12), scenes, draw.integers(0, 11, 12)


def test_fidelity_by_hand() -> None:
    found = fidelity(torch.tensor([1.0, 0.0, 0.25, 0.5]), torch.tensor([1.0, 1.0, 1.0, 0.5]))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.5, 0.0]), atol=3e-4, rtol=0)


def test_a_sum_of_probabilities_that_is_rounded_above_1_has_a_loss_and_gradients() -> None:
    probability = torch.tensor([1.0000001, 1.0], requires_grad=True)
    loss = fidelity(probability, torch.tensor([0.0, 1.0])).sum()
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(1.0), atol=1e-3, rtol=0)
    assert probability.grad is not None
    assert torch.isfinite(probability.grad).all()


def test_a_pair_by_hand() -> None:
    zeros, names = torch.zeros(2, dtype=torch.int64), torch.arange(2)
    quality = torch.tensor([4.0, 3.0])
    right = pair_loss(quality, torch.tensor([70.0, 20.0]), sets=zeros, images=names)
    assert float(right) == pytest.approx(1 - math.sqrt(0.841345), abs=2e-4)  # Phi(1)
    wrong = pair_loss(quality, torch.tensor([20.0, 70.0]), sets=zeros, images=names)
    assert float(wrong) == pytest.approx(1 - math.sqrt(0.158655), abs=2e-4)
    tied = pair_loss(quality, torch.tensor([20.0, 20.0]), sets=zeros, images=names)
    by_hand = 1 - math.sqrt(0.5 * 0.841345) - math.sqrt(0.5 * 0.158655)
    assert float(tied) == pytest.approx(by_hand, abs=2e-4)


def test_pairs_are_taken_within_a_set_and_sets_count_equally() -> None:
    quality, mos = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0, 80.0, 20.0])
    found = pair_loss(quality, mos, sets=torch.tensor([0, 0, 0, 4, 4]), images=torch.arange(5))
    first = np.mean([1 - _root(_phi(d)) - _root(0) for d in (1, 2, 1)])  # target 0 for the other order, the same loss
    second = 1 - _root(_phi(-1)) - _root(0)
    assert float(found) == pytest.approx((first + second) / 2, abs=1e-5)
    alone = pair_loss(quality, mos, sets=torch.tensor([0, 0, 0, 4, 7]), images=torch.arange(5))
    assert float(alone) == pytest.approx(first, abs=1e-5)


def test_crops_of_one_image_are_no_pair_and_no_pair_is_no_loss() -> None:
    quality = torch.tensor([1.0, 5.0], requires_grad=True)
    same = torch.zeros(2, dtype=torch.int64)
    loss = pair_loss(quality, torch.tensor([3.0, 3.0]), sets=same, images=same)
    assert float(loss.detach()) == 0
    loss.backward()  # a step of one image does not fail


def test_random_numbers_give_what_the_formulae_of_the_public_code_give() -> None:
    scene, distortion, quality, scenes, kinds = _random(seed=5)
    mos = np.random.default_rng(6).integers(1, 6, 12).astype(float)  # with ties
    sizes = (4, 5, 3)
    terms = np.sqrt(scene * scenes + TINY) + np.sqrt((1 - scene) * (1 - scenes) + TINY)
    expected_scene = (1 - terms).mean()
    one_hot = np.eye(11)[kinds]
    expected_distortion = ((1 - np.sqrt(distortion * one_hot + TINY).sum(axis=1)) / 11).mean()
    begin, means = 0, []
    for size in sizes:
        of_set = []
        for i, j in combinations(range(begin, begin + size), 2):
            target, probability = 0.5 * (1 + np.sign(mos[i] - mos[j])), _phi(quality[i] - quality[j])
            of_set.append(1 - _root(probability * target) - _root((1 - probability) * (1 - target)))
        means.append(np.mean(of_set))
        begin += size
    expected_score = np.mean(means)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).float()

    loss = LIQELoss()
    loss.weights = Weights(scene=0.5, distortion=2.0, score=3.0)
    found = loss(
        Marginals(tensor(quality), tensor(scene), tensor(distortion)),
        scenes=tensor(scenes / scenes.sum(axis=1, keepdims=True)),  # as a batch has them
        distortions=torch.from_numpy(kinds),
        mos=tensor(mos),
        sets=torch.repeat_interleave(torch.arange(3), torch.tensor(sizes)),
        images=torch.arange(12),
    )
    assert float(found.scene) == pytest.approx(expected_scene, abs=1e-5)
    assert float(found.distortion) == pytest.approx(expected_distortion, abs=1e-5)
    assert float(found.score) == pytest.approx(expected_score, abs=1e-5)
    total = 0.5 * expected_scene + 2 * expected_distortion + 3 * expected_score
    assert float(found.total) == pytest.approx(total, abs=1e-4)


def test_images_without_a_label_do_not_count() -> None:
    scene, distortion, _, scenes, kinds = (torch.from_numpy(each) for each in _random(seed=1))
    scenes[6:], kinds[6:] = 0, -1
    torch.testing.assert_close(scene_loss(scene, scenes), scene_loss(scene[:6], scenes[:6]))
    torch.testing.assert_close(distortion_loss(distortion, kinds), distortion_loss(distortion[:6], kinds[:6]))
    assert float(scene_loss(scene, torch.zeros_like(scenes))) == 0
    assert float(distortion_loss(distortion, torch.full_like(kinds, -1))) == 0


def test_dynamic_weights_begin_in_the_third_epoch_and_favour_what_falls_slowly() -> None:
    epochs = [[0.4, 0.1, 0.5], [0.2, 0.08, 0.5], [0.2, 0.02, 0.25]]
    assert dynamic_weights([]) == dynamic_weights(epochs[:1]) == Weights(1, 1, 1)
    shares = np.exp(np.array([0.5, 0.8, 1.0]) / 2)
    np.testing.assert_allclose(dynamic_weights(epochs[:2]), 3 * shares / shares.sum())
    shares = np.exp(np.array([1.0, 0.25, 0.5]) / 2)
    np.testing.assert_allclose(dynamic_weights(epochs), 3 * shares / shares.sum())


def test_a_term_that_is_not_there_takes_no_part_in_the_weights() -> None:
    shares = np.exp(np.array([0.5, 1.0]) / 2)
    weights = dynamic_weights([[0.0, 0.4, 0.5], [0.0, 0.2, 0.5]])
    np.testing.assert_allclose(weights, [1, *(2 * shares / shares.sum())])
