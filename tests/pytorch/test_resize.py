import numpy as np
import pytest
import torch
from PIL import Image
from tests.pytorch.conftest import photo

from mpiqe.images import REDUCING_GAP
from mpiqe.torch.resize import resize

DOWN = [
    ((512, 512), (320, 320)),
    ((640, 427), (391, 261)),
    ((1001, 750), (369, 277)),
    ((1999, 1301), (194, 125)),  # averaged over 3 x 3 pixels first, the last of them cut short
    ((1600, 200), (160, 160)),  # averaged along the rows alone
    ((300, 200), (300, 100)),
    ((301, 1400), (160, 744)),  # columns first, from Pillow 13 on
]


def _levels(width: int, height: int) -> torch.Tensor:
    return photo(width, height)[None].float()


@pytest.mark.parametrize(("old", "new"), DOWN)
def test_bringing_a_photo_down_gives_pillows_pixels(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = _levels(*old)
    image = Image.fromarray(pixels[0].permute(1, 2, 0).byte().numpy())
    expected = np.asarray(image.resize(new, Image.Resampling.LANCZOS, None, REDUCING_GAP))
    made = resize(pixels, new, how="lanczos")[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(made, expected)
    smooth = resize(pixels, new, how="lanczos", quantize=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(smooth - expected).max() < 2  # up to three roundings, of half a level each
    assert np.abs(smooth - expected).mean() < 0.5


@pytest.mark.parametrize(("old", "new"), [((100, 50), (320, 160)), ((33, 200), (160, 970)), ((1, 1), (32, 32))])
def test_enlarging_a_photo_gives_pillows_pixels(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = _levels(*old)
    image = Image.fromarray(pixels[0].permute(1, 2, 0).byte().numpy())
    expected = np.asarray(image.resize(new, Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(pixels, new, how="bicubic")[0].permute(1, 2, 0).numpy(), expected)


def test_the_gradient_of_the_continuous_function_is_that_of_finite_differences() -> None:
    pixels = (photo(40, 30)[None].double() / 2 + 60).requires_grad_()  # away from 0 and 255, where it is clamped
    for new in ((16, 12), (6, 5)):
        assert torch.autograd.gradcheck(
            lambda values, new=new: resize(values, new, how="lanczos", quantize=False), pixels[:, :1], eps=1e-3
        )


def test_the_gradient_passes_the_rounding() -> None:
    gradients = []
    for quantize in (True, False):
        pixels = (photo(200, 150)[None].float() / 2 + 60).requires_grad_()
        weights = torch.randn(1, 3, 30, 40, generator=torch.Generator().manual_seed(0))
        (resize(pixels, (40, 30), how="lanczos", quantize=quantize) * weights).sum().backward()
        gradients.append(pixels.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().max() > 0
