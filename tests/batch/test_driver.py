"""A job with ``engine="ray"`` whose nodes are this process: what the driver does, without a cluster."""

import contextlib
import json
from contextlib import contextmanager

import numpy as np
import pytest
from tests.cli.conftest import load

import mpiqe
from mpiqe import JobInterrupted, JobResult
from mpiqe.batch.parquet_sink import parts_folder
from mpiqe.batch.ray import driver, worker
from mpiqe.batch.ray.parts import part_named
from mpiqe.errors import WeightsError
from mpiqe.scoring import loading


@pytest.fixture(autouse=True)
def _here(modest_model, monkeypatch):
    @contextmanager
    def cluster(address):
        yield 1

    def scored(job, finished, *, actors, left_out):
        score = worker.ShardScorer(job)
        for plan in worker.planned(job, {part.number: part.digest for part in finished}):
            answer = score({name: np.array([value], dtype=object) for name, value in plan.items()})
            assert answer["error"] == [""]
            if answer["left_out"][0]:
                left_out.add_all(json.loads(answer["left_out"][0]))
                continue
            yield part_named(answer["part"][0])

    monkeypatch.setattr(driver, "cluster", cluster)
    monkeypatch.setattr(driver, "scored", scored)
    monkeypatch.setattr(driver, "version_of_folder", lambda weights: None)
    monkeypatch.setattr(worker, "load", lambda *, threads, **options: load(**options))


def test_progress_is_told_after_every_shard_and_the_file_is_that_of_the_local_engine(tmp_path, folder):
    told, there, here = [], tmp_path / "there.csv", tmp_path / "here.csv"
    result = mpiqe.score_to([folder] * 2, there, engine="ray", shard_size=3, on_progress=told.append)
    assert result == mpiqe.score_to([folder] * 2, here) == JobResult(rows=8, failed=2)
    assert there.read_bytes() == here.read_bytes()
    assert [(step.done, step.failed, step.row) for step in told] == [(0, 0, None), (3, 1, None), (6, 1, None),
                                                                     (8, 2, None)]  # fmt: skip
    assert not parts_folder(there).exists()
    more = mpiqe.score_to([*[folder] * 2, folder / "a.png"], there, resume=True)
    assert more == JobResult(rows=9, failed=2)


def test_an_interrupted_job_goes_on_from_its_shards(tmp_path, folder):
    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    output, told = tmp_path / "rows.csv", []
    with pytest.raises(JobInterrupted, match="3 rows are written") as caught:
        mpiqe.score_to([folder] * 2, output, engine="ray", shard_size=3, on_progress=interrupt)
    assert caught.value.can_resume
    with pytest.raises(mpiqe.ConfigError, match="continue it with --engine ray --resume"):
        mpiqe.score_to(folder, output)
    result = mpiqe.score_to([folder] * 2, output, engine="ray", shard_size=3, resume=True, on_progress=told.append)
    assert result == JobResult(rows=8, failed=2)
    assert [step.done for step in told] == [3, 6, 8]


def test_what_a_node_left_out_and_what_the_rows_come_to_reach_the_driver(tmp_path, folder):
    (folder / "notes.txt").touch()
    (folder / "t.parquet").touch()
    result = mpiqe.score_to(folder, tmp_path / "rows.json", engine="ray", exclude=["b*"])
    assert result == JobResult(rows=3, failed=1)
    assert result.left_out == mpiqe.score_to(folder, tmp_path / "here.csv", exclude=["b*"]).left_out
    assert sum(result.left_out.values()) == 3
    assert (result.summary.median, result.summary.worst) == (125, 50)
    assert [row["score"] for row in json.loads((tmp_path / "rows.json").read_text())] == [50, None, 200]
    again = {"engine": "ray", "exclude": ["a*"]}
    with pytest.raises(mpiqe.ConfigError, match="is there already"):
        mpiqe.score_to(folder, tmp_path / "rows.json", **again)
    mpiqe.score_to(folder, tmp_path / "rows.json", **again, overwrite=True)
    assert [row["score"] for row in json.loads((tmp_path / "rows.json").read_text())] == [100, None, 200]
    assert not list(tmp_path.glob("rows.json.new*"))


def test_a_job_that_overwrites_unfinished_shards_starts_anew_and_leaves_them_until_it_has_rows(tmp_path, folder):
    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    output, here = tmp_path / "rows.csv", tmp_path / "here.csv"
    ray = {"engine": "ray", "shard_size": 3}
    with pytest.raises(JobInterrupted):
        mpiqe.score_to(folder, output, **ray, on_progress=interrupt)
    (tmp_path / "empty").mkdir()
    with pytest.raises(mpiqe.ConfigError, match="there is no image"):
        mpiqe.score_to(tmp_path / "empty", output, **ray, overwrite=True)
    assert len(list(parts_folder(output).glob("shard-*"))) == 1
    for options in ({"on_progress": interrupt}, {}):  # the first leaves shards of other options beside the output
        with contextlib.suppress(JobInterrupted):
            mpiqe.score_to(folder, output, **ray, overwrite=True, crops=3 if options else 2, **options)
    mpiqe.score_to(folder, here, crops=2)
    assert output.read_bytes() == here.read_bytes()
    assert not parts_folder(output).exists()
    assert not list(tmp_path.glob("rows.csv.new*"))


@pytest.mark.parametrize("is_local", [False, True], ids=["shards", "rows"])
def test_an_overwrite_that_cannot_begin_leaves_the_rows_of_an_unfinished_one(tmp_path, folder, monkeypatch, is_local):
    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    def failing(**_):
        raise WeightsError("no such model")

    output, ray = tmp_path / "rows.csv", {"engine": "ray", "shard_size": 3}
    mpiqe.score_to(folder, output)
    with pytest.raises(JobInterrupted):
        mpiqe.score_to(folder, output, overwrite=True, on_progress=interrupt, **({} if is_local else ray))
    there = {path.name: path.read_bytes() for path in tmp_path.rglob("*.new*") if path.is_file()}
    shards = sorted(path.name for path in tmp_path.rglob("shard-*"))
    assert is_local == (shards == [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(mpiqe.ConfigError, match="there is no image"):
        mpiqe.score_to(tmp_path / "empty", output, **ray, overwrite=True)
    with monkeypatch.context() as patched:
        patched.setattr(loading, "load", failing)
        with pytest.raises(WeightsError, match="no such model"):
            mpiqe.score_to(folder, output, **ray, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.new*") if path.is_file()} == there
    assert sorted(path.name for path in tmp_path.rglob("shard-*")) == shards
    assert mpiqe.score_to(folder, output, **({} if is_local else ray), resume=True).rows == 4
