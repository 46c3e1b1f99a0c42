"""The gradients of a run's first step. Compared in place of weights: Adam's steps are as long for rounding alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook


@contextmanager
def first_gradients() -> Iterator[list[Tensor]]:
    """Collect, in the order of the optimiser's parameters, what the first step within the context is made of."""
    found: list[Tensor] = []

    def note(optimiser: Optimizer, *_: Any) -> None:
        if not found:
            given = [parameter.grad for group in optimiser.param_groups for parameter in group["params"]]
            found.extend(grad.clone() for grad in given if grad is not None)

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield found
    finally:
        handle.remove()


def assert_same_gradients(part: list[Tensor], whole: list[Tensor]) -> None:
    """Equal but for rounding, in units of the largest of all."""
    largest = max(float(grad.abs().max()) for grad in whole)
    for one, other in zip(part, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * largest)
