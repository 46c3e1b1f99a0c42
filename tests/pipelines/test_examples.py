"""The examples of the pages about pipelines, each run with the package that it is about."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, tmp_path):
    """What an example prints, with the embedded model."""
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    command = [sys.executable, EXAMPLES / "pipelines" / name]
    done = subprocess.run(command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_frames_of_pandas_and_polars_have_the_same_scores(tmp_path):
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    printed = run("frames.py", tmp_path)
    assert "unreadable: 0" in printed
    assert "the same: True" in printed


@pytest.mark.slow
def test_ray_data_scores_batches(tmp_path):
    pytest.importorskip("ray")
    printed = run("ray_data.py", tmp_path)
    assert re.findall(r"(?m)^(\S+\.jpg) \d+\.\d+ \S", printed) == [
        f"chelsea-{damage}.jpg" for damage in ("blur", "dark", "jpeg", "noise")
    ]


@pytest.mark.slow
def test_webdataset_gets_scores_and_leaves_poor_samples_out(tmp_path):
    pytest.importorskip("webdataset", reason="needs webdataset: pip install webdataset")
    printed = run("wds.py", tmp_path)
    assert re.findall(r"(?m)^(\S+) \d+\.\d+ \D", printed) == [
        "astronaut-blur",
        "astronaut-jpeg",
        "astronaut",
        "chelsea-dark",
    ]
    kept = re.findall(r"(?m)^\S+ \(\d+, \d+\) \{'shard': [01]\} (\d+\.\d+)$", printed)
    assert kept
    assert all(float(score) >= 60 for score in kept)


@pytest.mark.slow
def test_datasets_of_hugging_face_are_mapped_and_streamed(tmp_path):
    pytest.importorskip("datasets", reason="needs datasets, in an environment of its own: pip install datasets")
    printed = run("hf_datasets.py", tmp_path)
    assert "20 rows" in printed
    assert "the same key in the cache: True" in printed
    assert "with other options: False" in printed
    assert "the same in two processes: True" in printed
    scores = re.findall(r"(?m)^(\d+\.\d+) \D", printed)
    assert re.search(r"streamed: \[(.*)\]", printed)[1].split(", ") == scores[:3]
    assert "damaged or cut short" in printed
