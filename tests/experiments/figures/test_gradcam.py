from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage import data as photos_of_scikit_image

from mpiqe.errors import ImageError, WeightsError
from mpiqe.experiments.figures.gradcam import grad_cam, photo_map
from mpiqe.model.mpiqe import MPIQE, ImageFeatures


class Linear(torch.nn.Module):
    """score = sum of patches times ``head``, both (N, D): its gradient is ``head``, whatever the crop."""

    def __init__(self, head: torch.Tensor, patches: torch.Tensor) -> None:
        super().__init__()
        self.head = torch.nn.Parameter(head)
        self.patches = patches
        self.image_size = 32
        self.clip = SimpleNamespace(grid=round(len(head) ** 0.5))

    def fold(self):
        return ()

    def encode_image(self, pixels):
        patches = self.patches.expand(len(pixels), -1, -1)
        return ImageFeatures(patches.mean(dim=1), patches)

    def decode(self, folded, image):
        return SimpleNamespace(score=(image.patches * self.head).sum(dim=(1, 2)))


class Brightness(Linear):
    """Patches of 8 x 8 pixels; a crop's score is the sum of their brightness, or of their darkness below zero."""

    def __init__(self, sign: float) -> None:
        super().__init__(torch.full((16, 1), sign), torch.zeros(16, 1))

    def encode_image(self, pixels):
        patches = torch.nn.functional.avg_pool2d(pixels.float().mean(dim=1, keepdim=True), 8).flatten(2).mT
        patches = 255 - patches if self.head[0] < 0 else patches
        return ImageFeatures(patches.mean(dim=1), patches)


def test_the_map_is_the_equations() -> None:
    head = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, -6.0]])  # its mean over the patches is (1, -1)
    patches = torch.tensor([[2.0, 1.0], [1.0, 3.0], [0.0, -1.0], [-2.0, 1.0]])
    # y = -score, so w = (-1, 1) and w . A = -1, 2, -1, 3
    found = grad_cam(Linear(head, patches), torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert found.tolist() == [[[0.0, 2.0], [0.0, 3.0]]]


def test_what_raises_the_score_and_what_lowers_it_lie_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    head, patches = (torch.randn(9, 5, generator=generator) for _ in range(2))
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    low, high = (grad_cam(Linear(sign * head, patches), pixels) for sign in (1, -1))
    assert low.max() > 0
    assert high.max() > 0
    assert (low * high).abs().max() == 0


def test_a_model_whose_score_hangs_on_one_patch_has_its_map_there() -> None:
    head, patches = torch.zeros(16, 16), torch.eye(16)
    head[6, 6] = -1.0
    found = grad_cam(Linear(head, patches), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    expected = torch.zeros(2, 4, 4)
    expected[:, 1, 2] = 1 / 16  # the gradient is averaged over the patches
    assert torch.equal(found, expected)


def test_the_projection_changes_nothing(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    """The same from the tokens after the final layernorm, through CLIP's own projection to the decoder."""
    cls, patches = tiny_model.clip.encode_image(tiny_model.clip.preprocess(pixels), tiny_model.visual_prompts())
    patches = patches.detach().requires_grad_()
    project = tiny_model.clip.project
    score = tiny_model.decode(tiny_model.fold(), ImageFeatures(project(cls.detach()), project(patches))).score
    (gradient,) = torch.autograd.grad(-score.sum(), patches)
    expected = (gradient.mean(dim=1, keepdim=True) * patches).sum(dim=2).relu().view(3, 4, 4)
    found = grad_cam(tiny_model, pixels)
    assert found.max() > 0
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-7)


def test_no_gradient_is_left_behind_in_any_mode(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    plain = grad_cam(tiny_model, pixels)
    assert not plain.requires_grad
    assert {parameter.grad for parameter in tiny_model.parameters()} == {None}
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())
    with torch.no_grad():
        assert torch.equal(grad_cam(tiny_model, pixels), plain)
        assert torch.equal(grad_cam(tiny_model, pixels, tiny_model.fold()), plain)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(grad_cam(tiny_model, pixels.clone()), plain)
    tiny_model.requires_grad_(False)
    assert torch.equal(grad_cam(tiny_model, pixels), plain)


def test_a_crop_has_the_same_map_alone_and_in_a_batch(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    together = grad_cam(tiny_model, pixels)
    for index in range(len(pixels)):
        torch.testing.assert_close(grad_cam(tiny_model, pixels[index : index + 1])[0], together[index])


def test_damaged_weights_are_said_to_be_damaged() -> None:
    model = Linear(torch.full((4, 2), torch.nan), torch.ones(4, 2))
    with pytest.raises(WeightsError, match="damaged"):
        grad_cam(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_dark_corner_of_a_photo_is_where_a_model_that_dislikes_darkness_looks(mode: type) -> None:
    photo = np.maximum(photos_of_scikit_image.coffee()[:150, :210], 90)
    photo[96:144, 144:200] = 0
    model = Brightness(-1.0)
    with mode():
        shown, values = photo_map(model, photo)
    assert np.array_equal(shown, photo)
    assert values.shape == (150, 210)
    assert values.dtype == np.float32
    assert values.max() == 1
    down, across = np.unravel_index(values.argmax(), values.shape)
    assert 96 <= down < 144
    assert 144 <= across < 200
    assert values[108:132, 156:188].min() > 0.9  # whole patches are black there
    assert values[:80].max() < 0.7


def test_a_photo_in_which_nothing_speaks_for_low_quality_has_an_empty_map() -> None:
    assert photo_map(Brightness(1.0), photos_of_scikit_image.coffee()[:80, :100]).values.max() == 0


@pytest.mark.parametrize(("size", "shown"), [((300, 120), (50, 20)), ((120, 300), (20, 50)), ((20, 40), (20, 40))])
def test_the_map_has_the_size_of_the_photo_or_the_limits(size: tuple[int, int], shown: tuple[int, int]) -> None:
    found = photo_map(Brightness(-1.0), np.full((*size, 3), 50, np.uint8), longest=50)
    assert found.photo.shape == (*shown, 3)
    assert found.values.shape == shown


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png"):
        photo_map(Brightness(-1.0), tmp_path / "gone.png")
