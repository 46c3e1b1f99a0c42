import math

import pytest
import torch

from mpiqe.model.loss import Counts, Loss, cross_entropy
from mpiqe.model.mpiqe import MPIQEOutput
from mpiqe.model.options import LossOptions

LOGITS = torch.tensor([[math.log(1.0), math.log(3.0)], [math.log(4.0), math.log(1.0)], [0.0, 9.0]])
TARGET = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]])  # two scenes, one scene, none
FIRST = -(0.5 * math.log(1 / 4) + 0.5 * math.log(3 / 4))
SECOND = -math.log(4 / 5)


def _output(prediction: torch.Tensor) -> MPIQEOutput:
    return MPIQEOutput(prediction, prediction, LOGITS, LOGITS, None)


def test_eq_9_by_hand_and_images_without_a_label_count_for_nothing() -> None:
    assert cross_entropy(LOGITS, TARGET).item() == pytest.approx((FIRST + SECOND) / 2)


def test_the_class_mean_divides_by_the_number_of_classes() -> None:
    assert cross_entropy(LOGITS, TARGET, class_mean=True).item() == pytest.approx((FIRST + SECOND) / 4)


def test_without_any_label_the_loss_is_zero_and_has_a_gradient_of_zero() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.zeros(3, 2))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_eq_15_weighs_the_three_losses() -> None:
    prediction, target = torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.5, 0.0, 0.0])
    losses = Loss(LossOptions(scene_weight=2.0, distortion_weight=3.0, score_weight=0.1))(
        _output(prediction), scene=TARGET, distortion=TARGET.flip(0), target=target
    )
    score = (0.5 * 0.5**2 + (2 - 0.5) + 0) / 3  # smooth L1 with its knee at one
    distortion = (SECOND + -(0.5 * math.log(1 / (1 + math.e**9)) + 0.5 * math.log(math.e**9 / (1 + math.e**9)))) / 2
    assert losses.score.item() == pytest.approx(score)
    assert losses.total.item() == pytest.approx(2 * (FIRST + SECOND) / 2 + 3 * distortion + 0.1 * score, rel=1e-5)


def test_eq_16_as_printed_is_plain_l1() -> None:
    prediction, target = torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.5, 0.0, 0.0])
    losses = Loss(LossOptions(score_loss="l1"))(_output(prediction), scene=TARGET, distortion=TARGET, target=target)
    assert losses.score.item() == pytest.approx((0.5 + 2) / 3)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    loss, target = Loss(LossOptions()), torch.tensor([0.5, 0.0, 1.0])
    prediction = torch.tensor([0.1, 2.0, 0.0])
    whole = loss(_output(prediction), scene=TARGET, distortion=TARGET, target=target)
    counts = Counts(crops=3, scene=2, distortion=2)
    parts = []
    for rows in (slice(0, 1), slice(1, 3)):
        output = MPIQEOutput(prediction[rows], prediction[rows], LOGITS[rows], LOGITS[rows], None)
        parts.append(loss(output, scene=TARGET[rows], distortion=TARGET[rows], target=target[rows], counts=counts))
    for kind in ("total", "scene", "distortion", "score"):
        assert sum(getattr(part, kind).item() for part in parts) == pytest.approx(getattr(whole, kind).item())
