import csv
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from mpiqe.batch.sinks import COLUMNS, decode_name
from mpiqe.cli.explain import explain as explain_command
from mpiqe.cli.main import main
from mpiqe.cli.score import score as score_command
from mpiqe.scoring import loading

PROGRAM = [sys.executable, str(Path(__file__).with_name("conftest.py"))]


@pytest.fixture
def mpiqe(modest_model, monkeypatch, capsys):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["mpiqe", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


def test_jsonl_has_a_row_for_each_photo_in_order(mpiqe, folder):
    status, out, err = mpiqe("score", folder, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [row["path"] for row in rows] == [str(folder / name) for name in ("a.png", "b.png", "c.jpg", "d.png")]
    assert [row["score"] for row in rows] == [50, 100, None, 200]
    assert [row["error"] for row in rows] == [None, None, "empty file", None]
    assert (rows[0]["width"], rows[0]["height"]) == (60, 40)
    assert err == "mpiqe: 1 of 4 photos could not be scored; their rows say why\n"


def test_exit_status_is_zero_when_all_were_scored(mpiqe, folder):
    status, out, err = mpiqe("score", folder / "d.png", folder / "a.png", "--format", "csv")
    assert status == 0
    assert [row["score"] for row in csv.DictReader(io.StringIO(out))] == ["200.0", "50.0"]
    assert err == ""


def test_a_missing_file_is_a_row_and_not_the_end(mpiqe, folder):
    status, out, _ = mpiqe("score", "missing.jpg", folder / "a.png", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [row["error"] for row in rows] == ["No such file or directory", None]


def test_the_table_is_the_default(mpiqe, folder):
    _, out, _ = mpiqe("score", folder)
    lines = out.splitlines()
    assert lines[0] == "grey levels, about 0 to 255, higher is better"
    assert [line.split()[0] for line in lines[2:]] == ["score", "50.0", "100.0", "failed", "200.0"]


def test_paths_come_from_stdin(mpiqe, folder):
    status, out, _ = mpiqe(
        "score", "-", "--format", "jsonl", stdin=f"{folder / 'b.png'}\n{folder / 'a.png'}\n".encode()
    )
    assert status == 0
    assert [json.loads(line)["score"] for line in out.splitlines()] == [100, 50]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_rows_go_to_a_file_instead(mpiqe, folder, tmp_path, form):
    _, expected, _ = mpiqe("score", folder, "--format", form)
    status, out, _ = mpiqe("score", folder, "--format", form, "--output", tmp_path / "rows")
    assert (status, out) == (1, "")
    assert (tmp_path / "rows").read_text(encoding="utf-8") == expected


def test_options_reach_the_scorer(mpiqe, folder, monkeypatch):
    options = {}

    def load(weights, **others):
        options.update(others, weights=weights)
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load", load)
    arguments = {
        "weights": "RUN", "crops": 3, "seed": 7, "batch-size": 5, "workers": 2, "runtime": "torch", "device": "cuda:1",
        "precision": "bf16", "max-pixels": 1000, "view-side": 384, "crop-mode": "grid",
    }  # fmt: skip
    status, _, _ = mpiqe(
        "score", folder, "--timeout", 9, *(word for key, value in arguments.items() for word in (f"--{key}", value))
    )
    expected = {key.replace("-", "_"): value for key, value in arguments.items()}
    assert options == {**expected, "read_timeout": 9.0}
    assert status == 130


@pytest.mark.parametrize("command", [score_command, explain_command])
def test_the_command_lines_defaults_are_the_librarys(command):
    library = inspect.signature(loading.load).parameters
    for name, parameter in inspect.signature(command).parameters.items():
        if name in library:
            assert parameter.default == library[name].default, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score"], "PATH"),
        (["score", "x.jpg", "--format", "xml"], "xml"),
        (["score", "x.jpg", "--crops", "0"], "mpiqe: crops must be at least 1, not 0"),
        (["score", "x.jpg", "--crops", "1000000000"], "mpiqe: crops must be at most 4096, not 1000000000"),
        (["score", "x.jpg", "--batch-size", "1" + 20 * "0"], "mpiqe: batch_size must be at most 65536, not 1000"),
        (["score", "x.jpg", "--workers", "1000000"], "mpiqe: workers must be at most 256, not 1000000"),
        (["score", "x.jpg", "--max-pixels", str(2**62)], "mpiqe: max_pixels must be at most 10000000000, not 4611"),
        (
            ["score", "x.jpg", "--timeout", "1e12"],
            "mpiqe: --timeout must be a number of seconds above 0 and at most 86400",
        ),
        (["score", "x.jpg", "--timeout", "nan"], "mpiqe: --max-bytes and --timeout must be above 0"),
        (["score", "x.jpg", "--max-bytes", str(2**62)], "mpiqe: --max-bytes must be at most 1099511627776, not 4611"),
        (
            ["score", "x.jpg", "--output", "no/such/folder/rows"],
            "mpiqe: cannot write to no/such/folder/rows: No such file",
        ),
        (["score", "{empty}"], "mpiqe: there is no image in "),
        (["score", "-"], "mpiqe: there is no image in -"),
    ],
)
def test_wrong_usage_ends_with_two_and_says_what_is_wrong(mpiqe, tmp_path, arguments, message):
    status, out, err = mpiqe(*(str(tmp_path) if word == "{empty}" else word for word in arguments))
    assert status == 2
    assert out == ""
    assert message in err
    if message.startswith("mpiqe: "):
        assert err.count("\n") == 1


def test_weights_that_are_not_there_end_with_two(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mpiqe", "score", str(folder), "--weights", "no/such/run"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "mpiqe: no checkpoint 'no/such/run'" in capsys.readouterr().err


def test_nothing_is_written_over_before_the_weights_are_there(folder, tmp_path, monkeypatch):
    rows = tmp_path / "rows"
    rows.write_text("of yesterday")
    arguments = ["score", str(folder), "--weights", "no/such/run", "--output", str(rows)]
    monkeypatch.setattr(sys, "argv", ["mpiqe", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert rows.read_text() == "of yesterday"


def test_the_version_is_printed(mpiqe):
    assert mpiqe("--version") == (0, f"mpiqe {version('mpiqe')}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["score", "--help"], ["explain", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments):
    code = (
        "import sys\nfrom mpiqe.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as exit_:\n    assert not exit_.code\n"
        "heavy = {'torch', 'transformers', 'pandas', 'scipy', 'accelerate', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, mpiqe; dir(mpiqe); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def endless(folder):
    """Starts the command on 500 paths and leaves its stdin open."""

    def start(form):
        process = subprocess.Popen(
            [*PROGRAM, "score", "-", "--format", form, "--batch-size", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdin.write(f"{folder / 'a.png'}\n".encode() * 500)
        process.stdin.flush()
        return process

    return start


@pytest.mark.parametrize("form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in ("table", "jsonl"))])
def test_a_reader_that_goes_away_is_no_error(endless, form):
    with endless(form) as process:
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_an_interrupt_ends_with_130_and_whole_rows(endless):
    with endless("jsonl") as process:
        first = process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()  # communicate would lose what readline has buffered
        assert process.wait(60) == 130
        assert err == b"mpiqe: interrupted, %d rows are written\n" % (len(out.splitlines()) + 1)
        assert {json.loads(line)["score"] for line in [first, *out.splitlines()]} == {50}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_progress_is_shown_on_a_terminal_and_rows_are_not_mixed_with_it(folder):
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([*PROGRAM, "score", str(folder), "--format", "csv"],
                          stdout=subprocess.PIPE, stderr=terminal, env=environment) as process:  # fmt: skip
        out = process.stdout.read().decode()
    os.close(terminal)
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    assert out.count("\n") == 5
    assert "\x1b" not in out
    assert "of 4 photos" in shown
    assert "mpiqe: 1 of 4 photos could not be scored" in shown


@pytest.mark.parametrize("name", ["theirs.csv", "theirs.jsonl", "theirs.parquet"])
def test_a_file_without_settings_is_not_continued_and_stays(mpiqe, folder, tmp_path, name):
    (tmp_path / name).write_bytes(b"a line of somebody else, without an end")
    status, _, err = mpiqe("score", folder, "--output", tmp_path / name, "--resume")
    assert status == 2
    assert f"is there without {name}.run.json" in err
    assert (tmp_path / name).read_bytes() == b"a line of somebody else, without an end"


@pytest.mark.parametrize("form", ["csv", "jsonl", "table", "parquet"])
@pytest.mark.parametrize("resume", [False, True])
def test_an_input_is_not_written_over(mpiqe, folder, form, resume):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    if resume and form == "table":
        pytest.skip("no table is resumed")
    options = ["--format", form, *(["--resume"] if resume else [])]
    for arguments in (
        [folder / "a.png", folder / "b.png", "--output", folder / "a.png"],
        [folder / "b.png", "--output", folder / "a.png"],  # --output photos/*.png, expanded by the shell
        [folder, "--output", folder / "d.png"],
        [folder / "c.jpg", "--output", folder / "c.jpg"],  # holds nothing
    ):
        status, out, err = mpiqe("score", *arguments, *options)
        assert (status, out) == (2, "")
        assert "the rows would be written over it; name another --output" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_list_an_archive_and_a_table_are_not_written_over(mpiqe, folder, tmp_path):
    import tarfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "list.csv").write_text(f"{folder}\n")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(folder / "a.png", "a.png")
    with tarfile.open(tmp_path / "shard.tgz", "w:gz") as archive:
        archive.add(folder / "a.png", "a.png")
    pq.write_table(pa.table({"path": [str(folder / "a.png")]}), tmp_path / "theirs.parquet")
    (tmp_path / "link.csv").symlink_to(folder / "a.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for paths, output in (
        ("@list.csv", "list.csv"), ("photos", "shard.tar"), ("photos", "shard.tgz"), ("photos", "theirs.parquet"),
        ("theirs.parquet", "theirs.parquet"), ("photos", "link.csv"),
    ):  # fmt: skip
        path = f"@{tmp_path / paths[1:]}" if paths.startswith("@") else tmp_path / paths
        status, _, err = mpiqe("score", path, "--output", tmp_path / output)
        assert status == 2, output
        assert "the rows would be written over it" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet", "rows.txt", "rows.json", "rows.csv.gz"])
def test_rows_that_are_there_are_replaced_only_where_that_is_asked_for(mpiqe, folder, tmp_path, name):
    output = tmp_path / name
    assert mpiqe("score", folder / "a.png", "--output", output)[0] == 0
    before = output.read_bytes()
    status, _, err = mpiqe("score", folder / "b.png", "--output", output)
    assert (status, err) == (2, f"mpiqe: {output} is there already: --resume continues it, --overwrite replaces it; or "
                                "name another --output\n")  # fmt: skip
    assert output.read_bytes() == before
    assert mpiqe("score", folder / "b.png", "--output", output, "--overwrite")[0] == 0
    assert output.read_bytes() != before
    there = {"photos", name, f"{name}.run.json"} - ({"rows.txt.run.json"} if name == "rows.txt" else set())
    there |= {f"{name}.run.photos"} if name in ("rows.csv", "rows.jsonl", "rows.parquet") else set()
    assert {path.name for path in tmp_path.iterdir()} == there
    status, _, err = mpiqe("score", folder / "b.png", "--output", output, "--overwrite", "--resume")
    assert (status, "give one" in err) == (2, True)


def test_an_empty_output_is_nothing_to_lose(mpiqe, folder, tmp_path):
    header = ",".join(COLUMNS) + "\n"
    for name, content in (("rows.csv", ""), ("header.csv", header), ("rows.jsonl", ""), ("rows.json", "")):
        (tmp_path / name).write_text(content)
        assert mpiqe("score", folder / "a.png", "--output", tmp_path / name)[0] == 0
        assert "a.png" in (tmp_path / name).read_text()


def test_a_suffix_that_says_no_format_is_a_usage_error(mpiqe, folder, tmp_path):
    for name in ("scores.html", "scores.xlsx", "scores.csv.zip", "scores.parquet.gz", "scores.gz", "scores.txt.gz"):
        status, _, err = mpiqe("score", folder, "--output", tmp_path / name)
        assert status == 2, name
        assert err.count("\n") == 1
        assert not (tmp_path / name).exists()
    assert mpiqe("score", folder / "a.png", "--output", tmp_path / "scores.dat", "--format", "csv")[0] == 0


@pytest.mark.parametrize("name", ["s.csv.gz", "s.jsonl.gz", "s.json", "s.json.gz", "s.ndjson", "s.JSON"])
def test_outputs_by_their_suffix_are_read_by_pandas_and_can_be_continued(mpiqe, folder, tmp_path, name):
    import pandas

    def scores():
        if ".csv" in name:
            return pandas.read_csv(tmp_path / name)["score"].dropna().tolist()
        lines = "l.gz" in name or name.endswith("ndjson")
        return pandas.read_json(tmp_path / name, lines=lines, dtype=False)["score"].dropna().tolist()

    options = ("--output", tmp_path / name)
    assert mpiqe("score", folder / "a.png", *options)[0] == 0
    assert scores() == [50]
    assert mpiqe("score", folder / "a.png", folder, *options, "--resume")[0] == 1
    assert scores() == [50, 50, 100, 200]
    assert mpiqe("score", folder / "a.png", folder, *options, "--resume")[0] == 1
    assert scores() == [50, 50, 100, 200]
    signed = [f"{name}.run.photos"] if name == "s.ndjson" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", name, f"{name}.run.json", *signed]


def test_json_on_standard_output_is_one_array(mpiqe, folder):
    rows = json.loads(mpiqe("score", folder, "--format", "json")[1])
    assert [row["score"] for row in rows] == [50, 100, None, 200]
    assert mpiqe("score", folder, "--format", "jsonl")[1].splitlines() == [json.dumps(row) for row in rows]


def test_the_end_sums_up_what_was_written(mpiqe, folder, tmp_path):
    (folder / "notes.txt").touch()
    status, out, err = mpiqe("score", folder, "--output", tmp_path / "rows.csv")
    lines = err.splitlines()
    assert (status, out) == (1, "")
    assert lines[0] == "mpiqe: passed over: 1 .txt"
    assert re.fullmatch(
        rf"mpiqe: 3 of 4 photos scored in \d+\.\d s; median 100, worst 50 \({re.escape(str(folder))}/a\.png\)", lines[1]
    )
    assert lines[2] == "mpiqe: 1 of 4 photos could not be scored; their rows say why"
    (folder / "e.png").write_bytes((folder / "a.png").read_bytes())
    err = mpiqe("score", folder, "--output", tmp_path / "rows.csv", "--resume")[2]
    assert "mpiqe: 4 of 5 photos scored in" in err
    assert "median 75, worst 50" in err
    (folder / "only").mkdir()
    (folder / "only" / "00000.parquet").touch()
    assert mpiqe("score", folder / "only")[2].endswith("; passed over: 1 tables (name one to score what it holds)\n")


@pytest.mark.parametrize("form", ["csv", "jsonl", "txt"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_an_output_that_is_gone_at_the_end_is_no_success(mpiqe, folder, tmp_path, monkeypatch, form, how):
    output, load = tmp_path / f"rows.{form}", loading.load

    def load_and_remove(*arguments, **options):
        scorer = load(*arguments, **options)
        predict = scorer.predictor.predict

        def remove(crops):
            output.unlink()
            if how == "replaced":
                output.write_text("of somebody else")
            return predict(crops)

        monkeypatch.setattr(type(scorer.predictor), "predict", staticmethod(remove))
        return scorer

    monkeypatch.setattr(loading, "load", load_and_remove)
    status, _, err = mpiqe("score", folder / "a.png", "--output", output)
    assert status == 2
    assert f"{output} was removed, renamed or replaced during the run" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_link_stays_and_the_rows_go_to_where_it_leads(mpiqe, folder, tmp_path, form, exists):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / f"target.{form}", tmp_path / f"rows.{form}"
    link.symlink_to(target)
    if exists:
        assert mpiqe("score", folder / "b.png", "--output", target)[0] == 0
    assert mpiqe("score", folder / "a.png", "--output", link, *(["--overwrite"] if exists else []))[:2] == (0, "")
    assert link.is_symlink()
    assert b"a.png" in target.read_bytes()
    assert mpiqe("score", folder / "a.png", folder / "b.png", "--output", link, "--resume")[:2] == (0, "")
    assert link.is_symlink()
    assert b"b.png" in target.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="there nobody can tell whether a pipe has more")
def test_rows_of_a_list_come_while_its_writer_says_no_more(folder, tmp_path):
    """Three paths and then silence: as from a program that finds photos slowly."""
    command = [*PROGRAM, "score", "-", "--format", "jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            for names in (("a.png", "c.jpg", "d.png"), ("b.png",)):
                process.stdin.write("".join(f"{folder / name}\n" for name in names))
                process.stdin.flush()
                ready = threading.Timer(120, process.kill)
                ready.start()
                rows = [json.loads(process.stdout.readline()) for _ in names]
                ready.cancel()
                assert [row["path"] for row in rows] == [str(folder / name) for name in names]
        finally:
            process.stdin.close()
        assert process.wait(60) == 1


def test_an_image_on_standard_input_is_scored(folder):
    command = [*PROGRAM, "score", "-", "--format", "csv"]
    done = subprocess.run(command, input=(folder / "b.png").read_bytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["path"], row["score"]) == ("standard input", "100.0")


def test_names_that_zero_bytes_end_are_scored(folder):
    names = b"\0".join(os.fsencode(folder / name) for name in ("b.png", "a.png")) + b"\0"
    for flag in ("-0", "--null"):
        done = subprocess.run(
            [*PROGRAM, "score", flag, "-", "--format", "csv"], input=names, capture_output=True, check=False
        )
        assert [row["score"] for row in csv.DictReader(io.StringIO(done.stdout.decode()))] == ["100.0", "50.0"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_a_name_that_is_not_utf8_spoils_no_output(mpiqe, folder, tmp_path, form):
    import pandas

    name = os.fsencode(folder) + b"/caf\xe9.png"
    os.rename(folder / "a.png", name)
    rows = tmp_path / f"rows.{form}"
    assert mpiqe("score", folder, "--output", rows)[0] == 1
    table = {
        "csv": pandas.read_csv, "json": pandas.read_json, "parquet": pandas.read_parquet,
        "jsonl": lambda path: pandas.read_json(path, lines=True),
    }[form](rows)  # fmt: skip
    assert name in [os.fsencode(decode_name(path)) for path in table["path"]]
    assert mpiqe("score", folder, folder, "--output", rows, "--resume")[0] == 1
