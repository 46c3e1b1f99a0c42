"""``mpiqe score`` on photos from everywhere at once, line by line."""

import csv
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from mpiqe.batch import figures
from mpiqe.cli.main import app
from mpiqe.isolation import table_process
from mpiqe.sources import archive
from mpiqe.sources.photo import Budget


def png(level):
    content = io.BytesIO()
    Image.new("RGB", (60, 40), (level,) * 3).save(content, "PNG")
    return content.getvalue()


def tar(path, mode, **members):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def score(modest_model):
    def run(*arguments, stdin=""):
        done = CliRunner().invoke(app, ["score", *map(str, arguments)], stdin)
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x.png").write_bytes(png(70))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_list_may_mix_them_all_and_what_is_broken_is_a_row(score, tmp_path, server, folder):
    plain = tar(tmp_path / "s-0.tar", "w", a=png(10), b=b"no photo", c=b"")
    tar(tmp_path / "s-1.tar", "w", d=png(20))
    zipped = tar(tmp_path / "z.tar.gz", "w:gz", e=png(30))
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(zipped.read_bytes()[:100])
    pq.write_table(pa.table({"image": [png(40), None]}), tmp_path / "t.parquet")
    with fsspec.open("memory://store/m.png", "wb") as file:
        file.write(png(50))
    lines = [
        f"{folder}/*.png", f"{tmp_path}/s-{{0..1}}.tar", zipped, cut, tmp_path / "t.parquet", "memory://store/*.png",
        "memory://store/none.png", f"http://me:secret@{server}/x.png?token=secret", f"http://{server}/none.png",
        folder / "missing.jpg",
    ]  # fmt: skip
    (tmp_path / "list").write_text("\n".join(map(str, lines)))
    options = "--format", "jsonl", "--allow-scheme", "memory"
    status, out, err = score(f"@{tmp_path / 'list'}", *options)
    rows = [json.loads(line) for line in out.splitlines()]
    http = f"http://{server}"
    expected = [
        (f"{folder}/a.png", 50), (f"{folder}/b.png", 100), (f"{folder}/d.png", 200),
        (f"{plain}::a.png", 10), (f"{plain}::b.png", "not an image in a format that mpiqe reads"),
        (f"{plain}::c.png", "empty file"), (f"{tmp_path}/s-1.tar::d.png", 20), (f"{zipped}::e.png", 30),
        (f"{tmp_path}/t.parquet::0", 40), (f"{tmp_path}/t.parquet::1", "row 1 holds neither bytes nor a path"),
        ("memory://store/m.png", 50), ("memory://store/none.png", "No such object"), (f"{http}/x.png?token=***", 70),
        (f"{http}/none.png", "the server answers 404"), (f"{folder}/missing.jpg", "No such file or directory"),
    ]  # fmt: skip
    from_cut = [row for row in rows if row["path"].startswith(str(cut))]
    rows = [row for row in rows if row not in from_cut]
    assert len(from_cut) == 1
    assert "cut short" in from_cut[-1]["error"]
    assert [row["path"] for row in rows] == [path for path, _ in expected]
    for row, (_, result) in zip(rows, expected, strict=True):
        assert row["score"] == result if isinstance(result, int) else row["error"].startswith(result)
    assert "secret" not in out + err
    assert status == 1
    assert score("-", *options, stdin=(tmp_path / "list").read_text())[1] == out


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_archives_and_addresses_are_resumed_too(score, tmp_path, form):
    tar(tmp_path / "a.tar.gz", "w:gz", **{f"{i:02}": png(i) for i in range(30)})
    pq.write_table(pa.table({"image": [png(i) for i in range(100, 130)]}), tmp_path / "b.parquet")
    whole, rows = tmp_path / "out" / f"whole.{form}", tmp_path / "out" / f"rows.{form}"
    whole.parent.mkdir()
    sources = (tmp_path / "a.tar.gz", tmp_path / "b.parquet")
    assert score(*sources, "--output", whole)[0] == 0
    assert score(sources[0], "--output", rows)[0] == 0
    assert score(*sources, "--output", rows, "--resume")[0] == 0
    if form == "parquet":
        assert pq.read_table(rows).equals(pq.read_table(whole))
    else:
        assert rows.read_bytes() == whole.read_bytes()


def test_more_is_never_held_than_there_is_room_for(score, tmp_path, monkeypatch):
    held = []

    class Watched(Budget):
        def __init__(self):
            super().__init__(room=1000)

        def take(self, size):
            taken = super().take(size)
            held.append(self.held)
            return taken

    monkeypatch.setattr(archive, "Budget", Watched)
    tar(tmp_path / "a.tar.gz", "w:gz", **{f"{i:03}": png(i) for i in range(200)})
    status, out, _ = score(tmp_path / "a.tar.gz", "--format", "csv")
    assert status == 0
    assert [float(row["score"]) for row in csv.DictReader(io.StringIO(out))] == list(range(200))
    assert 200 < max(held) <= 1000


def test_limits_are_options(score, tmp_path):
    archive = tar(tmp_path / "a.tar", "w", a=png(10))
    status, out, _ = score(archive, "--format", "csv", "--max-bytes", 50)
    assert status == 1
    assert "over the limit of 50 bytes" in out
    for option in ("--max-bytes", "--timeout"):
        status, _, err = score(archive, option, 0)
        assert status == 2
        assert "must be above 0" in err


def test_what_tables_and_redirects_may_lead_to_is_an_option(score, tmp_path, server):
    port = server.rpartition(":")[2]
    cells = [
        f"http://{server}/x.png",
        f"http://localhost:{port}/x.png",
        "memory://m.png",
        str(tmp_path / "served/x.png"),
    ]
    pq.write_table(pa.table({"url": cells}), tmp_path / "t.parquet")
    table = tmp_path / "t.parquet"

    def failed(*options):
        rows = csv.DictReader(io.StringIO(score(*options, "--format", "csv")[1]))
        return {row["path"]: row["error"] for row in rows if row["error"]}

    assert [*failed(table)] == cells[:3]
    assert "127.0.0.1, is not a public one; --allow-host 127.0.0.1 lets" in failed(table)[cells[0]]
    assert "--allow-scheme memory adds it" in failed(table)[cells[2]]
    assert [*failed(table, "--allow-host", "localhost")] == [cells[0], cells[2]]
    assert [*failed(table, "--allow-host", "127.0.0.0/8")] == cells[2:3]
    assert [*failed(table, f"http://{server}/x.png")] == cells[1:3]  # the user has named that host himself
    assert failed(table, "--allow-scheme", "memory")[cells[2]] == "No such object"
    status, _, err = score(table, "--allow-host", "a b")
    assert (status, err.partition(" (")[0]) == (2, "mpiqe: --allow-host takes a host")
    assert "--allow-scheme takes what stands before ://" in score(table, "--allow-scheme", "s 3")[2]


def test_what_may_be_followed_is_a_setting_that_resume_compares(score, tmp_path):
    pq.write_table(pa.table({"image": [png(1)]}), tmp_path / "t.parquet")
    assert score(tmp_path / "t.parquet", "--output", tmp_path / "rows.csv")[0] == 0
    settings = tmp_path / "rows.csv.run.json"
    of_before = {
        name: value for name, value in json.loads(settings.read_text()).items() if not name.startswith("allow")
    }
    settings.write_text(json.dumps(of_before))
    again = (tmp_path / "t.parquet", "--output", tmp_path / "rows.csv", "--resume")
    assert score(*again)[0] == 0
    status, _, err = score(*again, "--allow-scheme", "sftp")
    assert status == 2
    assert "allow_scheme was None and is ['sftp']" in err


def test_a_table_that_breaks_its_bound_costs_its_own_rows(score, tmp_path, monkeypatch, folder):
    monkeypatch.setattr(table_process, "HEADROOM", 96 << 20)
    monkeypatch.setattr(table_process, "PER_BYTE", 0)
    table = pa.table({"image": pa.array([png(5), bytes(100 << 20)], pa.binary())})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", row_group_size=1)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    status, out, err = score(tmp_path / "bomb.parquet", folder / "a.png", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    bomb = f"{tmp_path}/bomb.parquet"
    expected = [(f"{bomb}::0", "5.0"), (bomb, ""), (f"{folder}/a.png", "50.0")]
    assert [(row["path"], row["score"]) for row in rows] == expected
    assert "96 MB" in rows[1]["error"]
    assert (status, err.count("\n")) == (1, 1)


def test_the_column_is_an_option(score, tmp_path):
    pq.write_table(pa.table({"image": [png(1)], "thumb": [png(2)]}), tmp_path / "t.parquet")
    assert "2.0" in score(tmp_path / "t.parquet", "--column", "thumb")[1]


def test_a_list_that_is_not_there_ends_with_two(score):
    assert score("@none.txt")[::2] == (2, "mpiqe: cannot read the list none.txt; for a photo of that name write "
                                          "./@none.txt\n")  # fmt: skip


def test_pictures_of_members_lie_in_folders_named_after_their_archives(score, tmp_path, monkeypatch):
    archive = tar(tmp_path / "s-0.tar.gz", "w:gz", **{"a": png(10), "../../b": png(20)})
    drawn = []

    def explain(_scorer, source, *, score):
        drawn.append(len(source))
        return score

    monkeypatch.setattr("mpiqe.batch.local.explain", explain)
    monkeypatch.setattr(figures, "draw", lambda _: Image.new("L", (1, 1)))
    status, _, err = score(archive, "--explain", tmp_path / "why")
    assert (status, err) == (0, "")
    files = sorted(path.relative_to(tmp_path / "why").as_posix() for path in Path(tmp_path / "why").rglob("*.png"))
    assert files == ["s-0/a.png", "s-0/b.png"]
    assert len(drawn) == 2


def test_nothing_that_is_not_needed_is_imported(folder):
    code = (
        "import sys, mpiqe.sources.find, mpiqe.batch.figures, mpiqe.batch.resume, mpiqe.batch.sinks\n"
        "list(mpiqe.sources.find.find([sys.argv[1], 'http://x/y.jpg'], stdin=None))\n"
        "heavy = {'torch', 'transformers', 'scipy', 'safetensors', 'pyarrow', 'fsspec'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures_drawn_into_the_photos_folder_are_not_scored_next_time(score, folder, monkeypatch):
    monkeypatch.setattr("mpiqe.batch.local.explain", lambda _scorer, _source, *, score: score)
    monkeypatch.setattr(figures, "draw", lambda _: Image.new("RGB", (9, 9)))
    status, out, _ = score(folder, "--explain", folder / "why", "--format", "csv")
    assert (status, out.count("\n"), len(list((folder / "why").iterdir()))) == (1, 5, 3)
    status, again, err = score(folder, "--format", "csv")
    assert again == out
    assert err.startswith("mpiqe: passed over: 3 figures of mpiqe\n")


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_columns_of_a_table_are_kept_in_its_rows(score, tmp_path, folder, form):
    values = {
        "image": [png(10), b"no photo", png(20)],
        "id": [7, 8, None],
        "score": [0.5, 0.25, 1.0],
        "label": ["a", 'b"', None],
    }
    pq.write_table(pa.table(values), tmp_path / "t.parquet")
    rows = tmp_path / f"rows.{form}"
    command = (tmp_path / "t.parquet", folder / "a.png", "--keep", "id,label", "--keep", "score")
    assert score(*command, "--output", rows)[0] == 1
    assert score(*command, folder / "b.png", "--output", rows, "--resume")[0] == 1
    expected = [
        (10, 7, "a", 0.5),
        (None, 8, 'b"', 0.25),
        (20, None, None, 1.0),
        (50,) + (None,) * 3,
        (100,) + (None,) * 3,
    ]
    if form == "csv":
        found = [tuple(row[name] or None for name in ("score", "id", "label", "table_score"))
                 for row in csv.DictReader(io.StringIO(rows.read_text()))]  # fmt: skip
        assert found == [tuple(None if value is None else str(float(value) if i in (0, 3) else value)
                               for i, value in enumerate(row)) for row in expected]  # fmt: skip
        assert rows.read_text().splitlines()[0].endswith(",error,id,label,table_score")
    elif form == "parquet":
        names = ["score", "id", "label", "table_score"]
        found = [tuple(row.values()) for row in pq.read_table(rows, columns=names).to_pylist()]
        texts = [tuple(None if value is None else str(value) for value in row) for row in expected]
        assert [tuple(None if value is None else str(value) for value in row) for row in found] == [
            (None if row[0] is None else str(float(row[0])), *rest[1:])
            for row, rest in zip(expected, texts, strict=True)
        ]
    else:
        lines = json.loads(rows.read_text()) if form == "json" else map(json.loads, rows.read_text().splitlines())
        assert [(row["score"], row["id"], row["label"], row["table_score"]) for row in lines] == expected
    status, _, err = score(*command[:2], folder / "d.png", "--output", rows, "--resume")
    assert status == 2
    assert "keep" in err


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_column_to_keep_that_is_named_twice_is_there_once(score, tmp_path, form):
    pq.write_table(pa.table({"image": [png(10)], "id": [7], "label": ["a"]}), tmp_path / "t.parquet")
    rows, once = tmp_path / f"rows.{form}", tmp_path / f"once.{form}"
    assert score(tmp_path / "t.parquet", "--keep", "id,id,label", "--keep", "id", "--output", rows)[0] == 0
    assert score(tmp_path / "t.parquet", "--keep", "id,label", "--output", once)[0] == 0
    if form == "parquet":
        assert pq.read_table(rows).equals(pq.read_table(once))
    else:
        assert rows.read_bytes() == once.read_bytes()
    assert score(tmp_path / "t.parquet", "--keep", "id,label,id", "--output", rows, "--resume")[0] == 0


@pytest.mark.parametrize("kept", ["path,table_path", "table_path,path", "id,table_scene_day,scene_day"])
def test_columns_to_keep_that_would_have_one_name_are_refused(score, tmp_path, kept):
    values = {
        "image": [png(10)],
        "id": [7],
        "path": ["p"],
        "table_path": ["q"],
        "scene_day": [1],
        "table_scene_day": [2],
    }
    pq.write_table(pa.table(values), tmp_path / "t.parquet")
    status, _, err = score(tmp_path / "t.parquet", "--keep", kept, "--output", tmp_path / "rows.csv")
    first, second = kept.split(",")[-2:]
    name = max(first, second, key=len)
    assert (status, f"the columns {first!r} and {second!r} would both be called {name!r}" in err) == (2, True)
    assert not (tmp_path / "rows.csv").exists()
    assert score(tmp_path / "t.parquet", "--keep", first, "--output", tmp_path / "rows.csv")[0] == 0


def test_a_column_to_keep_that_a_table_has_not_is_said(score, tmp_path):
    pq.write_table(pa.table({"image": [png(10)], "id": [1]}), tmp_path / "t.parquet")
    status, out, _ = score(tmp_path / "t.parquet", "--keep", "nothing", "--format", "csv")
    assert status == 1
    assert "no column 'nothing' among image, id; --keep names columns of the table" in out


@pytest.mark.parametrize("form", [[], ["--format", "paths"], ["--print0"], ["--output", "rows.txt"]])
def test_columns_to_keep_are_refused_where_rows_have_no_place_for_them(score, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"image": [png(10)], "id": [1]}), tmp_path / "t.parquet")
    status, out, err = score("t.parquet", "--keep", "id", *form)
    assert (status, out) == (2, "")
    assert "--keep adds columns to rows of csv, jsonl, json and parquet" in err
    assert not (tmp_path / "rows.txt").exists()


def test_photos_are_chosen_by_their_names(score, folder, tmp_path):
    tar(folder / "s.tar", "w", a=png(1), **{"a.target": png(2)})
    status, out, err = score(folder, "--exclude", "*.target.png", "--include", "a*", "--format", "csv")
    assert [float(row["score"]) for row in csv.DictReader(io.StringIO(out))] == [50, 1]
    assert (status, err) == (0, "mpiqe: passed over: 4 left out by --include or --exclude\n")


def test_help_shows_whole_flags_at_80_columns_and_what_stands_in_brackets(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in (
        "score",
        "explain",
        "reproduce",
        "train",
        "demo",
        "bench",
        "export",
        "data",
        "pretrain",
        "evaluate",
    ):
        out = CliRunner().invoke(app, [command, "--help"]).output
        assert max(map(len, out.splitlines())) <= 80, command
        params = [each for each in get_command(app).commands[command].params if not getattr(each, "hidden", False)]
        words = set(re.split(r"[\s,/]+", out))
        assert {flag for each in params for flag in each.opts if flag[0] == "-"} <= words, command
    assert "mpiqe[plots]" in CliRunner().invoke(app, ["demo", "--help"]).output
