import math

import pytest
import torch
import torch.nn.functional as F

from mpiqe.errors import ConfigError
from mpiqe.model.alignment import distortion_logits, scene_logits, window_similarity


def test_eq_8_by_hand() -> None:
    cls = torch.tensor([[3.0, 4.0]])  # cosines 0.6 and 0.8 with the axes, whatever the lengths
    features = torch.tensor([[10.0, 0.0], [0.0, 0.5]])
    logits = scene_logits(cls, features, torch.tensor(10.0))
    torch.testing.assert_close(logits, torch.tensor([[6.0, 8.0]]))
    p = logits.softmax(dim=1)[0, 0].item()
    assert p == pytest.approx(1 / (1 + math.e**2), abs=1e-6)


def test_eq_10_by_hand() -> None:
    # 2 x 2 patches, no pooling to be done; cosines with class 0: 1, 0.6, 0, 0.8, with class 1: 0, 0.8, 1, 0.6
    patches = torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0], [4.0, 3.0]]])
    features = torch.tensor([[1.0, 0.0], [0.0, 7.0]])
    logits, weights = distortion_logits(patches, features, torch.tensor(100.0), windows=2, window_temperature=0.5)
    e = [math.exp(s / 0.5) for s in (1.0, 0.6, 0.0, 0.8)]
    by_hand = [value / sum(e) for value in e]
    assert weights[0, :, 0].tolist() == pytest.approx(by_hand, abs=1e-6)
    expected = 100 * sum(a * s for a, s in zip(by_hand, (1.0, 0.6, 0.0, 0.8), strict=True))
    assert logits[0, 0].item() == pytest.approx(expected, abs=1e-4)
    assert weights.sum(dim=1).flatten().tolist() == pytest.approx([1.0, 1.0])  # over windows, for each class


def test_eq_10_without_a_scale_is_a_softmax_over_the_weighted_cosines_themselves() -> None:
    patches = torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0], [4.0, 3.0]]])
    features = torch.tensor([[1.0, 0.0], [0.0, -7.0]])
    logits, _ = distortion_logits(patches, features, 1.0, windows=2, window_temperature=0.5)
    weighted = []
    for cosines in ((1.0, 0.6, 0.0, 0.8), (0.0, -0.8, -1.0, -0.6)):
        e = [math.exp(s / 0.5) for s in cosines]
        weighted.append(sum(a * s for a, s in zip(e, cosines, strict=True)) / sum(e))
    assert weighted == pytest.approx([0.8008, -0.2915], abs=5e-5)
    assert logits[0].tolist() == pytest.approx(weighted, abs=1e-6)
    # 0.7488, where CLIP's scale of 100 would make it 1
    assert logits.softmax(dim=1)[0, 0].item() == pytest.approx(1 / (1 + math.exp(weighted[1] - weighted[0])), abs=1e-6)


def test_windows_hold_the_largest_value_of_each_channel_in_their_own_corner() -> None:
    grid = torch.zeros(1, 4, 4, 2)  # (B, rows, columns, D)
    grid[0, 0, 1] = torch.tensor([1.0, 0.0])
    grid[0, 1, 0] = torch.tensor([0.0, 1.0])  # the same upper left window: together (1, 1)
    grid[0, :, 2:] = torch.tensor([0.0, 1.0])
    grid[0, 2:, :2] = torch.tensor([0.0, 1.0])
    _, weights = distortion_logits(
        grid.view(1, 16, 2), torch.tensor([[1.0, 0.0]]), torch.tensor(1.0), windows=2, window_temperature=1.0
    )
    e = math.exp(math.sqrt(0.5))  # cosine of (1, 1) with the axis; the other windows have zero
    assert weights[0, :, 0].tolist() == pytest.approx([e / (e + 3), 1 / (e + 3), 1 / (e + 3), 1 / (e + 3)], abs=1e-6)


def test_more_windows_than_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="windows=7 asks for more windows than the 2 x 2 patches"):
        distortion_logits(torch.rand(1, 4, 3), torch.rand(2, 3), torch.tensor(1.0), windows=7, window_temperature=1.0)


def test_window_similarity_is_the_cosines_that_eq_10_weighs() -> None:
    patches = torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0], [4.0, 3.0]]])
    features = torch.tensor([[1.0, 0.0], [0.0, 7.0]])
    similarity = window_similarity(patches, features, windows=2)
    torch.testing.assert_close(similarity, torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]]]))
    logits, weights = distortion_logits(patches, features, torch.tensor(100.0), windows=2, window_temperature=0.5)
    torch.testing.assert_close((similarity / 0.5).softmax(dim=1), weights)
    torch.testing.assert_close(100 * (weights * similarity).sum(dim=1), logits)


@pytest.mark.parametrize(("side", "windows"), [(14, 7), (4, 3), (7, 7), (16, 7), (5, 1)])
def test_windows_are_the_maxima_that_adaptive_pooling_takes(side: int, windows: int) -> None:
    patches, features = torch.randn(2, side * side, 6), torch.randn(5, 6)
    grid = patches.transpose(1, 2).reshape(2, 6, side, side)
    pooled = F.adaptive_max_pool2d(grid, windows).flatten(2).transpose(1, 2)
    expected = F.normalize(pooled, dim=-1) @ F.normalize(features, dim=-1).T
    torch.testing.assert_close(window_similarity(patches, features, windows=windows), expected)
