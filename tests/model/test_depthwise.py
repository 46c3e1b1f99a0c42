import pytest
import torch
import torch.nn.functional as F

from mpiqe.model.depthwise import depthwise_conv


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [13, 14])
def test_gradients_in_bf16_are_pytorchs_own_in_fp32_to_rounding(kernel: int, stride: int, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 8, side, side), (8, 1, kernel, kernel), (8,)
    operands = tuple(torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    features, weight, bias = operands
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = depthwise_conv(features, weight, bias, stride=stride)
    expected = F.conv2d(features, weight, bias, stride=stride, padding=kernel // 2, groups=8)
    assert made.shape == expected.shape
    gradient = torch.randn(expected.shape, generator=generator)
    found = torch.autograd.grad(made, operands, gradient.bfloat16())
    wanted = torch.autograd.grad(expected, operands, gradient)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() < 0.01 * theirs.abs().max()  # bf16 keeps 8 bits: 0.4 %


def test_without_autocast_it_is_the_plain_convolution() -> None:
    features, weight, bias = torch.randn(2, 4, 9, 9), torch.randn(4, 1, 3, 3), torch.randn(4)
    assert torch.equal(
        depthwise_conv(features, weight, bias, stride=2),
        F.conv2d(features, weight, bias, stride=2, padding=1, groups=4),
    )
