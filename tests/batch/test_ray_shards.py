"""Shards without a cluster: what they are cut into, scored and put together again."""

import io
import os
import tarfile
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mpiqe.batch.parquet_sink import ParquetSink, parts_folder
from mpiqe.batch.ray import worker
from mpiqe.batch.ray.parts import common, counted, finished, merge, part_named
from mpiqe.batch.ray.shards import Shard, cut
from mpiqe.batch.ray.worker import Job, ShardScorer, planned
from mpiqe.batch.resume import identity
from mpiqe.batch.sinks import CsvSink, JsonLinesSink
from mpiqe.errors import ConfigError
from mpiqe.sources import archive
from mpiqe.sources.archive import Shared
from mpiqe.sources.find import Archive, Limits, find, find_closed

LIMITS = Limits()


def png(level):
    content = io.BytesIO()
    Image.new("RGB", (40, 30), (level, level, level)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Of every kind: a folder with a broken file, a tar, a compressed one, a missing one, a table, one of paths."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        (folder / f'{number}, "é"\n.png').write_bytes(png(10 * number))
    (folder / "3-broken.jpg").touch()
    (folder / os.fsdecode(b"8-\xff.png")).write_bytes(png(99))
    for name, mode in (("plain.tar", "w"), ("packed.tar.gz", "w:gz")):
        with tarfile.open(name, mode) as archive:
            for number in range(9):
                member = tarfile.TarInfo(f"{number}.png")
                member.size = len(png(number))
                archive.addfile(member, io.BytesIO(png(number)))
    pq.write_table(pa.table({"image": [png(100 + number) for number in range(23)]}), "rows.parquet", row_group_size=5)
    pq.write_table(pa.table({"path": ["photos/8.png", "https://u:secret@x.invalid/a.png"]}), "named.parquet")
    return ["photos", "plain.tar", "packed.tar.gz", "missing.tar", "rows.parquet", "named.parquet", "no-*.png"]


def closed_in(paths):
    return find_closed(paths, stdin=io.BytesIO())


def found_in(paths):
    return find(paths, stdin=io.BytesIO())


def names(found):
    return [photo.name for photo in found]


def job_for(paths, tmp_path, *, form="csv", size=4):
    output = tmp_path / f"scores.{form}"
    parts_folder(output).mkdir(exist_ok=True)
    settings = {"mpiqe": version("mpiqe"), "model": identity(None)}
    return Job(tuple(paths), output, form, str(tmp_path), settings, {"weights": None}, LIMITS, None, size)


def scored(job, monkeypatch, scorer):
    """All of a job, done in this process."""
    monkeypatch.setattr(worker, "load", lambda weights: scorer)
    score = ShardScorer(job)
    for plan in planned(job, {part.number: part.digest for part in finished(job.output)}):
        answer = score({name: np.array([value], dtype=object) for name, value in plan.items()})
        if answer["error"][0]:
            raise ConfigError(answer["error"][0])
        assert (parts_folder(job.output) / answer["part"][0]).is_file()
    merge(job.output, list(counted(finished(job.output))))


def written_here(paths, output, scorer):
    """What the local engine writes."""
    rows = list(scorer.rows(found_in(paths)))
    if output.suffix == ".parquet":
        sink = ParquetSink(output, scorer.predictor, settings={"mpiqe": version("mpiqe"), "model": identity(None)})
        for row in rows:
            sink.write(row)
        sink.finish()
        return
    with output.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        sink = CsvSink(file) if output.suffix == ".csv" else JsonLinesSink(file)
        for row in rows:
            sink.write(row)


def content(path):
    return pq.read_table(path).to_pylist() if path.suffix == ".parquet" else path.read_bytes()


@pytest.mark.parametrize(
    ("large", "size"),
    [
        (0, 4),
        (archive.LARGE_TAR, 1),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((0, 1), (0, 1000), (archive.LARGE_TAR, 4), (archive.LARGE_TAR, 1000))
        ),
    ],
)
def test_shards_have_all_photos_in_order_after_a_journey_as_text(sources, monkeypatch, size, large):
    monkeypatch.setattr(archive, "LARGE_TAR", large)
    with Shared(LIMITS) as shared:
        cuts = [Shard.from_json(shard.to_json(), shared) for shard in cut(closed_in(sources), size=size)]
        assert [shard.number for shard in cuts] == list(range(len(cuts)))
        photos = [photo for shard in cuts for photo in shard.photos()]
    expected = list(found_in(sources))
    assert names(photos) == names(expected)
    assert [(photo.file, photo.fault) for photo in photos] == [(photo.file, photo.fault) for photo in expected]
    assert [shard.digest for shard in cuts] == [shard.digest for shard in cut(closed_in(sources), size=size)]


def test_a_shard_has_as_many_photos_as_it_should_where_that_is_known(sources):
    sizes = [len(list(shard.photos())) for shard in cut(closed_in(["photos", "rows.parquet"]), size=4)]
    assert sizes == [4, 4, 1, 4, 4, 4, 4, 4, 3]
    assert len(list(cut(closed_in(["rows.parquet", "photos", "plain.tar"]), size=1000))) == 1


def test_text_of_a_shard_is_ascii_and_its_digest_knows_no_secrets(sources):
    first, second = (
        next(cut(closed_in([f"https://u:{word}@x.invalid/a.png"]), size=4)) for word in ("secret", "other")
    )
    assert first.digest == second.digest
    assert "secret" in first.to_json()
    assert all(shard.to_json().isascii() for shard in cut(closed_in(sources), size=4))


def test_a_range_of_an_archive_is_what_find_finds_there(sources):
    for path in ("plain.tar", "packed.tar.gz", "rows.parquet"):
        (closed,) = closed_in([path])
        assert isinstance(closed, Archive)
        everything = names(found_in([path]))
        with Shared(LIMITS) as shared:
            closed = replace(closed, shared=shared)
            assert closed.count() == (None if path == "packed.tar.gz" else len(everything))
            assert names(replace(closed, first=3, last=8).photos()) == everything[3:8]
            assert names(replace(closed, first=8).photos()) == everything[8:]


def test_rows_before_a_range_are_not_read(sources, tmp_path):
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(whole[:4] + bytes(200) + whole[204:])  # the first row group is gone
    (closed,) = closed_in(["rows.parquet"])
    with Shared(LIMITS) as shared:
        closed = replace(closed, shared=shared)
        assert names(replace(closed, first=0, last=4).photos()) == ["rows.parquet"]
        assert names(replace(closed, first=5, last=7).photos()) == ["rows.parquet::5", "rows.parquet::6"]


@pytest.mark.parametrize(
    "form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in ("jsonl", "parquet"))]
)
def test_the_parts_become_the_file_of_the_local_engine(sources, tmp_path, monkeypatch, make_scorer, form):
    job, here = job_for(sources, tmp_path, form=form), tmp_path / f"here.{form}"
    paths = [path for path in sources if path != "named.parquet"]  # whose second photo is asked for on the network
    job = replace(job, paths=tuple(paths))
    scorer = make_scorer(isolate=False, workers=1)
    scored(job, monkeypatch, scorer)
    written_here(paths, here, scorer)
    assert content(job.output) == content(here)
    if form == "parquet":
        assert pq.read_schema(job.output).equals(pq.read_schema(here), check_metadata=True)


@pytest.mark.parametrize("start", [4, *(pytest.param(start, marks=pytest.mark.slow) for start in (700, 1500))])
def test_a_table_that_cannot_be_read_on_ends_there_however_it_is_cut(
    sources, tmp_path, monkeypatch, make_scorer, start
):
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(whole[:start] + bytes(200) + whole[start + 200 :])
    paths, scorer = ["rows.parquet", "photos"], make_scorer(isolate=False, workers=1)
    job, here = job_for(paths, tmp_path), tmp_path / "here.csv"
    scored(job, monkeypatch, scorer)
    written_here(paths, here, scorer)
    assert content(job.output) == content(here)
    assert b"damaged or no Parquet file" in content(here)


def test_shards_that_are_there_are_not_scored_again(sources, tmp_path, monkeypatch, make_scorer):
    job, scorer = job_for(["photos"], tmp_path), make_scorer(isolate=False, workers=1)
    scored(job, monkeypatch, scorer)
    expected = content(job.output)
    first, second, _ = finished(job.output)
    assert [part_named(part.name) for part in (first, second)] == [first, second]
    marked = parts_folder(job.output) / first.name
    marked.write_bytes(b"kept\n" + marked.read_bytes())
    (parts_folder(job.output) / second.name).unlink()
    (parts_folder(job.output) / f"{second.name}.12.part").write_bytes(b"torn")
    assert len(list(planned(job, {part.number: part.digest for part in finished(job.output)}))) == 1
    scored(job, monkeypatch, scorer)
    assert content(job.output).replace(b"kept\n", b"") == expected
    assert b"kept\n" in content(job.output)


def test_other_photos_are_refused_with_the_shard_that_differs(sources, tmp_path):
    job = job_for(["photos"], tmp_path)
    there = {shard.number: shard.digest for shard in cut(closed_in(["photos"]), size=4)}
    (tmp_path / "photos" / "5-new.png").write_bytes(png(1))
    *_, last = planned(job, there)
    assert "shard 1, which begins with" in last["error"]
    *_, last = planned(replace(job, paths=("photos/3-broken.jpg",)), {1: "there is no such shard now"})
    assert "rows of 2 shards, but now photos for 1" in last["error"]


def test_a_node_that_is_not_like_the_driver_says_how(sources, tmp_path, monkeypatch):
    job = job_for(["photos"], tmp_path)
    (plan, *_) = planned(job, {})
    batch = {name: np.array([value], dtype=object) for name, value in plan.items()}
    for other, said in (
        (replace(job, directory=str(tmp_path / "elsewhere")), "paths must mean the same on all nodes"),
        (replace(job, output=tmp_path / "other" / "scores.csv"), "a folder that all nodes share"),
        (replace(job, settings=job.settings | {"mpiqe": "0.0"}), "has another mpiqe"),
        (replace(job, settings=job.settings | {"model": "another"}), "has another model"),
    ):
        assert said in ShardScorer(other)(batch)["error"][0]
        if "share" in said or "paths" in said:
            assert said in next(planned(other, {}))["error"]


def test_a_node_that_computes_otherwise_than_the_rows_that_are_there_writes_none(
    sources, tmp_path, monkeypatch, make_scorer
):
    job, scorer = replace(job_for(["photos"], tmp_path), computes="openvino bf16 cpu"), make_scorer(isolate=False)
    with pytest.raises(ConfigError, match=r"computes with 'numpy fp64 cpu', and .* with 'openvino bf16 cpu'"):
        scored(job, monkeypatch, scorer)
    assert finished(job.output) == []
    scored(replace(job, computes="numpy fp64 cpu"), monkeypatch, scorer)
    assert common(job.output, finished(job.output)) == "numpy fp64 cpu"


def test_shards_of_nodes_that_compute_differently_do_not_become_one_file(sources, tmp_path, monkeypatch, make_scorer):
    job, scorer = job_for(["photos"], tmp_path), make_scorer(isolate=False, workers=1)
    scored(job, monkeypatch, scorer)
    (parts_folder(job.output) / finished(job.output)[1].name).unlink()
    scorer.predictor.computes = "numpy fp32 cpu"
    scored(job, monkeypatch, scorer)
    with pytest.raises(ConfigError, match=r"shard 0 .* 'numpy fp64 cpu' and shard 1 with 'numpy fp32 cpu'"):
        common(job.output, finished(job.output))
    assert common(job.output, []) is None


def test_where_rows_cannot_be_written_the_driver_is_told(sources, tmp_path, monkeypatch, make_scorer):
    job = job_for(["photos"], tmp_path)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "write_atomic", full)
    with pytest.raises(ConfigError, match="No space left"):
        scored(job, monkeypatch, make_scorer(isolate=False))
