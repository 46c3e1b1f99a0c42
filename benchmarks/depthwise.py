"""Training speed of EfficientNet-Lite on a CPU: PyTorch's depthwise gradients against mpiqe.model.depthwise.

    python benchmarks/depthwise.py [--variant efficientnet-lite0] [--crops 32] [--side 224] [--repeats 5]

Forward and backward in bf16, the two in turn; crops a second as median, minimum and maximum over the repeats.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.model import efficientnet
from mpiqe.model.efficientnet import VARIANTS, EfficientNetLite


def plain(features: Tensor, weight: Tensor, bias: Tensor, *, stride: int) -> Tensor:
    """The convolution with PyTorch's own gradients."""
    return F.conv2d(features, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=len(weight))


def seconds(work: Callable[[], None]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(variant: str, crops: int, side: int, repeats: int) -> None:
    """Time both in turn and print them."""
    network = EfficientNetLite(variant)
    network.to(memory_format=torch.channels_last)
    pixels = torch.randn(crops, 3, side, side).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = network.maps(pixels)[-1].float().square().mean()
        loss.backward()
        network.zero_grad()

    def plainly() -> None:
        with patch.object(efficientnet, "depthwise_conv", plain):
            step()

    ways = {"PyTorch's gradients": plainly, "mpiqe.model.depthwise": step}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            taken = seconds(work)
            if repeat:  # the first warms up
                rates[name].append(crops / taken)
    for name, found in rates.items():
        print(f"{name:24} {statistics.median(found):6.1f} crops/s ({min(found):.1f} to {max(found):.1f})")
    ratios = [ours / theirs for theirs, ours in zip(*rates.values(), strict=True)]
    print(f"ratio                    {statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=list(VARIANTS), default="efficientnet-lite0")
    for name, default in (("crops", 32), ("side", 224), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    main(given.variant, given.crops, given.side, given.repeats)
