import math

import pytest

from mpiqe.training.schedule import learning_rate, schedule_for


def test_the_rate_rises_to_its_peak_over_the_warm_up_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(s, steps_per_epoch=10, epochs=30, warmup_epochs=5, peak=3e-5) for s in range(300)]
    assert rates[0] == pytest.approx(3e-5 / 50)
    assert rates[49] == pytest.approx(3e-5) == max(rates)
    assert rates[50] == pytest.approx(3e-5)
    assert rates[175] == pytest.approx(3e-5 / 2)  # half way from step 50 to step 300
    assert rates[299] == pytest.approx(3e-5 * 0.5 * (1 + math.cos(math.pi * 249 / 250)))
    assert min(rates) > 0


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert learning_rate(0, steps_per_epoch=3, epochs=1, warmup_epochs=0, peak=1.0) == 1.0


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs", "peak", "warmup"),
    [
        (117, 30, 3e-5, 585),  # LIVE Challenge as in the paper
        (50, 30, 3e-5 * 2, 250),  # half of 3000 steps
        (24, 2, 5e-4, 8),  # never more than that
        (1, 1, 5e-4, 0),
    ],
)
def test_warm_up_and_rate_follow_the_length_of_the_run(
    steps_per_epoch: int, epochs: int, peak: float, warmup: int
) -> None:
    schedule = schedule_for(steps_per_epoch=steps_per_epoch, epochs=epochs, warmup_epochs=None, learning_rate=None)
    assert (schedule.peak, schedule.warmup) == (pytest.approx(peak), warmup)
    assert max(map(schedule, range(schedule.steps))) == pytest.approx(peak)


def test_what_is_named_is_kept() -> None:
    schedule = schedule_for(steps_per_epoch=10, epochs=2, warmup_epochs=1, learning_rate=1e-5)
    assert (schedule.peak, schedule.warmup) == (1e-5, 10)
