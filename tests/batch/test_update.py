"""``--update``: rows of unchanged photos stay, new ones are scored, vanished ones go; a kill loses nothing."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.batch.test_job import SCRIPT

import mpiqe
from mpiqe import ConfigError, JobResult
from mpiqe.batch.selection import Selection
from mpiqe.batch.signatures import signatures_file
from mpiqe.batch.sinks import COLUMNS_WITHOUT_QUALITY
from mpiqe.batch.summary import Summary
from mpiqe.sources import local

FORMS = ("csv", "jsonl", "parquet")
TEXTS_QUICKLY = (*FORMS[:2], pytest.param(FORMS[2], marks=pytest.mark.slow))


@pytest.fixture(autouse=True)
def _modest(modest_model):
    pass


@pytest.fixture
def folder(tmp_path):
    """Six photos, the brighter the later."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in range(10, 70, 10):
        save(folder / f"p{level}.png", level)
    return folder


def save(path, level, size=(60, 40)):
    Image.new("RGB", size, (level,) * 3).save(path)


def rows_of(output):
    """The rows as a fresh reader sees them."""
    if output.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(output).to_pylist()
    return output.read_text().splitlines()


def beside(output):
    """What an update has left beside an output, but for its settings and signatures."""
    usual = {output.name, f"{output.name}.run.json", f"{output.name}.run.photos"}
    return sorted(path.name for path in output.parent.glob(f"{output.name}*") if path.name not in usual)


@pytest.mark.parametrize("form", FORMS)
def test_an_update_gives_the_rows_of_a_new_run_and_scores_what_changed_alone(tmp_path, folder, form):
    output = tmp_path / f"rows.{form}"
    assert mpiqe.score_to(folder, output, update=True) == JobResult(6, 0)
    save(folder / "a.png", 5)  # sorts first
    save(folder / "p20.png", 220)  # changed
    (folder / "p30.png").unlink()
    (folder / "z.png").touch()  # sorts last, and cannot be read
    told = []
    result = mpiqe.score_to(folder, output, update=True, on_progress=told.append)
    assert result == JobResult(rows=7, failed=1, kept=4, dropped=1)
    assert [step.done for step in told] == list(range(8))
    mpiqe.score_to(folder, tmp_path / f"new.{form}")
    assert rows_of(output) == rows_of(tmp_path / f"new.{form}")
    assert beside(output) == []
    save(folder / "z.png", 250)  # what failed is tried again
    assert mpiqe.score_to(folder, output, update=True) == JobResult(rows=7, failed=0, kept=6, dropped=0)
    assert mpiqe.score_to(folder, output, update=True) == JobResult(rows=7, failed=0, kept=7, dropped=0)
    assert mpiqe.score_to(folder, output, resume=True) == JobResult(rows=7, failed=0)


def test_a_file_of_the_same_size_with_another_time_is_scored_again(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output)
    state = (folder / "p10.png").stat()
    os.utime(folder / "p10.png", ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert mpiqe.score_to(folder, output, update=True).kept == 5


def test_without_signatures_or_with_those_of_other_rows_all_is_scored(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output)
    before = output.read_bytes()
    for path in folder.iterdir():
        save(path, 99)
    mpiqe.score_to(folder, output, update=True)
    output.write_bytes(before)  # as if a kill had left the old rows beside the new signatures
    assert mpiqe.score_to(folder, output, update=True).kept == 0
    assert rows_of(output)[1].split(",")[1] == "99.0"
    signatures_file(output).unlink()
    assert mpiqe.score_to(folder, output, update=True).kept == 0
    assert mpiqe.score_to(folder, output, update=True).kept == 6


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_rows_of_a_version_without_a_quality_are_made_anew(tmp_path, folder, form, monkeypatch):
    output = tmp_path / f"rows.{form}"
    with monkeypatch.context() as patches:
        patches.setattr("mpiqe.batch.output.COLUMNS", COLUMNS_WITHOUT_QUALITY)
        mpiqe.score_to(folder, output)
    save(folder / "z.png", 250)
    mpiqe.score_to(folder, output, resume=True)
    assert mpiqe.score_to(folder, output, update=True) == JobResult(rows=7, failed=0, kept=0, dropped=0)
    mpiqe.score_to(folder, tmp_path / f"new.{form}")
    assert rows_of(output) == rows_of(tmp_path / f"new.{form}")


def test_rows_of_other_settings_are_not_mixed(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output)
    before = output.read_bytes()
    with pytest.raises(ConfigError, match="seed was 0 and is 1"):
        mpiqe.score_to(folder, output, update=True, seed=1)
    (tmp_path / "foreign.csv").write_text("path,mos\n")
    with pytest.raises(ConfigError, match="nobody knows how it was made"):
        mpiqe.score_to(folder, tmp_path / "foreign.csv", update=True)
    for options, reason in (
        ({"resume": True}, "give one of them"),
        ({"engine": "ray"}, "leave --engine ray away"),
        ({"figures": tmp_path / "why"}, "leave --update away"),
        ({"overwrite": True}, "--update keeps the rows of unchanged photos"),
        ({"selection": Selection(worst="2")}, "--update brings all rows up to date: leave --min-score"),
        ({"file_format": "table"}, "--update needs a file of this machine"),
    ):
        with pytest.raises(ConfigError, match=reason):
            mpiqe.score_to(folder, output, update=True, **options)
    with pytest.raises(ConfigError, match="--update needs a file of this machine"):
        mpiqe.score_to(folder, io.StringIO(), update=True, file_format="csv")
    assert output.read_bytes() == before
    assert beside(output) == []


def test_an_empty_file_is_a_beginning(tmp_path, folder):
    (tmp_path / "rows.csv").touch()
    assert mpiqe.score_to(folder, tmp_path / "rows.csv", update=True) == JobResult(6, 0)
    assert mpiqe.score_to(folder, tmp_path / "rows.csv", update=True) == JobResult(6, 0, kept=6)


def test_an_update_sums_up_all_rows_as_a_new_run_does(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output, exclude=["p10.png"])
    save(folder / "z.png", 250)
    told = []
    result = mpiqe.score_to(folder, output, update=True, exclude=["p10.png"], on_progress=told.append)
    assert result.summary == mpiqe.score_to(folder, tmp_path / "new.csv", exclude=["p10.png"]).summary
    assert result.summary == Summary(45.0, 20.0, str(folder / "p20.png"))
    assert told[-1].total == 6


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whether a line has come")
def test_rows_of_paths_that_have_come_wait_for_no_further_path(tmp_path, folder):
    output, program = tmp_path / "rows.csv", Path(__file__).parents[1] / "cli" / "conftest.py"
    mpiqe.score_to(folder / "p10.png", output)
    command = [sys.executable, str(program), "score", "-", "--update", "--output", str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            process.stdin.write("".join(f"{folder / name}\n" for name in ("p10.png", "p20.png", "p30.png")))
            process.stdin.flush()
            part, until = tmp_path / "rows.csv.update-1", time.monotonic() + 60
            while not (part.exists() and part.read_text().count("\n") == 4):
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            process.stdin.close()
        assert process.wait(60) == 0
    assert output.read_text().count("\n") == 4


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_rows_that_wait_to_replace_the_output_are_finished_first(tmp_path, folder, form):
    output = tmp_path / f"rows.{form}"
    mpiqe.score_to(folder, output)
    before = output.read_bytes()

    def stop(step):
        if step.done == 3:
            raise LookupError

    with pytest.raises(LookupError):
        mpiqe.score_to(folder, output, overwrite=True, on_progress=stop)
    with pytest.raises(ConfigError, match=rf"rows\.{form}\.new has the rows of a run that was not finished"):
        mpiqe.score_to(folder, output, update=True)
    assert output.read_bytes() == before
    assert mpiqe.score_to(folder, output, resume=True) == JobResult(6, 0)
    assert mpiqe.score_to(folder, output, update=True) == JobResult(6, 0, kept=6)


def test_an_update_takes_the_settings_of_rows_that_a_kill_has_parted_from_them(tmp_path, folder):
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output, crops=2)
    mpiqe.score_to(folder, tmp_path / "rows.csv.new", crops=3, file_format="csv")
    (tmp_path / "rows.csv.new").replace(output)
    assert mpiqe.score_to(folder, output, crops=3, update=True) == JobResult(6, 0, kept=6)


def test_a_folder_that_is_empty_or_cannot_be_listed_drops_no_rows(tmp_path, folder, monkeypatch):
    output = tmp_path / "rows.csv"
    (folder / "sub").mkdir()
    save(folder / "sub" / "s.png", 1)
    mpiqe.score_to(folder, output)
    before = output.read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="left as they are"):
        mpiqe.score_to(tmp_path / "empty", output, update=True)
    listing = local.listing

    def failing(folder):
        if str(folder).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(local, "listing", failing)
    with pytest.raises(ConfigError, match=r"sub cannot be listed"):
        mpiqe.score_to(folder, output, update=True)
    assert output.read_bytes() == before


@pytest.fixture
def two(tmp_path, folder, monkeypatch):
    """An output with six rows of ``photos`` and three of ``b``, folders in the working directory."""
    (tmp_path / "b").mkdir()
    for level in (10, 20, 30):
        save(tmp_path / "b" / f"p{level}.png", level)
    monkeypatch.chdir(tmp_path)
    mpiqe.score_to(["photos", "b"], "rows.csv")
    return tmp_path / "rows.csv"


def unmount(folder):
    """Leave the folder empty, as where a disk is not mounted."""
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()


def refused(sources, output, match, **options):
    """Whether an update ends with such an error and leaves all as it was."""
    before = {path.name: path.read_bytes() for path in output.parent.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match=match):
        mpiqe.score_to(sources, output, update=True, **options)
    after = {path.name: path.read_bytes() for path in output.parent.iterdir() if path.is_file()}
    return {name: after[name] for name in before} == before


@pytest.mark.parametrize("path", ["b", "./b", "b/", "{tmp_path}/b", "b/*.png", "{{b,c}}"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
def test_a_path_of_several_that_has_nothing_any_more_drops_no_rows(two, path, is_first):
    path = path.format(tmp_path=two.parent)
    if "{" in path:
        (two.parent / "c").mkdir()
    sources = [path, "photos"] if is_first else ["photos", path]
    unmount(two.parent / "b")
    assert refused(sources, two, r"there is nothing to score in .*b.*, and .*rows\.csv has rows of it")
    assert beside(two) == []
    if "{" not in path:
        (two.parent / "b").rmdir()
        assert refused(sources, two, r"b/?(\*\.png, and | is not there, so the rows of )")
        assert beside(two) == []
    assert mpiqe.score_to("photos", two, update=True) == JobResult(6, 0, kept=6, dropped=3)  # it is not named any more


def test_a_path_that_is_not_there_and_was_never_scored_drops_no_rows(two, monkeypatch):
    (two.parent / "cwd").mkdir()
    monkeypatch.chdir(two.parent / "cwd")  # where "photos" is something else
    for path in ("photos", "x.png", "x.tar"):
        assert refused(path, two, rf"{path} is not there, so the rows of .*rows\.csv are left as they are")
        assert refused([two.parent / "photos", path], two, rf"{path} is not there")
    assert beside(two) == []


def test_an_archive_and_a_link_that_lead_nowhere_drop_no_rows(tmp_path, folder):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder / "p10.png", "p10.png")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "list").write_text(f"{tmp_path / 'a.tar'}\n{tmp_path / 'link'}\n")
    output = tmp_path / "rows.jsonl"
    mpiqe.score_to(f"@{tmp_path / 'list'}", output)
    for path in (tmp_path / "a.tar", folder):
        path.rename(tmp_path / "elsewhere")
        assert refused(f"@{tmp_path / 'list'}", output, "is not there, so the rows of")
        (tmp_path / "elsewhere").rename(path)
    assert mpiqe.score_to(f"@{tmp_path / 'list'}", output, update=True) == JobResult(7, 0, kept=7)


@pytest.mark.parametrize("named", ["folders", "files"])
@pytest.mark.parametrize("is_there", [True, False], ids=["void", "missing"])
def test_a_list_of_what_lies_on_a_disk_that_is_not_mounted_drops_no_rows(two, named, is_there):
    files = sorted(two.parent.glob("photos/*")) + sorted(two.parent.glob("b/*"))
    listed = files if named == "files" else [two.parent / "photos", two.parent / "b"]
    (two.parent / "list").write_text("".join(f"{path}\n" for path in listed))
    mpiqe.score_to("@list", two, update=True)
    unmount(two.parent / "b")
    if not is_there:
        (two.parent / "b").rmdir()
    assert refused("@list", two, "nothing to score in .*b, and" if named == "folders" and is_there else "is not there")
    if named == "files":
        assert refused(files, two, "p10.png is not there")


def test_a_folder_that_is_emptied_during_an_update_drops_no_rows(two):
    save(two.parent / "photos" / "new.png", 1)

    def empty(step):
        if step.done == 0:
            unmount(two.parent / "b")

    assert refused(["photos", "b"], two, "there is nothing to score in b, and", on_progress=empty)


def test_a_named_photo_that_was_deleted_gets_the_row_of_a_new_run(two, tmp_path):
    files = [f"b/p{level}.png" for level in (10, 20, 30)]
    mpiqe.score_to(["photos", *files], two, update=True)
    (tmp_path / "b" / "p20.png").unlink()
    for sources in (["photos", *files], ["photos", "missing/*.png", "photos/*.tif", *files]):
        (tmp_path / "list").write_text("\n".join(sources))
        for named in (sources, "@list"):
            result = mpiqe.score_to(named, two, update=True)
            assert (result.failed, result.kept) == (1 if sources[1:] == files else 3, 8)
    mpiqe.score_to("@list", tmp_path / "new.csv")
    assert rows_of(two) == rows_of(tmp_path / "new.csv")
    assert mpiqe.score_to(["photos", "b"], two, update=True).dropped == 3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
def test_a_kill_leaves_the_output_as_it_was_and_the_next_update_goes_on(tmp_path, folder, form):
    output = tmp_path / f"rows.{form}"
    mpiqe.score_to(folder, output)
    before = rows_of(output)
    for level in range(11, 41, 1):
        save(folder / f"n{level}.png", level)
    kill = "lambda step: step.done >= {} and time.sleep(1.2) is None and os.kill(os.getpid(), 9)"
    for rows in (12, 18):
        script = tmp_path / "script.py"
        body = (
            f"import os, time\nmpiqe.score_to({str(folder)!r}, {str(output)!r}, update=True, batch_size=1, workers=1, "
            f"on_progress={kill.format(rows)})"
        )
        script.write_text(SCRIPT.format(body=body))
        done = subprocess.run([sys.executable, script], check=False, timeout=300)
        assert done.returncode == -signal.SIGKILL
        assert rows_of(output) == before
    result = mpiqe.score_to(folder, output, update=True)
    assert (result.rows, result.failed, result.dropped) == (36, 0, 0)
    assert result.kept >= 6 + (10 if form != "parquet" else 0)  # Parquet's rows are on the disk part by part
    mpiqe.score_to(folder, tmp_path / f"new.{form}")
    assert rows_of(output) == rows_of(tmp_path / f"new.{form}")
    assert beside(output) == []


@pytest.mark.parametrize("form", TEXTS_QUICKLY)
def test_a_run_that_was_stopped_is_updated(tmp_path, folder, form):
    output = tmp_path / f"rows.{form}"

    class StopError(Exception):
        pass

    def stop(step):
        if step.done == 4:
            raise StopError

    with pytest.raises(StopError):
        mpiqe.score_to(folder, output, on_progress=stop)
    save(folder / "a.png", 5)
    assert mpiqe.score_to(folder, output, update=True) == JobResult(rows=7, failed=0, kept=4, dropped=0)
    assert len(rows_of(output)) == 7 + (form == "csv")
    assert beside(output) == []


def test_an_archive_that_has_changed_is_scored_again(tmp_path, folder):
    def pack(names):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name in names:
                archive.add(folder / name, name)

    output = tmp_path / "rows.jsonl"
    pack(["p10.png", "p20.png"])
    sources = [tmp_path / "a.tar", folder / "p60.png"]
    mpiqe.score_to(sources, output)
    assert mpiqe.score_to(sources, output, update=True) == JobResult(rows=3, failed=0, kept=3, dropped=0)
    pack(["p10.png", "p20.png", "p30.png"])
    assert mpiqe.score_to(sources, output, update=True) == JobResult(rows=4, failed=0, kept=1, dropped=0)


def test_names_that_csv_quotes_and_that_are_not_utf_8_are_kept(tmp_path, folder):
    for name in ('a, "b"\n.png', os.fsdecode(b"caf\xe9.png")):
        save(folder / name, 77)
    output = tmp_path / "rows.csv"
    mpiqe.score_to(folder, output)
    before = output.read_bytes()
    save(folder / "0.png", 1)
    assert mpiqe.score_to(folder, output, update=True) == JobResult(rows=9, failed=0, kept=8, dropped=0)
    lines = before.splitlines(keepends=True)
    assert output.read_bytes() == lines[0] + output.read_bytes().splitlines(keepends=True)[1] + b"".join(lines[1:])


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path, folder):
    program = [sys.executable, str(Path(__file__).parents[1] / "cli" / "conftest.py"), "score", str(folder), "--update"]
    command = [*program, "--output", str(tmp_path / "rows.csv")]
    environment = {**os.environ, "COLUMNS": "80"}
    first = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    assert "0 rows kept, 6 scored, 0 dropped" in first.stderr
    (folder / "p10.png").unlink()
    save(folder / "new.png", 1)
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    assert "mpiqe: 5 rows kept, 1 scored, 1 dropped" in second.stderr
