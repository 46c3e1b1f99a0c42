"""Learning rate schedule: linear warm-up, then cosine decay to zero."""

import math


def learning_rate(step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: int, peak: float) -> float:
    """The rate of optimiser step ``step`` (counted from 0).

    It rises linearly to ``peak`` over the warm-up and would reach zero one step after the last: no step is wasted.
    """
    warmup, total = warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
