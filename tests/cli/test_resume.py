"""``mpiqe score --output FILE --resume``: what is there stays, what is missing comes, and it is the same in the end."""

import contextlib
import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mpiqe
from mpiqe.batch import figures, output, parquet_sink
from mpiqe.batch.parquet_sink import parts_folder
from mpiqe.batch.resume import settings_file
from mpiqe.cli.main import main
from mpiqe.scoring import loading

PROGRAM = [sys.executable, str(Path(__file__).with_name("conftest.py"))]
REAL_LOAD = loading.load
FORMS = ("csv", "jsonl", "parquet")
TEXTS_QUICKLY = (*FORMS[:2], pytest.param(FORMS[2], marks=pytest.mark.slow))


@pytest.fixture
def photos(tmp_path):
    """Twelve photos with names to break a file at, one of which is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{i:02}-{name}" for i, name in enumerate(["a, b", 'say "é"', "two\nlines", "ü", "e,\n\n", "plain"] * 2)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "05-broken.jpg").touch()
    return folder


@pytest.fixture
def score(modest_model, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpiqe", "score", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code or 0, without_summary(capsys.readouterr().err)

    return run


def without_summary(err):
    """What is said, but for the line that sums up what was written."""
    return re.sub(r"(?m)^mpiqe: \d+ of \d+ photos scored in .*\n", "", err, count=1)


FAILED = "mpiqe: 1 of 13 photos could not be scored; their rows say why\n"


def content(path):
    return pq.read_table(path).to_pylist() if path.suffix == ".parquet" else path.read_bytes()


@pytest.mark.parametrize("form", ["csv", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_a_file_torn_at_any_byte_becomes_the_same_file(score, photos, tmp_path, form):
    whole, torn = tmp_path / f"whole.{form}", tmp_path / f"torn.{form}"
    assert score(photos, "--output", whole) == (1, FAILED)
    expected = whole.read_bytes()
    chosen = np.random.default_rng(0).integers(len(expected), size=25).tolist()
    for size in [0, 1, 30, len(expected) - 1, len(expected), *chosen]:
        torn.write_bytes(expected[:size])
        shutil.copy(settings_file(whole), settings_file(torn))
        assert score(photos, "--output", torn, "--resume") == (1, FAILED), size
        assert torn.read_bytes() == expected, size


def test_parts_become_the_same_file_whichever_are_there(score, photos, tmp_path, monkeypatch):
    rows, whole, kept = tmp_path / "rows.parquet", tmp_path / "whole.parquet", tmp_path / "kept"
    assert score(photos, "--output", whole)[0] == 1
    monkeypatch.setattr(output, "ParquetSink", partial(parquet_sink.ParquetSink, rows=3))
    with monkeypatch.context() as patches:
        patches.setattr(parquet_sink, "merge", lambda output: None)  # as if killed just before
        assert score(photos, "--output", rows)[0] == 1
    shutil.move(parts_folder(rows), kept)
    assert len(list(kept.iterdir())) == 5
    for number in range(6):
        rows.unlink(missing_ok=True)
        parts_folder(rows).mkdir()
        for part in sorted(kept.iterdir())[:number]:
            shutil.copy(part, parts_folder(rows))
        (parts_folder(rows) / "part-000004.parquet.123.part").write_bytes(b"torn")
        (parts_folder(rows) / "whole").write_bytes(b"torn")
        assert score(photos, "--output", rows, "--resume") == (1, FAILED)
        assert content(rows) == content(whole)
        assert pq.read_schema(rows).equals(pq.read_schema(whole), check_metadata=True)
        assert not parts_folder(rows).exists()


def test_a_finished_output_is_left_alone_and_says_what_failed(score, photos, tmp_path, monkeypatch):
    for form in FORMS:
        rows = tmp_path / f"rows.{form}"
        assert score(photos, "--output", rows) == (1, FAILED)
        before = content(rows)

    def load(*_, **__):
        raise AssertionError("nothing is left to score")

    monkeypatch.setattr(loading, "load", load)
    for form in FORMS:
        rows = tmp_path / f"rows.{form}"
        before = content(rows)
        assert score(photos, "--output", rows, "--resume") == (1, FAILED)
        assert content(rows) == before
        assert not parts_folder(rows).exists()


@pytest.mark.parametrize("form", FORMS)
def test_photos_that_came_later_are_added(score, photos, tmp_path, form):
    rows, whole = tmp_path / f"rows.{form}", tmp_path / f"whole.{form}"
    assert score(photos / "00-a, b.png", photos / "03-ü.png", "--output", rows)[0] == 0
    assert score(photos / "00-a, b.png", photos / "03-ü.png", photos, "--output", rows, "--resume")[0] == 1
    assert score(photos / "00-a, b.png", photos / "03-ü.png", photos, "--output", whole)[0] == 1
    assert content(rows) == content(whole)


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_nothing_there_is_a_beginning(score, photos, tmp_path, form):
    rows = tmp_path / f"rows.{form}"
    assert score(photos / "03-ü.png", "--output", rows, "--resume")[0] == 0
    assert settings_file(rows).exists()
    assert score(photos / "03-ü.png", "--output", rows, "--resume")[0] == 0


@pytest.mark.parametrize("form", FORMS)
def test_other_photos_are_refused_with_the_first_that_differs(score, photos, tmp_path, form):
    rows = tmp_path / f"rows.{form}"
    assert score(photos / "00-a, b.png", photos / "03-ü.png", "--output", rows)[0] == 0
    before = content(rows)
    status, err = score(photos / "00-a, b.png", photos / "05-plain.png", "--output", rows, "--resume")
    assert status == 2
    assert "row 2 is" in err
    assert "03-ü.png" in err
    assert "that photo is now" in err
    assert "05-plain.png" in err
    status, err = score(photos / "00-a, b.png", "--output", rows, "--resume")
    assert status == 2
    assert "there is no such photo any more" in err
    assert content(rows) == before


@pytest.mark.parametrize("form", FORMS)
def test_other_settings_are_refused_by_name(score, photos, tmp_path, form):
    rows = tmp_path / f"rows.{form}"
    assert score(photos / "03-ü.png", "--output", rows, "--seed", 1)[0] == 0
    before = content(rows)
    status, err = score(photos, "--output", rows, "--resume", "--crops", 3)
    assert status == 2
    assert "seed was 1 and is 0" in err
    assert "crops was None and is 3" in err
    settings_file(rows).unlink()
    status, err = score(photos, "--output", rows, "--resume", "--seed", 1)
    assert status == 2
    assert "start anew with --overwrite" in err
    assert content(rows) == before


@pytest.mark.parametrize("name", ["mpiqe.safetensors", "mpiqe.onnx", "mpiqe.xml", "mpiqe.bin", "mpiqe.json"])
def test_another_model_in_the_same_place_is_refused(score, photos, tmp_path, name):
    rows, model = tmp_path / "rows.csv", tmp_path / "model"
    model.mkdir()
    (model / name).write_bytes(b"one")
    assert score(photos / "03-ü.png", "--output", rows, "--weights", model)[0] == 0
    (model / name).write_bytes(b"two")
    status, err = score(photos, "--output", rows, "--resume", "--weights", model)
    assert status == 2
    assert "model was 'blake2b:" in err


def test_settings_that_change_no_row_may_change(score, photos, tmp_path):
    rows = tmp_path / "rows.csv"
    assert score(photos / "03-ü.png", "--output", rows, "--batch-size", 1)[0] == 0
    assert score(photos / "03-ü.png", photos / "03-ü.png", "--output", rows, "--resume", "--workers", 1)[0] == 0


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_rows_that_would_be_computed_otherwise_are_not_added(score, photos, tmp_path, monkeypatch, form):
    rows, modest = tmp_path / f"rows.{form}", loading.load
    assert score(photos / "03-ü.png", "--output", rows)[0] == 0
    before = content(rows)

    def load(*arguments, **options):
        scorer = modest(*arguments, **options)
        scorer.predictor.computes = "numpy bf16 cuda"  # as "auto" resolves on another machine
        return scorer

    monkeypatch.setattr(loading, "load", load)
    status, err = score(photos / "03-ü.png", photos / "05-plain.png", "--output", rows, "--resume")
    assert status == 2
    assert "computes was 'numpy fp64 cpu' and is 'numpy bf16 cuda'" in err
    assert err.count("\n") == 1
    assert content(rows) == before
    assert not parts_folder(rows).exists()
    assert score(photos / "03-ü.png", "--output", rows, "--resume") == (0, "")  # nothing is left to compute


@pytest.mark.slow
def test_what_auto_comes_to_is_what_counts_not_how_it_was_asked_for(photos, tmp_path):
    rows = tmp_path / "rows.jsonl"

    def run(number, *options):
        names = [str(photos / "03-ü.png")] * number
        command = [sys.executable, "-m", "mpiqe", "score", *names, "--crops", "1", "--output", rows, *options]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        return done.returncode, done.stderr.decode()

    assert run(1)[0] == 0
    assert json.loads(settings_file(rows).read_bytes())["computes"] == "onnx fp32 cpu"
    assert run(2, "--resume", "--runtime", "onnx", "--precision", "fp32", "--device", "cpu")[0] == 0
    before = rows.read_bytes()
    status, err = run(3, "--resume", "--runtime", "torch", "--device", "cpu")
    assert status == 2
    assert "computes was 'onnx fp32 cpu' and is 'torch fp32 cpu'" in err
    assert rows.read_bytes() == before


@pytest.mark.parametrize(("form", "text"), [("csv", "name,mark\nx,1\n"), ("jsonl", '{"name": 1}\n'), ("jsonl", "x\n"),
                                            ("parquet", "no Parquet")])  # fmt: skip
def test_a_file_of_somebody_else_is_not_continued(score, photos, tmp_path, form, text):
    rows = tmp_path / f"rows.{form}"
    rows.write_text(text)
    status, err = score(photos, "--output", rows, "--resume")
    assert status == 2
    assert "name another --output" in err
    assert rows.read_text() == text


@pytest.mark.parametrize("arguments", [["--resume"], ["--resume", "--output", "x.txt"],
                                       ["--resume", "--output", "x.csv", "--format", "table"]])  # fmt: skip
def test_resume_needs_a_file_that_scripts_read(score, photos, arguments):
    status, err = score(photos, *arguments)
    assert status == 2
    assert "--resume continues a file" in err


def test_rows_that_were_not_finished_are_not_thrown_away(score, photos, tmp_path):
    rows = tmp_path / "rows.parquet"
    assert score(photos, "--output", rows)[0] == 1
    parts_folder(rows).mkdir()
    shutil.copy(rows, parts_folder(rows) / "part-000000.parquet")  # as if killed while it removed them
    assert score(photos / "03-ü.png", "--output", rows, "--overwrite")[0] == 0
    assert len(content(rows)) == 1
    parts_folder(rows).mkdir()
    rows.rename(parts_folder(rows) / "part-000000.parquet")
    status, err = score(photos, "--output", rows)
    assert status == 2
    assert "continue it with --resume" in err
    assert score(photos, "--output", rows, "--overwrite")[0] == 1
    assert len(content(rows)) == 13
    assert not parts_folder(rows).exists()


@pytest.mark.parametrize("is_new", [False, True], ids=["unfinished", "unfinished-overwrite"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.json"])
def test_an_overwrite_that_cannot_begin_leaves_unfinished_rows(score, photos, tmp_path, monkeypatch, name, is_new):
    rows, whole = tmp_path / name, tmp_path / f"whole.{name}"
    assert score(photos, "--output", whole)[0] == 1
    if is_new:
        assert score(photos / "03-ü.png", "--output", rows)[0] == 0

    def stop(progress):
        if progress.done == 5:
            raise LookupError

    with pytest.raises(LookupError):
        mpiqe.score_to(photos, rows, overwrite=is_new, on_progress=stop)
    (tmp_path / "empty").mkdir()
    before = everything(tmp_path)
    status, err = score(tmp_path / "empty", "--output", rows, "--overwrite")
    assert (status, "there is no image in" in err) == (2, True)
    with monkeypatch.context() as patches:
        patches.setattr(loading, "load", REAL_LOAD)
        status, err = score(photos, "--output", rows, "--overwrite", "--weights", "no/such/run")
    assert (status, "no checkpoint 'no/such/run'" in err) == (2, True)
    assert everything(tmp_path) == before
    assert score(photos, "--output", rows, "--resume") == (1, FAILED)
    assert content(rows) == content(whole)


def test_an_overwrite_that_is_stopped_leaves_the_parts_of_an_unfinished_run(score, photos, tmp_path):
    rows, whole = tmp_path / "rows.parquet", tmp_path / "whole.parquet"
    assert score(photos, "--output", whole)[0] == 1

    def stop(progress):
        if progress.done == 5:
            raise LookupError

    with pytest.raises(LookupError):
        mpiqe.score_to(photos, rows, crops=3, on_progress=stop)
    before = everything(parts_folder(rows))
    assert before
    with pytest.raises(LookupError):
        mpiqe.score_to(photos, rows, overwrite=True, on_progress=stop)
    assert everything(parts_folder(rows)) == before
    assert score(photos, "--output", rows, "--resume") == (1, FAILED)
    assert content(rows) == content(whole)
    assert not parts_folder(rows).exists()
    assert not list(tmp_path.glob("*.new*"))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("rows.csv", "killed"),
        ("rows.parquet", "interrupted"),
        *(pytest.param(name, "killed", marks=pytest.mark.slow) for name in ("rows.json", "rows.parquet", "rows.txt")),
        *(
            pytest.param(name, "interrupted", marks=pytest.mark.slow)
            for name in ("rows.csv", "rows.jsonl", "rows.json", "rows.csv.gz", "rows.txt")
        ),
    ],
)
def test_an_overwrite_that_is_stopped_leaves_the_old_rows_and_goes_on(score, photos, tmp_path, monkeypatch, name, how):
    rows, whole = tmp_path / name, tmp_path / f"whole.{name}"
    assert score(photos / "03-ü.png", "--output", rows, "--seed", 5)[0] == 0
    assert score(photos, "--output", whole)[0] == 1
    before = everything(tmp_path)
    body = (
        "import os, sys, signal\nsys.path.insert(0, sys.argv[1])\nimport conftest\nfrom mpiqe.scoring import loading\n"
        "loading.load = conftest.load\nfrom mpiqe.batch import parquet_sink\nimport mpiqe\n"
        "parquet_sink.ParquetSink.__init__.__kwdefaults__['rows'] = 1\n"
        "def stop(progress):\n    if progress.done == 5: os.kill(os.getpid(), getattr(signal, sys.argv[4]))\n"
        "mpiqe.score_to(sys.argv[2], sys.argv[3], overwrite=True, on_progress=stop)"
    )
    command = [sys.executable, "-c", body, str(Path(__file__).parent), str(photos), str(rows)]
    signal_name = {"killed": "SIGKILL", "interrupted": "SIGINT"}[how]
    assert subprocess.run([*command, signal_name], capture_output=True, check=False).returncode != 0
    after = everything(tmp_path)
    assert {path: after[path] for path in before} == before
    if name != "rows.txt":
        assert any(".new" in str(path) for path in set(after) - set(before))
        status, err = score(photos, "--output", rows)
        assert (status, "not finished; continue it with --resume" in err) == (2, True)
        assert score(photos, "--output", rows, "--resume") == (1, FAILED)
    else:
        assert score(photos, "--output", rows, "--overwrite") == (1, FAILED)
    assert content(rows) == content(whole)
    assert not list(tmp_path.glob("*.new*"))
    if name != "rows.txt":
        assert settings_file(rows).read_bytes() == settings_file(whole).read_bytes()


def test_a_kill_between_rows_and_their_settings_is_made_good(score, photos, tmp_path):
    rows = tmp_path / "rows.csv"
    assert score(photos / "03-ü.png", "--output", rows, "--seed", 5)[0] == 0
    settings_file(rows).rename(settings_file(tmp_path / "rows.csv.new"))
    settings_file(rows).write_text("{}")  # of the rows that were there before
    assert score(photos / "03-ü.png", photos / "05-plain.png", "--output", rows, "--seed", 5, "--resume") == (0, "")
    assert not settings_file(tmp_path / "rows.csv.new").exists()


def test_the_suffix_says_the_format(score, photos, tmp_path):
    for name, start in (("a.csv", b"path,score"), ("a.JSONL", b'{"path"'), ("a.parquet", b"PAR1"), ("a.txt", b"grey")):
        score(photos, "--output", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    score(photos, "--output", tmp_path / "b.csv", "--format", "jsonl")
    assert json.loads((tmp_path / "b.csv").read_text().splitlines()[0])["score"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_written_to_and_has_nothing_beside_it(photos, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with subprocess.Popen([*PROGRAM, "score", str(photos), "--output", pipe], stderr=subprocess.PIPE) as process:
        lines = pipe.read_text()
        assert process.wait(60) == 1
    assert lines.startswith("path,score")
    assert not settings_file(pipe).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "pipe.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.parametrize("options", [
    ["--output", "/dev/stdout", "--format", "json"], pytest.param(["--output", "pipe.json"], marks=pytest.mark.slow)
])  # fmt: skip
def test_an_array_is_one_in_a_pipe_too(photos, tmp_path, options):
    os.mkfifo(tmp_path / "pipe.json")
    command = [*PROGRAM, "score", str(photos), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout
        content = process.stdout.read() if "--format" in options else (tmp_path / "pipe.json").read_bytes()
        assert process.wait(60) == 1
    assert len(json.loads(content)) == len(list(photos.iterdir()))


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.gz", "rows.parquet"])
def test_a_pipe_takes_nothing_that_is_made_at_the_end(score, photos, tmp_path, name):
    os.mkfifo(tmp_path / name)
    status, err = score(photos, "--output", tmp_path / name)
    assert (status, "is no regular file" in err) == (2, True)
    assert (tmp_path / name).is_fifo()


def test_parquet_needs_a_file(score, photos):
    assert score(photos, "--format", "parquet") == (2, "mpiqe: parquet is for a file: give --output FILE\n")


def test_pictures_keep_their_names_over_a_kill(score, photos, tmp_path, monkeypatch):
    """Names given to pictures count on from those of the rows that are there."""
    placed = []
    monkeypatch.setattr(figures.FigureFolder, "place", lambda self, photo: placed.append(photo.name))
    rows = tmp_path / "rows.csv"
    assert score(photos, "--output", rows)[0] == 1
    assert score(photos, "--output", rows, "--resume", "--explain", tmp_path / "why")[0] == 1
    assert len(placed) == 12
    assert not any("broken" in path for path in placed)


@pytest.mark.slow  # what is torn or killed is continued in the quick tests above
@pytest.mark.parametrize("form", FORMS)
def test_killed_runs_go_on_to_the_same_file(photos, tmp_path, form):
    list_of_photos = tmp_path / "list.txt"
    list_of_photos.write_text(f"{photos / '03-ü.png'}\n{photos / '05-broken.jpg'}\n" * 150)
    whole, killed = tmp_path / f"whole.{form}", tmp_path / f"killed.{form}"
    command = [*PROGRAM, "score", f"@{list_of_photos}", "--batch-size", "1", "--output"]
    started = time.monotonic()
    assert subprocess.run([*command, whole], capture_output=True, check=False).returncode == 1
    took = time.monotonic() - started
    moments = np.random.default_rng(0)
    for number in range(4):
        with subprocess.Popen([*command, killed, "--resume"], stderr=subprocess.PIPE) as process:
            time.sleep(took * moments.uniform(0.4, 0.95))
            process.send_signal(signal.SIGKILL if number < 3 else signal.SIGINT)
            err = process.stderr.read()
        if number == 3 and process.returncode == 130:
            assert b"Traceback" not in err
    assert subprocess.run([*command, killed, "--resume"], capture_output=True, check=False).returncode == 1
    assert content(killed) == content(whole)


@pytest.fixture
def busy(photos):
    """Starts a run that has begun its output, and waits for its next photo."""

    def begun(output):
        return parts_folder(output).exists() or output.exists()

    @contextlib.contextmanager
    def start(output, *options):
        command = [*PROGRAM, "score", "-", "--batch-size", "1", "--output", output, *options]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdin.write(f"{photos / '03-ü.png'}\n".encode() * 3)
            process.stdin.flush()
            deadline = time.monotonic() + 120
            while not begun(output) and time.monotonic() < deadline:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            assert begun(output)
            before, now = None, everything(output.parent)
            while before != now:  # it still writes
                time.sleep(1)
                before, now = now, everything(output.parent)
            try:
                yield process
            finally:
                process.stdin.close()
                process.wait(60)

    return start


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["rows.csv", *(pytest.param(f"rows.{form}", marks=pytest.mark.slow) for form in ("jsonl", "parquet", "txt"))],
)
def test_a_second_run_does_not_touch_what_the_first_is_writing(score, photos, tmp_path, busy, name):
    rows = tmp_path / name
    with busy(rows) as first:
        before = everything(tmp_path)
        for options in ([], ["--resume"] if name != "rows.txt" else []):
            status, err = score(photos / "03-ü.png", "--output", rows, *options)
            assert status == 2
            assert err.startswith(f"mpiqe: {rows} is being written by another run (process {first.pid} on ")
            assert err.count("\n") == 1
            assert everything(tmp_path) == before
        other = tmp_path / f"other-{name}"
        assert score(photos / "03-ü.png", "--output", other) == (0, "")
    assert first.returncode == 0
    assert not list(tmp_path.glob("*.lock"))
    if name != "rows.txt":
        assert score(*[photos / "03-ü.png"] * 3, "--output", rows, "--resume") == (0, "")  # all is there


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
def test_a_run_that_was_killed_keeps_nobody_out(score, photos, tmp_path, busy, form):
    rows = tmp_path / f"rows.{form}"
    with busy(rows) as first:
        first.kill()
        first.wait(60)
        assert score(*[photos / "03-ü.png"] * 4, "--output", rows, "--resume") == (0, "")
    assert (len(content(rows)) if form == "parquet" else content(rows).count(b"photos/03-")) == 4
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_where_there_are_no_locks_a_run_goes_on_without(score, photos, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    rows = tmp_path / "rows.csv"
    assert score(photos / "03-ü.png", "--output", rows) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "photos",
        "rows.csv",
        "rows.csv.run.json",
        "rows.csv.run.photos",
    ]


@pytest.mark.slow
def test_a_file_is_locked_by_whatever_name_it_is_given(score, photos, tmp_path, busy):
    rows, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    link.symlink_to(rows)
    with busy(rows):
        status, err = score(photos / "03-ü.png", "--output", link)
    assert status == 2
    assert "is being written by another run" in err


@pytest.mark.slow
def test_an_interrupt_keeps_every_row_and_says_how_to_go_on(photos, tmp_path):
    rows = tmp_path / "rows.parquet"
    command = [*PROGRAM, "score", "-", "--batch-size", "1", "--output", rows]
    line, given = f"{photos / '03-ü.png'}\n".encode(), 50
    with subprocess.Popen([*command], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not list(parts_folder(rows).glob("part-*.parquet")) and time.monotonic() < deadline:
            process.stdin.write(line)  # a row that comes a second after the beginning has the first part written
            process.stdin.flush()
            given += 1
            time.sleep(0.01)
        process.stdin.write(line * 50)  # so that some are under way
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        err = process.stderr.read().decode()
        assert process.wait(60) == 130
    number = sum(pq.read_metadata(part).num_rows for part in parts_folder(rows).glob("part-*.parquet"))
    assert number > 0
    assert err == f"mpiqe: interrupted, {number} rows are written; the same command with --resume goes on from there\n"
    done = subprocess.run([*command, "--resume"], input=line * given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(rows).num_rows == given
    assert not parts_folder(rows).exists()


def test_rows_of_two_views_do_not_mix_and_rows_of_a_version_without_views_go_on(score, photos, tmp_path):
    rows, one, two = tmp_path / "rows.csv", photos / "03-ü.png", photos / "05-plain.png"
    assert score(one, "--output", rows, "--view-side", 36)[0] == 0
    status, err = score(one, two, "--output", rows, "--resume")
    assert status == 2
    assert "view_side was 36 and is None" in err
    status, err = score(one, two, "--output", rows, "--resume", "--view-side", 36, "--crop-mode", "grid")
    assert "crop_mode was None and is 'grid'" in err
    assert score(one, "--output", rows, "--overwrite")[0] == 0
    told = json.loads(settings_file(rows).read_text())
    del told["view_side"], told["crop_mode"]
    settings_file(rows).write_text(json.dumps(told))
    assert score(one, two, "--output", rows, "--resume")[0] == 0


def _as_before(rows, columns):
    """Rewrite an output as it was before rows had these columns."""
    if rows.suffix == ".parquet":
        table = pq.read_table(rows)
        pq.write_table(table.drop_columns(list(columns)), rows)
    elif rows.suffix == ".csv":
        with rows.open(newline="") as file:
            header, *lines = list(csv.reader(file))
        kept = [number for number, name in enumerate(header) if name not in columns]
        with rows.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([line[n] for n in kept] for line in [header, *lines])
    else:
        values = [json.loads(line) for line in rows.read_text().splitlines()]
        kept = [{key: value for key, value in row.items() if key not in columns} for row in values]
        rows.write_text("".join(json.dumps(row) + "\n" for row in kept))


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_rows_without_the_columns_of_the_interval_are_not_continued(score, photos, tmp_path, form):
    rows = tmp_path / f"rows.{form}"
    assert score(photos / "03-ü.png", photos / "05-plain.png", "--output", rows)[0] == 0
    _as_before(rows, ("quality", "interval_low", "interval_high"))
    before = rows.read_bytes()
    status, err = score(photos / "03-ü.png", photos / "05-plain.png", photos, "--output", rows, "--resume")
    assert status == 2
    assert "written by an earlier mpiqe, without the columns interval_low and interval_high" in err
    assert "name another --output, or start anew with --overwrite" in err
    assert err.count("\n") == 1
    assert rows.read_bytes() == before


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_rows_without_a_quality_are_continued_without_one(score, photos, tmp_path, form):
    rows, whole = tmp_path / f"rows.{form}", tmp_path / f"whole.{form}"
    assert score(photos / "00-a, b.png", photos / "03-ü.png", "--output", rows)[0] == 0
    _as_before(rows, ("quality",))
    assert score(photos / "00-a, b.png", photos / "03-ü.png", photos, "--output", rows, "--resume")[0] == 1
    assert score(photos / "00-a, b.png", photos / "03-ü.png", photos, "--output", whole)[0] == 1
    _as_before(whole, ("quality",))
    assert content(rows) == content(whole)


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_another_version_of_the_model_is_refused_by_name(score, photos, tmp_path, monkeypatch, form):
    rows, modest = tmp_path / f"rows.{form}", loading.load

    def released(number):
        def load(*arguments, **options):
            scorer = modest(*arguments, **options)
            scorer.predictor.scale = replace(scorer.scale, model=f"mpiqe-embedded {number}")
            return scorer

        return load

    monkeypatch.setattr(loading, "load", released(2))
    assert score(photos / "03-ü.png", "--output", rows)[0] == 0
    assert json.loads(settings_file(rows).read_bytes())["version"] == "mpiqe-embedded 2"
    assert score(photos / "03-ü.png", photos / "05-plain.png", "--output", rows, "--resume") == (0, "")
    before = content(rows)
    monkeypatch.setattr(loading, "load", released(3))
    status, err = score(photos / "03-ü.png", photos / "05-plain.png", photos, "--output", rows, "--resume")
    assert status == 2
    assert "version was 'mpiqe-embedded 2' and is 'mpiqe-embedded 3'" in err
    assert content(rows) == before
