"""Outputs in object stores: fsspec's memory, and an S3 that moto serves."""

import csv
import io
import json
import os
import sys

import fsspec
import pytest

import mpiqe
from mpiqe import ConfigError, JobInterrupted, JobResult
from mpiqe.batch.progress import Progress
from mpiqe.batch.selection import Selection

ALLOWED = {"allow_scheme": ["memory"]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, modest_model):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "mpiqe" / "outputs"
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def stored(name):
    return fsspec.filesystem("memory").cat_file(f"/bucket/{name}")


@pytest.mark.parametrize("name", ["rows.csv", "rows.json.gz", "rows.parquet"])
def test_an_object_has_the_bytes_that_a_file_would_have_and_is_continued(tmp_path, folder, cache, name):
    url, here = f"memory://bucket/deep/{name}", tmp_path / name
    for output, options in ((url, ALLOWED), (here, ALLOWED)):
        assert mpiqe.score_to(folder / "a.png", output, **options) == JobResult(1, 0)
        assert mpiqe.score_to([folder / "a.png", folder], output, **options, resume=True) == JobResult(5, 1)
    assert stored(f"deep/{name}") == here.read_bytes()
    assert json.loads(stored(f"deep/{name}.run.json"))["seed"] == 0
    assert not list(cache.iterdir())


def test_an_object_that_is_there_is_replaced_only_where_that_is_asked_for(folder, cache):
    url = "memory://bucket/rows.csv"
    mpiqe.score_to(folder / "a.png", url, **ALLOWED)
    before = stored("rows.csv")
    with pytest.raises(ConfigError, match=r"^memory://bucket/rows\.csv is there already: --resume continues it"):
        mpiqe.score_to(folder / "b.png", url, **ALLOWED)
    assert stored("rows.csv") == before
    mpiqe.score_to(folder / "b.png", url, **ALLOWED, overwrite=True)
    assert b"b.png" in stored("rows.csv")
    assert not list(cache.iterdir())


def test_a_selection_in_place_of_rows_has_not_their_settings(folder, cache):
    url = "memory://bucket/rows.csv"
    mpiqe.score_to(folder, url, **ALLOWED, crops=2)
    mpiqe.score_to(folder, url, **ALLOWED, crops=3, selection=Selection(min_score=-999), overwrite=True)
    assert not fsspec.filesystem("memory").exists("/bucket/rows.csv.run.json")
    with pytest.raises(ConfigError, match="nobody knows how it was made"):
        mpiqe.score_to(folder, url, **ALLOWED, crops=2, resume=True)


def test_rows_of_a_run_that_was_stopped_wait_on_this_machine(folder, cache):
    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    url = "memory://bucket/rows.csv"
    with pytest.raises(JobInterrupted):
        mpiqe.score_to(folder, url, **ALLOWED, on_progress=stop)
    assert not fsspec.filesystem("memory").exists("/bucket/rows.csv")
    with pytest.raises(ConfigError, match=r"outputs/\w+ has rows for memory://bucket/rows\.csv of a run that was not"):
        mpiqe.score_to(folder, url, **ALLOWED)
    told = []
    assert mpiqe.score_to(folder, url, **ALLOWED, resume=True, on_progress=told.append) == JobResult(4, 1)
    assert told[0].done == 2
    rows = list(csv.DictReader(io.StringIO(stored("rows.csv").decode())))
    assert [row["score"] for row in rows] == ["50.0", "100.0", "", "200.0"]
    assert not list(cache.iterdir())


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.parquet"])
def test_a_resume_that_is_refused_leaves_nothing_on_this_machine(folder, cache, name):
    url = f"memory://bucket/{name}"
    mpiqe.score_to(folder / "a.png", url, **ALLOWED)
    before = stored(name)
    with pytest.raises(ConfigError, match="seed was 0 and is 1"):
        mpiqe.score_to(folder, url, **ALLOWED, resume=True, seed=1)
    with pytest.raises(ConfigError, match="needs the same photos"):
        mpiqe.score_to(folder / "b.png", url, **ALLOWED, resume=True)
    fsspec.filesystem("memory").rm_file(f"/bucket/{name}.run.json")
    with pytest.raises(ConfigError, match="nobody knows how it was made"):
        mpiqe.score_to(folder, url, **ALLOWED, resume=True)
    assert not list(cache.iterdir())
    assert stored(name) == before
    with pytest.raises(ConfigError, match="is there already"):
        mpiqe.score_to(folder, url, **ALLOWED)


def test_rows_that_were_added_to_fetched_ones_stay(folder, cache):
    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    url = "memory://bucket/rows.csv"
    mpiqe.score_to(folder / "a.png", url, **ALLOWED)
    with pytest.raises(JobInterrupted):
        mpiqe.score_to(folder, url, **ALLOWED, resume=True, on_progress=stop)
    with pytest.raises(ConfigError, match="of a run that was not"):
        mpiqe.score_to(folder, url, **ALLOWED)
    assert mpiqe.score_to(folder, url, **ALLOWED, resume=True) == JobResult(4, 1)
    assert not list(cache.iterdir())


def test_rows_stay_where_a_store_takes_none(folder, cache, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Access Denied")

    url = "memory://bucket/rows.csv"
    with monkeypatch.context() as patches:
        patches.setattr(fsspec.implementations.memory.MemoryFileSystem, "put_file", refuse)
        with pytest.raises(
            ConfigError, match=r"rows\.csv: Access Denied; the rows are all in .*, and --resume tries again"
        ):
            mpiqe.score_to(folder, url, **ALLOWED)
    assert mpiqe.score_to(folder, url, **ALLOWED, resume=True) == JobResult(4, 1)
    assert stored("rows.csv").count(b"\n") == 5


def test_what_is_no_place_for_rows_is_said(folder):
    with pytest.raises(ConfigError, match="not to an http address"):
        mpiqe.score_to(folder, "https://host/rows.csv")
    with pytest.raises(ConfigError, match="--allow-scheme memory"):
        mpiqe.score_to(folder, "memory://bucket/rows.csv")
    with pytest.raises(ConfigError, match="says no format"):
        mpiqe.score_to(folder, "memory://bucket/rows.html", **ALLOWED)
    with pytest.raises(ConfigError, match="--engine ray writes to a folder that all nodes share"):
        mpiqe.score_to(folder, "memory://bucket/rows.csv", **ALLOWED, engine="ray")


@pytest.mark.skipif(sys.platform == "win32", reason="paths as they are on Linux")
def test_an_s3_bucket_takes_rows(folder, cache, monkeypatch):
    pytest.importorskip("s3fs", reason="needs s3fs, which fsspec has for s3://")
    server = pytest.importorskip("moto.server", reason="needs moto[server], an S3 on this machine")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "testing", "no_proxy": "*",
            "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        bucket = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        bucket.create_bucket(Bucket="photos")
        assert mpiqe.score_to(folder, "s3://photos/out/rows.csv") == JobResult(4, 1)
        text = bucket.get_object(Bucket="photos", Key="out/rows.csv")["Body"].read().decode()
        assert [row["score"] for row in csv.DictReader(io.StringIO(text))] == ["50.0", "100.0", "", "200.0"]
        with pytest.raises(ConfigError, match=r"s3://photos/out/rows\.csv is there already"):
            mpiqe.score_to(folder / "a.png", "s3://photos/out/rows.csv")
        assert mpiqe.score_to(folder, "s3://photos/out/rows.csv", resume=True) == JobResult(4, 1)
        with pytest.raises(ConfigError, match=r"s3://nobody/rows\.csv: .*; the rows are all in"):
            mpiqe.score_to(folder / "a.png", "s3://nobody/rows.csv")
    finally:
        running.stop()
