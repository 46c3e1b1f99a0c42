"""Steps of several models in turns, each in a process of its own, and the table of what they took."""

import sys
from pathlib import Path

import pytest
from benchmarks.metric import Measured, Row, in_turns, table

from benchmarks import metric

ANSWERS = """
import json, sys
for turn, line in enumerate(sys.stdin):
    print(json.dumps({{"seconds": {seconds} + turn, "processor": turn / 4, "grown": 10.0 * turn}}), flush=True)
"""


def _row(model: str, what: str, code: str) -> Row:
    return Row(model, 4, what, [sys.executable, "-c", code])


def test_rows_take_turns_and_the_first_turn_does_not_count() -> None:
    rows = [_row(model, "score", ANSWERS.format(seconds=seconds)) for model, seconds in (("a", 1), ("b", 5))]
    busy = [0.25, 0.5, 0.75]
    assert in_turns(rows, 3) == [Measured([2, 3, 4], busy, 30), Measured([6, 7, 8], busy, 30)]
    assert in_turns(rows[:1], 2, on_cpu=False) == [Measured([2, 3], [2, 3], 20)]


def test_a_process_that_ends_ends_the_measurement() -> None:
    with pytest.raises(SystemExit, match="the process of a, score, ended with 3"):
        in_turns([_row("a", "score", "import sys; sys.exit(3)")], 2)


def test_times_are_those_of_the_first_row_of_the_same_step_turn_by_turn() -> None:
    rows = [Row(model, 4, what, []) for model in ("a", "b") for what in ("score", "gradient")]
    times = ([1.0, 2.0], [4.0, 4.0], [2.0, 8.0], [2.0, 2.0])
    found = [Measured([1.0, 4.0], each, 1) for each in times]
    lines = table(rows, found, batch=2)[1:]
    assert [line.split()[-2] for line in lines] == ["1.00", "1.00", "3.00", "0.50"]  # 3.00: the mean of 2 and 4
    assert lines[2].split()[:4] == ["b", "4", "score", "1250"]


def test_a_step_of_ours_answers_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", iter(["\n", "\n"]))
        metric.serve(lambda: done.append(1), lambda: 5e6 * len(done))
    assert len(done) == 2
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == ["5.0}", "10.0}"]
