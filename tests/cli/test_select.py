"""``mpiqe score --min-score .. --worst .. --print0``: rows or paths of some photos, for pipes."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mpiqe.batch.parquet_sink import parts_folder
from mpiqe.batch.resume import settings_file
from mpiqe.cli.main import main

PROGRAM = [sys.executable, str(Path(__file__).with_name("conftest.py"))]
LEVELS = {"a.png": 90, "b.png": 10, "c.png": 250, "d.png": 10, "e.png": 130}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, level in LEVELS.items():
        Image.new("RGB", (40, 40), (level,) * 3).save(folder / name)
    (folder / "broken.jpg").touch()
    return folder


@pytest.fixture
def score(modest_model, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpiqe", "score", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], "abcde"),
        (["--min-score", 90], "ace"),
        (["--max-score", 90], "abd"),
        (["--min-score", 90, "--max-score", 130], "ae"),
        (["--worst", 2], "bd"),
        (["--worst", 1], "b"),
        (["--worst", 100], "bdaec"),
        (["--best", 2], "ce"),
        (["--worst", "40%"], "bd"),
        (["--worst", "41%"], "bda"),
        (["--worst", "1%"], "b"),
        (["--best", "100%"], "ceabd"),
        (["--best", 2, "--max-score", 200], "ea"),
        (["--sort", "score"], "bdaec"),
        (["--sort", "-score"], "ceabd"),
        (["--worst", 3, "--sort", "-score"], "abd"),
        (["--min-score", 300], ""),
        (["--worst", "50%", "--min-score", 300], ""),
    ],
)
def test_the_photos_that_were_asked_for_come_in_order(score, photos, options, names):
    status, out, err = score(photos, "--format", "paths", *options)
    assert out == "".join(f"{photos / name}.png\n" for name in names)
    assert status == 1
    assert err == "mpiqe: 1 of 6 photos could not be scored; they are left out, as photos without a score are\n"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_of_a_selection_are_whole_rows_in_a_file_too(score, photos, tmp_path, form):
    output = tmp_path / f"worst.{form}"
    assert score(photos, "--worst", 2, "--output", output)[0] == 1
    if form == "parquet":
        rows = pq.read_table(output).to_pylist()
        assert not parts_folder(output).exists()
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(output.read_text())))
    else:
        rows = list(map(json.loads, output.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["b.png", "d.png"]
    assert [round(float(row["quality"]), 4) for row in rows] == [round(10 / 255, 4)] * 2
    status, _, err = score(photos, "--worst", 2, "--output", output, "--resume")
    assert status == 2
    assert "--resume continues all rows" in err


def test_the_settings_of_rows_that_are_gone_do_not_stay_beside_a_selection(score, photos, tmp_path):
    output = tmp_path / "rows.csv"
    score(photos, "--output", output)
    assert settings_file(output).exists()
    output.unlink()
    score(photos, "--max-score", 50, "--output", output)
    assert not settings_file(output).exists()


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.json"])
def test_a_selection_that_replaces_rows_is_not_continued_as_if_it_were_those(score, photos, tmp_path, name):
    output = tmp_path / name
    assert score(photos, "--output", output, "--crops", 2)[0] == 1
    assert score(photos, "--output", output, "--crops", 3, "--min-score", -999, "--overwrite")[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", name]
    before = output.read_bytes()
    status, _, err = score(photos, "--output", output, "--crops", 2, "--resume")
    assert (status, "nobody knows how it was made" in err) == (2, True)
    assert output.read_bytes() == before


def rows_of(output):
    if output.suffix == ".parquet":
        return pq.read_table(output).to_pylist()
    if output.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(output.read_text())))
    return list(map(json.loads, output.read_text().splitlines()))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl"])
def test_a_selection_has_the_columns_that_are_kept_of_a_table(score, photos, tmp_path, name):
    paths = [str(photos / image) for image in LEVELS]
    pq.write_table(pa.table({"path": paths, "label": list(LEVELS)}), tmp_path / "table.parquet")
    output = tmp_path / name
    assert score(tmp_path / "table.parquet", "--keep", "label", "--worst", 2, "--output", output)[0] == 0
    assert [row["label"] for row in rows_of(output)] == ["b.png", "d.png"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_selection_of_nothing_is_an_output_without_rows(score, photos, tmp_path, is_there):
    for name in ("e.json", "e.json.gz", "e.jsonl", "e.csv", "e.parquet"):
        options = ["--output", tmp_path / name]
        if is_there:
            assert score(photos, *options)[0] == 1
            options.append("--overwrite")
        assert score(photos, "--min-score", 99999, *options)[0] == 1
    assert json.loads((tmp_path / "e.json").read_text()) == []
    assert json.loads(gzip.decompress((tmp_path / "e.json.gz").read_bytes())) == []
    assert (tmp_path / "e.jsonl").read_text() == ""
    assert (tmp_path / "e.csv").read_text().count("\n") == 1
    assert pq.read_table(tmp_path / "e.parquet").num_rows == 0
    assert len(list(tmp_path.iterdir())) == 6
    assert json.loads(score(photos, "--min-score", 99999, "--format", "json")[1]) == []


@pytest.mark.parametrize("name", ["w.csv.gz", "w.jsonl.gz", "w.json.gz"])
@pytest.mark.parametrize("chosen", [["--worst", 2], ["--min-score", 99999]], ids=["some", "none"])
def test_a_packed_selection_is_replaced_where_that_is_asked_for(score, photos, tmp_path, name, chosen):
    output = tmp_path / name
    command = [photos, "--output", output, *chosen]
    assert score(*command)[0] == 1
    status, _, err = score(*command)
    assert (status, "is there already" in err) == (2, True)
    assert score(photos, "--output", output, "--best", 1, "--overwrite")[0] == 1
    assert b"c.png" in gzip.decompress(output.read_bytes())
    output.write_bytes(gzip.compress(b"of somebody else"))
    assert "holds an archive" in score(*command, "--overwrite")[2]
    output.write_bytes(gzip.compress(bytes(1000))[:15])
    assert "holds an archive" in score(*command, "--overwrite")[2]


def test_print0_gives_xargs_the_bytes_of_every_name(photos):
    folder = os.fsencode(photos)
    os.rename(folder + b"/a.png", folder + b"/caf\xe9\n \\udc41.png")
    done = subprocess.run(
        [*PROGRAM, "score", photos, "--max-score", "95", "--print0"], capture_output=True, check=False, text=False
    )
    assert done.returncode == 1
    names = [folder + b"/" + name for name in (b"b.png", b"caf\xe9\n \\udc41.png", b"d.png")]
    assert done.stdout == b"".join(name + b"\0" for name in names)
    listed = subprocess.run(["xargs", "-0", "ls", "-U"], input=done.stdout, capture_output=True, check=True)
    assert len(listed.stdout.splitlines()) == 4  # one name has a line break


def test_rows_within_limits_come_at_once_and_a_reader_may_leave(photos):
    command = [*PROGRAM, "score", "-", "--max-score", "20", "--format", "paths", "--batch-size", "1", "--workers", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(8):
            process.stdin.write(b"%s\n" % os.fsencode(photos / "b.png"))
        process.stdin.flush()
        assert process.stdout.readline() == os.fsencode(photos / "b.png") + b"\n"  # standard input is still open
        process.stdin.close()
        process.stdout.close()
        assert process.wait(60) in (0, 141)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--worst", "0"], "--worst '0': give a number of photos (20) or a share of them (5%)"),
        (["--worst", "2.5"], "give a number"),
        (["--best", "101%"], "--best '101%'"),
        (["--worst", "many"], "--worst 'many'"),
        (["--worst", 1, "--best", 1], "give --worst or --best, not both"),
        (["--min-score", 2, "--max-score", 1], "--min-score is above --max-score"),
        (["--min-score", "nan"], "must be finite"),
        (["--print0", "--format", "csv"], "--print0 writes paths alone"),
        (["--worst", 1, "--engine", "ray", "--output", "x.csv"], "--engine ray writes all rows"),
        (["--print0", "--resume"], "--resume continues a file"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(score, photos, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = score(photos, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
