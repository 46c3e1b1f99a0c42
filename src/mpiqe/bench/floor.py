"""How many operations a second this machine does in a large matrix product: a floor under every time."""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

SIDE = 2048
Work = Callable[[], object]


def operations() -> int:
    """Of one product."""
    return 2 * SIDE**3


def products(*, bf16: bool) -> tuple[str, dict[str, Work]]:
    """By whom, and a SIDE x SIDE x SIDE product for each precision: fp32 and, by torch alone and if wanted, bf16."""
    if find_spec("torch") is None:
        left, right = (np.random.default_rng(seed).random((SIDE, SIDE), dtype=np.float32) for seed in (0, 1))
        return "numpy", {"fp32": lambda: left @ right}
    import torch

    def product(dtype: torch.dtype) -> Work:
        pair = [torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1)]
        return lambda: pair[0] @ pair[1]

    dtypes = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if bf16 else {})}
    return "torch", {name: product(dtype) for name, dtype in dtypes.items()}
