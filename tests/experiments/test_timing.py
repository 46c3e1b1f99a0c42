import re
from collections.abc import Callable

import pytest

from mpiqe.experiments.study import Study
from mpiqe.experiments.timing import Speed, expected_seconds, kind_of, measure_speeds, memory_of_a_step

Make = Callable[..., Study]


def test_expected_seconds_are_crops_times_the_measured_seconds_of_one(make_study: Make) -> None:
    study = make_study("table2", datasets=("livec",), repeats=1, settings={"crops": 3, "epochs": 5})
    datasets, runs = {"livec": study.read("livec")}, study.runs()
    speeds = {
        "mp-iqe, text, tuned: prompts": Speed(2.0, 0.5),
        "clip-iqa, no text, tuned: prompts": Speed(1.0, 0.25),
        "clip-iqa, no text, tuned: nothing": Speed(0.0, 0.25),
    }
    learnt, tested = (1162 - 232) * 3 * 5, 232 * 3  # the project's own splits test on a fifth
    by_hand = {
        "mp-iqe": 2.0 * learnt + 0.5 * tested,
        "clip-iqa": 0.25 * tested,
        "clip-iqa-plus": 1.0 * learnt + 0.25 * tested,
    }
    for run in runs:
        assert expected_seconds(study, [run], datasets, speeds) == pytest.approx(by_hand[run.variant]), run
    assert expected_seconds(study, runs, datasets, speeds) == pytest.approx(sum(by_hand.values()))


def test_a_linear_probe_looks_at_every_photo_once(make_study: Make) -> None:
    study = make_study("lines", datasets=("livec",), repeats=1, settings={"crops": 3, "epochs": 5})
    speeds = {"mp-iqe, no text, tuned: nothing": Speed(0.0, 0.5)}
    run = next(run for run in study.runs() if run.variant == "linear-probe")
    assert expected_seconds(study, [run], {"livec": study.read("livec")}, speeds) == pytest.approx(1162 * 3 * 0.5)


@pytest.mark.slow
def test_each_kind_of_run_is_measured_once_and_one_that_learns_nothing_has_no_learning_speed(make_study: Make) -> None:
    study = make_study("table2", "table4", "lines", datasets=("livec",))
    runs = study.runs()
    speeds = measure_speeds(study, runs)
    assert set(speeds) == {
        "mp-iqe, text, tuned: prompts",
        "mp-iqe, no text, tuned: prompts",
        "mp-iqe, text, tuned: all",
        "clip-iqa, no text, tuned: prompts",
        "clip-iqa, no text, tuned: nothing",
        "liqe, text, tuned: prompts",
        "mp-iqe, no text, tuned: nothing",
    }
    for kind, speed in speeds.items():
        assert speed.answering > 0
        assert (speed.learning == 0) == kind.endswith("tuned: nothing")
    assert speeds["mp-iqe, text, tuned: prompts"].learning > speeds["mp-iqe, text, tuned: prompts"].answering
    assert {kind_of(study, run) for run in runs} == set(speeds)


def test_the_plan_knows_what_a_step_needs_and_what_is_free(make_study: Make) -> None:
    study = make_study("table2", datasets=("livec",))
    said = memory_of_a_step(study, study.runs())
    assert re.fullmatch(r"\S+ GB for \d+ crops at once, \S+ GB are free on \w+", said)
    assert memory_of_a_step(study, [run for run in study.runs() if run.variant == "clip-iqa"]) == ""
