"""Plain attention against torch's blocked kernel, forward and backward: which one `mpiqe.training.device` should take.

python benchmarks/attention.py
"""

import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

REPEATS = 5
SHAPES = ((128, 3, 54, 64), (32, 12, 201, 64))  # crops, heads, tokens, width: the compact tower, ViT-B/16


def main() -> None:
    print(f"{torch.get_num_threads()} threads, medians of {REPEATS} (least to most), ms")
    for shape in SHAPES:
        for dtype in (torch.bfloat16, torch.float32):
            inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
            for kernel in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
                seconds = []
                for _ in range(REPEATS + 1):
                    started = time.perf_counter()
                    with sdpa_kernel(kernel):
                        F.scaled_dot_product_attention(*inputs).sum().backward()
                    seconds.append(1000 * (time.perf_counter() - started))
                kept = sorted(seconds[1:])
                spread = f"({kept[0]:.1f} to {kept[-1]:.1f})"
                print(f"{shape} {dtype} {kernel.name:<15} {statistics.median(kept):.1f} {spread}")


if __name__ == "__main__":
    main()
