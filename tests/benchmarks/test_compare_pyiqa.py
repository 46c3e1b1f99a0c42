import sys

import pytest
from benchmarks.pyiqa_metric import METRICS

from benchmarks import compare_pyiqa


def test_a_metric_is_asked_and_answers_over_its_pipes(tmp_path, monkeypatch) -> None:
    stand_in = tmp_path / "pyiqa_metric.py"
    stand_in.write_text(
        "import json, sys\n"
        "json.loads(input())\n"
        "print(json.dumps({'about': {'what': sys.argv[1], 'gflop': 1.5}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'seconds': len(json.loads(line)['path']), 'score': 0.5}), flush=True)\n"
    )
    monkeypatch.setattr(compare_pyiqa, "PYIQA_METRIC", stand_in)
    with compare_pyiqa.started(sys.executable, "liqe", 1) as metric:
        assert metric.start(tmp_path) == {"what": "liqe", "gflop": 1.5}
        taken = compare_pyiqa.in_turns({"liqe": metric.seconds, "ours": lambda photo: 1.0}, ["aa", "bbbb"], repeats=3)
    # two photos in turn, after the same two as a warm-up
    assert taken == {"liqe": [2, 4, 2], "ours": [1, 1, 1]}


def test_a_metric_that_cannot_start_ends_the_comparison(tmp_path, monkeypatch) -> None:
    (tmp_path / "pyiqa_metric.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(compare_pyiqa, "PYIQA_METRIC", tmp_path / "pyiqa_metric.py")
    with (
        compare_pyiqa.started(sys.executable, "liqe", 1) as metric,
        pytest.raises(SystemExit, match="ended with status 3"),
    ):
        metric.start(tmp_path)


def test_every_metric_says_what_it_runs() -> None:
    assert set(METRICS) == set(compare_pyiqa.METRICS)
