"""Learning rate schedule: linear warm-up, then cosine decay to zero."""

import math
from dataclasses import dataclass

from mpiqe.option_types import Tune

PAPERS_RATE = 3e-5
PAPERS_EPOCHS, PAPERS_WARMUP = 30, 5
PAPERS_STEPS = 3000
"""A little less than what the paper's smallest runs have (LIVE Challenge: 3,510): they keep its rate."""
_HIGHEST: dict[Tune, float] = {"prompts": 5e-4, "lora": 5e-4, "all": 3e-4}  # of the rates that are chosen here


@dataclass(frozen=True)
class Schedule:
    """The rate of every step of a run."""

    peak: float
    warmup: int
    """Steps that rise to the peak."""
    steps: int

    def __call__(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)))


def schedule_for(
    *, steps_per_epoch: int, epochs: int, warmup_epochs: int | None, learning_rate: float | None, tune: Tune = "prompts"
) -> Schedule:
    """The schedule of a run; what is ``None`` is chosen by the run's length.

    Warm-up is a sixth of the steps, as the paper's 5 of 30 epochs. Adam moves a parameter by about the rate in each
    step, so a run of fewer than ``PAPERS_STEPS`` takes a rate that is higher by as much, within bounds: else
    it would end where it began, with a constant for a prediction.
    """
    steps = steps_per_epoch * epochs
    warmup = steps * PAPERS_WARMUP // PAPERS_EPOCHS if warmup_epochs is None else warmup_epochs * steps_per_epoch
    peak = learning_rate
    if peak is None:
        peak = min(max(PAPERS_RATE, PAPERS_RATE * PAPERS_STEPS / max(1, steps)), _HIGHEST[tune])
    return Schedule(peak, warmup, steps)


def learning_rate(step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: int, peak: float) -> float:
    """The rate of optimiser step ``step`` (counted from 0).

    It rises linearly to ``peak`` over the warm-up and would reach zero one step after the last: no step is wasted.
    """
    return Schedule(peak, warmup_epochs * steps_per_epoch, epochs * steps_per_epoch)(step)
