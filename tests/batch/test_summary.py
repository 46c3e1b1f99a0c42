"""Median and worst of a job's rows."""

import statistics

import numpy as np
import pytest

from mpiqe.batch.summary import Scores, Summary


@pytest.mark.parametrize("number", [1, 2, 3, 4, 1001, 1002])
def test_the_median_is_that_of_all_scores_to_five_digits(number):
    drawn, scores = np.random.default_rng(number), Scores()
    values = [*np.round(drawn.uniform(-90, 90, number // 2), 1).tolist(), *[12.345678] * (number - number // 2)]
    for value in values:
        scores.add("x.jpg", value)
    assert scores.summary().median == pytest.approx(statistics.median(values), rel=5e-5)


def test_memory_does_not_grow_with_the_number_of_photos():
    def held(number):
        scores = Scores()
        for place in range(number):
            scores.add("x.jpg", 40 + (place % 10_000) / 1000)
        return len(scores._counts)

    assert held(100_000) == held(20_000) == 10_000


def test_a_score_that_is_not_there_counts_nothing_and_the_first_of_the_worst_is_named():
    scores = Scores()
    assert scores.summary() is None
    for name, score in (("a", None), ("b", 20.0), ("c", 10.0), ("d", 10.0)):
        scores.add(name, score)
    assert scores.summary() == Summary(10.0, 10.0, "c")
    scores.higher_is_better = False
    assert scores.summary() == Summary(10.0, 20.0, "b")
