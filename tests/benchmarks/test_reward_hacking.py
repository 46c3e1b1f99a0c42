"""The ways to improve a photo by the gradient of its score that docs/pytorch.md shows."""

import pytest
import torch

pytest.importorskip("skimage")  # of the extra dev
from benchmarks.reward_hacking import EVERY, WAYS, improve


@pytest.mark.parametrize("way", WAYS)
def test_every_way_takes_steps_with_the_embedded_model(way: str) -> None:
    photo = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    (first, before), (last, after) = improve(photo, WAYS[way], steps=EVERY)
    assert (first, last) == (0, EVERY)
    assert torch.allclose(before, photo, atol=1e-5)
    assert after.shape == photo.shape
    assert not torch.equal(after, before)
