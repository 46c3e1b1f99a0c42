import math

import pytest

from mpiqe.training.schedule import learning_rate


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
