import sys

import pytest
from benchmarks.peer import METRICS

from benchmarks import peers


def test_a_peer_is_asked_and_answers_over_its_pipes(tmp_path, monkeypatch) -> None:
    stand_in = tmp_path / "peer.py"
    stand_in.write_text(
        "import json, sys\n"
        "json.loads(input())\n"
        "print(json.dumps({'about': {'what': sys.argv[1], 'gflop': 1.5}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'seconds': len(json.loads(line)['path']), 'score': 0.5}), flush=True)\n"
    )
    monkeypatch.setattr(peers, "PEER", stand_in)
    with peers.started(sys.executable, "liqe", 1) as peer:
        assert peer.start(tmp_path) == {"what": "liqe", "gflop": 1.5}
        taken = peers.in_turns({"liqe": peer.seconds, "ours": lambda photo: 1.0}, ["aa", "bbbb"], repeats=3)
    # two photos in turn, after the same two as a warm-up
    assert taken == {"liqe": [2, 4, 2], "ours": [1, 1, 1]}


def test_a_peer_that_cannot_start_ends_the_comparison(tmp_path, monkeypatch) -> None:
    (tmp_path / "peer.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(peers, "PEER", tmp_path / "peer.py")
    with peers.started(sys.executable, "liqe", 1) as peer, pytest.raises(SystemExit, match="ended with status 3"):
        peer.start(tmp_path)


def test_every_metric_says_what_it_runs() -> None:
    assert set(METRICS) == set(peers.METRICS)
