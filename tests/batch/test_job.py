"""``mpiqe.score_to`` from Python: scripts, a running event loop, callbacks, exceptions instead of exit codes."""

import asyncio
import csv
import io
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mpiqe
from mpiqe import ConfigError, JobInterrupted, JobResult, Progress, WeightsError
from mpiqe.batch.interrupts import Interrupts
from mpiqe.batch.resume import settings_file
from mpiqe.scoring import loading
from mpiqe.sources.photo import Photo

SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "cli")!r})
import conftest
from mpiqe.scoring import loading
loading.load = conftest.load

import mpiqe
{{body}}
"""
ROWS = JobResult(rows=4, failed=1)


@pytest.fixture(autouse=True)
def _modest(modest_model):
    pass


def run_script(tmp_path, body):
    """What a script of a user, without a guard around its lines, prints."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(body=body))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr == ""
    return done.stdout.split()


def scores(path):
    return [row["score"] for row in csv.DictReader(path.read_text().splitlines())]


def test_a_plain_script_without_a_guard_scores_a_folder(tmp_path, folder):
    output = tmp_path / "rows.csv"
    body = f"result = mpiqe.score_to({str(folder)!r}, {str(output)!r})\nprint(result.rows, result.failed)"
    assert run_script(tmp_path, body) == ["4", "1"]
    assert scores(output) == ["50.0", "100.0", "", "200.0"]
    assert not list(tmp_path.glob("*.lock"))


def test_a_running_event_loop_is_no_obstacle(tmp_path, folder):
    async def cell():
        return mpiqe.score_to(folder, tmp_path / "rows.parquet")

    with ThreadPoolExecutor(1) as thread:  # pytest's own may have a loop already: playwright's
        assert thread.submit(asyncio.run, cell()).result() == ROWS
    assert (tmp_path / "rows.parquet").is_file()


def test_a_thread_other_than_the_main_one_can_run_a_job(tmp_path, folder):
    results = []
    thread = threading.Thread(target=lambda: results.append(mpiqe.score_to(folder, tmp_path / "rows.csv")))
    thread.start()
    thread.join()
    assert results == [ROWS]


def test_progress_is_told_at_the_start_and_after_every_row(tmp_path, folder):
    told = []
    assert mpiqe.score_to([folder], tmp_path / "rows.csv", on_progress=told.append) == ROWS
    assert [(step.done, step.failed) for step in told] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]
    assert told[0].row is None
    assert [Path(step.row.path).name for step in told[1:]] == ["a.png", "b.png", "c.jpg", "d.png"]
    assert told[-1].total == 4
    assert isinstance(told[0], Progress)


def test_inputs_are_counted_only_where_that_is_wanted(tmp_path, folder):
    told = []
    mpiqe.score_to(folder, tmp_path / "rows.csv", on_progress=told.append, count_total=False)
    assert {step.total for step in told} == {None}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_a_callback_raises_ends_the_job_and_the_rest_is_added_later(tmp_path, folder, form):
    whole, stopped = tmp_path / f"whole.{form}", tmp_path / f"stopped.{form}"
    mpiqe.score_to(folder, whole)

    def stop(progress):
        if progress.done == 2:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        mpiqe.score_to(folder, stopped, on_progress=stop)
    told = []
    assert mpiqe.score_to(folder, stopped, resume=True, on_progress=told.append) == ROWS
    assert [step.done for step in told] == [2, 3, 4]
    if form == "parquet":
        assert stopped.stat().st_size
    else:
        assert stopped.read_bytes() == whole.read_bytes()


def test_an_interrupt_says_how_many_rows_are_written_and_tears_none(tmp_path, folder, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:

        def interrupt(progress):
            if progress.done == 2:
                signal.raise_signal(signal.SIGINT)
                seen.append(progress.done)  # the row that is being written is finished first

        seen = []
        with pytest.raises(JobInterrupted, match="2 rows are written") as caught:
            mpiqe.score_to(folder, tmp_path / "rows.csv", on_progress=interrupt)
        assert (caught.value.rows, caught.value.can_resume, seen) == (2, True, [2])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert mpiqe.score_to(folder, tmp_path / "rows.csv", resume=True) == ROWS
    assert scores(tmp_path / "rows.csv") == ["50.0", "100.0", "", "200.0"]


def test_a_program_s_own_handler_gets_the_interrupt_that_waited():
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append("handled"))
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            with interrupts.held():
                signal.raise_signal(signal.SIGINT)
                came.append("finished")
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == ["handled", "finished", "handled"]


def test_a_stream_gets_rows_too(folder):
    stream = io.StringIO()
    assert mpiqe.score_to(folder / "a.png", stream, file_format="csv") == JobResult(rows=1, failed=0)
    assert [row["score"] for row in csv.DictReader(io.StringIO(stream.getvalue()))] == ["50.0"]
    table = io.StringIO()
    mpiqe.score_to(folder / "a.png", table)
    assert "grey levels" in table.getvalue()


def test_what_is_wrong_is_an_exception(tmp_path, folder, monkeypatch):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "rows.csv"
    for sources, options, reason in (
        (tmp_path / "empty", {}, "there is no image in "),
        ([], {}, "there is no image in "),
        (folder, {"max_bytes": 0}, "must be above 0"),
        (folder, {"engine": "spark"}, "engine must be local or ray, not 'spark'"),
        (folder, {"engine": "ray", "device": "cuda"}, "scores on processors"),
        (
            folder,
            {"file_format": "xml"},
            "file_format must be one of table, csv, .*, not 'xml'",
        ),
        (folder, {"file_format": "table", "resume": True}, "continues a file"),
        (folder, {"figures": folder}, "lies in the folder that figures are to be written to"),
        (f"@{tmp_path / 'no-list'}", {}, "cannot read the list"),
    ):
        with pytest.raises(ConfigError, match=reason):
            mpiqe.score_to(sources, output, **options)
        assert not output.exists()
    with pytest.raises(ConfigError, match="holds an image"):
        mpiqe.score_to(folder, folder / "a.png")

    def load(**_):
        raise WeightsError("damaged")

    monkeypatch.setattr(loading, "load", load)
    with pytest.raises(WeightsError, match="damaged"):
        mpiqe.score_to(folder, output)


def test_nothing_is_printed(tmp_path, folder, capfd):
    mpiqe.score_to(folder, tmp_path / "rows.csv", on_progress=lambda progress: None)
    assert capfd.readouterr() == ("", "")


def test_the_command_and_python_continue_each_other(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder / "a.png", output)
    program = [sys.executable, str(Path(__file__).parents[1] / "cli" / "conftest.py"), "score", "--resume"]
    done = subprocess.run(
        [*program, str(folder / "a.png"), str(folder), "--output", str(output)], check=False, timeout=300
    )
    assert done.returncode == 1
    assert mpiqe.score_to([folder / "a.png", folder], output, resume=True) == JobResult(rows=5, failed=1)
    assert settings_file(output).is_file()


def test_photos_of_every_kind_have_the_same_few_methods(tmp_path):
    from mpiqe.sources.find import find

    (tmp_path / "list").write_text("http://u:secret@x.invalid/a.jpg\nno-*.png\nb.jpg\n")
    photos = list(find([f"@{tmp_path / 'list'}"], stdin=io.BytesIO()))
    assert {type(photo) for photo in photos} == {Photo}
    assert [photo.name for photo in photos] == ["http://x.invalid/a.jpg", "no-*.png", "b.jpg"]
    assert "secret" not in repr(photos)
    assert [sorted(photo.to_json()) for photo in photos] == [["http", "own"], ["reason", "unreadable"], ["file"]]
    for photo in photos[1:]:
        with pytest.raises(mpiqe.ImageError) as error:
            photo.read()
        assert (error.value.name, str(error.value)) == (photo.name, f"{photo.name}: {error.value.reason}")
