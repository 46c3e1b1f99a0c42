"""``mpiqe apply`` as a person uses it: tables in, photos moved, rated and put back."""

import codecs
import errno
import gzip
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpiqe.apply import sidecars, transfer
from mpiqe.apply.transfer import is_second_name, move
from mpiqe.apply.xmp import changed, read_packet
from mpiqe.batch.sinks import CsvSink, kept_names
from mpiqe.cli.main import main
from mpiqe.scoring.score import Row, Score


@pytest.fixture
def mpiqe(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["mpiqe", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("x/a.jpg", "x/b.jpg", "y/a.jpg", "y/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


DECIDED = (
    "path,decision,rating\nphotos/x/a.jpg,reject,\nphotos/x/b.jpg,pick,5\nphotos/y/a.jpg,reject,1\nphotos/y/c.png,,3\n"
)


def files(folder="."):
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".jsonl")


def journal_in(out):
    (line,) = [line for line in out.splitlines() if line.startswith("to undo: ")]
    return line.removeprefix("to undo: mpiqe apply --undo ")


def test_without_go_nothing_is_done(mpiqe, photos):
    Path("d.csv").write_text(DECIDED)
    before = files()
    status, out, err = mpiqe("apply", "d.csv", "--move", "rejects")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "move  photos/x/a.jpg -> rejects/x/a.jpg",
        "move  photos/y/a.jpg -> rejects/y/a.jpg",
        "would move 2 photos of 4 (reject) to rejects; nothing was done: --go does it",
    ]
    assert files() == before
    assert not Path("rejects").exists()


def test_rejects_are_moved_with_their_sidecars_and_undo_puts_them_back(mpiqe, photos):
    (photos / "x/a.jpg.xmp").write_text("edits")
    (photos / "y/a.xmp").write_text("edits of Adobe's")
    (photos / "x/b.xmp").write_text("of b")
    Path("d.csv").write_text(DECIDED)
    before = {name: Path(name).read_bytes() for name in files()}
    stamp = (photos / "x/a.jpg").stat().st_mtime_ns
    status, out, err = mpiqe("apply", "d.csv", "--move", "rejects", "--go")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "moved 2 photos of 4 (reject) and 2 sidecars to rejects"
    assert files("rejects") == ["rejects/x/a.jpg", "rejects/x/a.jpg.xmp", "rejects/y/a.jpg", "rejects/y/a.xmp"]
    assert files("photos") == ["photos/x/b.jpg", "photos/x/b.xmp", "photos/y/c.png"]
    assert Path("rejects/x/a.jpg").stat().st_mtime_ns == stamp
    status, out, _ = mpiqe("apply", "--undo", journal_in(out))
    assert (status, out) == (0, "put back 4 of 4 files\n")
    assert {name: Path(name).read_bytes() for name in files()} == before
    assert [path.suffix for path in Path("rejects").iterdir()] == [".jsonl"]  # the folders that were made are gone


@pytest.mark.parametrize("form", ["csv", "semicolons", "excel", "json", "jsonl", "parquet"])
def test_decisions_are_read_in_every_form(mpiqe, photos, form):
    rows = [line.split(",") for line in DECIDED.splitlines()[1:]]
    values = [
        {"path": path, "decision": decision, "rating": int(rating) if rating else None}
        for path, decision, rating in rows
    ]
    table = Path("decisions")
    if form == "csv":
        table.write_text(DECIDED)
    elif form == "semicolons":
        table.write_text(DECIDED.replace(",", ";"))
    elif form == "excel":
        table.write_bytes(b"\xef\xbb\xbf" + DECIDED.replace("\n", "\r\n").replace("path", "Path").encode())
    elif form == "json":
        table.write_text(json.dumps(values))
    elif form == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in values))
    else:
        written = pa.Table.from_pylist(values)
        pq.write_table(written, table)
        assert "is a Parquet file that mpiqe score has not written" in mpiqe("apply", table, "--move", "out")[2]
        pq.write_table(written.replace_schema_metadata({"mpiqe": "{}"}), table)
    assert mpiqe("apply", table, "--move", "out", "--go")[0] == 0
    assert files("out") == ["out/x/a.jpg", "out/y/a.jpg"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--copy", "out"], ["x/b.jpg"]),
        (["--copy", "out", "--act-on", "5,3"], ["x/b.jpg", "y/c.png"]),
        (["--copy", "out", "--act-on", "undecided"], []),
        (["--copy", "out", "--act-on", "reject, 1"], ["x/a.jpg", "y/a.jpg"]),
        (["--copy", "out", "--act-on", "reject", "--flat"], ["a-2.jpg", "a.jpg"]),
        (["--copy", "out", "--act-on", "pick", "--root", "."], ["photos/x/b.jpg"]),
    ],
)
def test_which_decisions_and_where_to_is_an_option(mpiqe, photos, options, names):
    Path("d.csv").write_text(DECIDED)
    before = files("photos")
    assert mpiqe("apply", "d.csv", *options, "--go")[0] == 0
    assert files("out") == [f"out/{name}" for name in names]
    assert files("photos") == before


def test_nothing_is_written_over_and_capitals_do_not_clash(mpiqe, photos):
    (photos / "x/A.JPG").write_bytes(b"capitals")
    Path("out").mkdir()
    Path("out/b.jpg").write_bytes(b"was here")
    os.symlink("nowhere", "out/c.png")
    Path("list.txt").write_text(
        "".join(f"photos/{name}\n" for name in ("x/a.jpg", "x/A.JPG", "y/a.jpg", "x/b.jpg", "y/c.png"))
    )
    assert mpiqe("apply", "list.txt", "--move", "out", "--flat", "--go")[0] == 0
    content = {
        path.name: path.read_bytes()
        for path in Path("out").iterdir()
        if not path.is_symlink() and path.suffix != ".jsonl"
    }
    assert content == {
        "a.jpg": b"x/a.jpg",
        "A-2.JPG": b"capitals",
        "a-3.jpg": b"y/a.jpg",
        "b.jpg": b"was here",
        "b-2.jpg": b"x/b.jpg",
        "c-2.png": b"y/c.png",
    }


@pytest.mark.parametrize("action", ["copy", "link"])
def test_a_second_name_of_a_photo_in_the_target_is_a_name_that_is_taken(mpiqe, photos, action):
    Path("out").mkdir()
    os.link(photos / "x/a.jpg", "out/a.jpg")
    status, _, err = mpiqe("apply", "-", f"--{action}", "out", "--go", stdin=b"photos/x/a.jpg\n")
    assert (status, err) == (0, "")
    assert Path("out/a-2.jpg").read_bytes() == b"x/a.jpg"
    assert os.path.samefile("out/a.jpg", photos / "x/a.jpg")


def test_undo_of_a_move_to_an_older_name_of_the_photo_keeps_both(mpiqe, photos):
    Path("out").mkdir()
    (photos / "x/a.jpg.xmp").write_bytes(b"its sidecar")
    for name in ("a.jpg", "a.jpg.xmp"):
        os.link(photos / "x" / name, Path("out") / name)
    before = files()
    out = mpiqe("apply", "-", "--move", "out", "--go", stdin=b"photos/x/a.jpg\n")[1]
    assert not {"photos/x/a.jpg", "photos/x/a.jpg.xmp"} & set(files())
    for _ in range(2):
        assert mpiqe("apply", "--undo", journal_in(out))[0] == 0
        assert files() == before
        assert os.path.samefile("out/a.jpg", photos / "x/a.jpg")


def test_an_older_name_of_a_photo_stays_where_its_move_fails(mpiqe, photos, monkeypatch):
    Path("out").mkdir()
    (photos / "x/a.jpg.xmp").write_bytes(b"its sidecar")
    for name in ("a.jpg", "a.jpg.xmp"):
        os.link(photos / "x" / name, Path("out") / name)
    before, unlink = files(), os.unlink

    def failing(path, **options):
        if str(path).endswith("x/a.jpg"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", failing)
    status, _, err = mpiqe("apply", "-", "--move", "out", "--go", stdin=b"photos/x/a.jpg\n")
    assert (status, files()) == (1, before)
    assert "Read-only file system" in err


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_tables_in_utf_16_are_read_as_excel_saves_them(mpiqe, photos, encoding, separator):
    text = DECIDED.replace(",", separator) + f"photos/\N{SNOWMAN}.jpg{separator}reject{separator}\n"
    (photos / "\N{SNOWMAN}.jpg").write_bytes(b"snow")
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    Path("d.csv").write_bytes(mark + text.encode(encoding))
    status, out, err = mpiqe("apply", "d.csv", "--move", "out")
    assert (status, err) == (0, "")
    assert "would move 3 photos of 5" in out
    Path("d.csv").write_bytes(mark + text.encode(encoding)[:-1])
    assert mpiqe("apply", "d.csv", "--move", "out")[0::2] == (
        2, "mpiqe: d.csv begins as UTF-16 does and is not; save it in UTF-8\n"
    )  # fmt: skip


def test_a_value_that_is_no_path_does_not_fill_the_screen(mpiqe, photos):
    Path("d.json").write_text(json.dumps({"path": {str(number): "a.jpg" for number in range(1000)}, "score": 1}))
    status, _, err = mpiqe("apply", "d.json", "--xmp")
    assert (status, len(err) < 200) == (2, True)
    assert "is not the path of a photo" in err


def test_a_photo_that_may_not_be_seen_is_not_said_to_be_missing(mpiqe, photos):
    long = "photos/" + "x" * 300 + ".jpg"
    status, _, err = mpiqe("apply", "-", "--move", "out", stdin=long.encode() + b"\n")
    assert (status, err) == (1, f"mpiqe: left alone: {long}: File name too long\n")


def test_a_sidecar_that_could_not_be_written_is_not_counted_as_written(mpiqe, photos, monkeypatch):
    Path("d.csv").write_text(DECIDED)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sidecars.SidecarEdit, "write", full)
    status, out, err = mpiqe("apply", "d.csv", "--xmp", "--go")
    assert status == 1
    assert "wrote 0 sidecars, 4 failed, 0 need no change" in out
    assert err.count("No space left on device") == 4


def test_what_cannot_be_moved_is_named_and_the_rest_is_moved(mpiqe, photos):
    os.symlink("x/a.jpg", photos / "link.jpg")
    Path("out").mkdir()
    Path("out/there.jpg").touch()
    names = [
        "photos/gone.jpg",
        "s3://b/x.jpg",
        "a.tar::x.jpg",
        "photos/link.jpg",
        "photos/x",
        "out/there.jpg",
        "photos/x/b.jpg",
    ]
    status, out, err = mpiqe("apply", "-", "--move", "out", "--go", stdin="\0".join(names).encode())
    assert status == 1
    assert "moved 1 photo of 7 (all)" in out
    assert err.splitlines() == [
        "mpiqe: left alone: photos/gone.jpg: is not there",
        "mpiqe: left alone: s3://b/x.jpg: is not on this machine",
        "mpiqe: left alone: a.tar::x.jpg: is in an archive; unpack it first",
        "mpiqe: left alone: photos/link.jpg: is a symbolic link; act on the file that it leads to",
        "mpiqe: left alone: photos/x: is no file",
        f"mpiqe: left alone: out/there.jpg: is in {Path.cwd() / 'out'} already",
    ]


def test_a_table_of_another_folder_says_how_its_paths_are_meant(mpiqe, photos):
    Path("d.csv").write_text(DECIDED.replace("photos/", ""))
    status, _, err = mpiqe("apply", "d.csv", "--move", "out")
    assert status == 1
    assert err.splitlines()[-1].endswith("run this in the same folder, or give --root")
    assert mpiqe("apply", "d.csv", "--move", "out", "--root", "photos")[2] == ""


def test_names_that_are_not_utf_8_come_through(mpiqe, photos):
    name = b"photos/caf\xe9 \\udc41.jpg"
    Path(os.fsdecode(name)).write_bytes(b"odd")
    assert mpiqe("apply", "-", "--move", "out", "--go", stdin=name + b"\0")[0] == 0
    assert os.path.exists(b"out/caf\xe9 \\udc41.jpg")
    journal = next(Path("out").glob("*.jsonl"))
    assert mpiqe("apply", "--undo", journal)[0] == 0
    assert os.path.exists(name)
    Path("scores.csv").write_text('path,score\n"photos/caf\\udce9 \\udc5cudc41.jpg",1.0\n')
    assert mpiqe("apply", "scores.csv", "--worst", 1, "--move", "out", "--go")[0] == 0
    assert os.path.exists(b"out/caf\xe9 \\udc41.jpg")


def test_undo_leaves_what_changed_and_says_so(mpiqe, photos):
    Path("d.csv").write_text(DECIDED)
    _, out, _ = mpiqe("apply", "d.csv", "--move", "rejects", "--go")
    (photos / "x/a.jpg").write_bytes(b"another photo of that name")
    status, said, err = mpiqe("apply", "--undo", journal_in(out))
    assert status == 1
    assert said == "put back 1 of 2 files\n"
    assert "left alone: rejects/x/a.jpg: stays: there is another" in err
    assert (photos / "x/a.jpg").read_bytes() == b"another photo of that name"
    assert Path("rejects/x/a.jpg").read_bytes() == b"x/a.jpg"
    (photos / "x/a.jpg").unlink()
    assert mpiqe("apply", "--undo", journal_in(out))[:2] == (0, "put back 2 of 2 files\n")
    assert (photos / "x/a.jpg").read_bytes() == b"x/a.jpg"


def test_undo_of_a_copy_keeps_the_last_one_of_a_photo(mpiqe, photos):
    Path("list").write_text("photos/x/a.jpg\nphotos/x/b.jpg\nphotos/y/c.png\n")
    _, out, _ = mpiqe("apply", "list", "--copy", "out", "--go", "--flat")
    (photos / "x/a.jpg").unlink()
    Path("out/b.jpg").write_bytes(b"edited")
    status, said, err = mpiqe("apply", "--undo", journal_in(out))
    assert (status, said) == (1, "put back 1 of 3 files\n")
    assert "the original" in err
    assert "it differs from" in err
    assert files("out") == ["out/a.jpg", "out/b.jpg"]


@pytest.mark.parametrize(("listed", "target"), [("photos/x/a.jpg", "alias"), ("alias/a.jpg", "photos/x")])
def test_a_photo_whose_folder_is_the_target_by_another_path_is_left(mpiqe, photos, listed, target):
    Path("alias").symlink_to(photos / "x")
    Path("list").write_text(f"{listed}\n")
    status, _, err = mpiqe("apply", "list", "--move", target, "--go")
    assert (status, (photos / "x/a.jpg").read_bytes()) == (1, b"x/a.jpg")
    assert f"left alone: {listed}: is in " in err


def test_one_name_that_two_paths_lead_to_is_no_second_name(photos, tmp_path):
    (tmp_path / "alias").symlink_to(photos / "x")
    one, other = str(photos / "x/a.jpg"), str(tmp_path / "alias/a.jpg")
    os.link(one, tmp_path / "elsewhere.jpg")
    assert is_second_name(one, str(tmp_path / "elsewhere.jpg"))
    assert not is_second_name(one, other)
    with pytest.raises(FileExistsError):
        move(one, other, str(tmp_path / "alias/a.part"))
    assert Path(one).read_bytes() == b"x/a.jpg"


@pytest.mark.parametrize("action", ["--move", "--copy"])
def test_undo_keeps_a_photo_whose_old_folder_leads_to_the_new_one(mpiqe, photos, action):
    Path("list").write_text("photos/x/a.jpg\n")
    _, out, _ = mpiqe("apply", "list", action, "out", "--go")
    shutil.rmtree(photos / "x")
    (photos / "x").symlink_to(Path("out").resolve())
    status, said, err = mpiqe("apply", "--undo", journal_in(out))
    assert (status, said) == (1, "put back 0 of 1 file\n")
    assert "is the same file" in err
    assert Path("out/a.jpg").read_bytes() == b"x/a.jpg"


@pytest.mark.parametrize("action", ["move", "copy"])
def test_a_sidecar_stays_with_its_photo(mpiqe, photos, monkeypatch, action):
    (photos / "x/a.jpg.xmp").write_bytes(b"edits")
    Path("list").write_text("photos/x/a.jpg\nphotos/x/b.jpg\n")
    real = getattr(transfer, action)

    def fails(source, target, temporary):
        if source.endswith("a.jpg"):
            raise OSError(errno.EFBIG, "File too large")
        real(source, target, temporary)

    monkeypatch.setattr(transfer, action, fails)
    status, out, err = mpiqe("apply", "list", f"--{action}", "out", "--go")
    assert status == 1
    assert "2 files of these failed" in out
    assert "photos/x/a.jpg: File too large" in err
    assert "photos/x/a.jpg.xmp: stays with a.jpg" in err
    assert files("out") == ["out/b.jpg"]
    assert (photos / "x/a.jpg.xmp").read_bytes() == b"edits"
    monkeypatch.undo()
    monkeypatch.chdir(photos.parent)
    assert mpiqe("apply", "--undo", journal_in(out))[1] == "put back 1 of 1 file\n"
    assert files("out") == []


def test_a_photo_stays_with_a_sidecar_that_cannot_be_moved(mpiqe, photos, monkeypatch):
    (photos / "x/a.jpg.xmp").write_bytes(b"edits")
    Path("list").write_text("photos/x/a.jpg\n")

    def fails(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(transfer, "move", fails)
    status, _, err = mpiqe("apply", "list", "--move", "out", "--go")
    assert status == 1
    assert "photos/x/a.jpg: stays with a.jpg.xmp" in err
    assert (photos / "x/a.jpg").exists()


def test_a_folder_that_cannot_be_made_costs_its_own_photos(mpiqe, photos):
    Path("out").mkdir()
    Path("out/x").symlink_to("nowhere")
    Path("list").write_text("photos/x/a.jpg\nphotos/y/a.jpg\n")
    status, out, err = mpiqe("apply", "list", "--move", "out", "--go")
    assert (status, files("out")) == (1, ["out/y/a.jpg"])
    assert "1 file of these failed" in out
    assert "out/x is not a folder" in err
    assert (photos / "x/a.jpg").exists()


def test_links_lead_to_the_photos(mpiqe, photos):
    Path("list").write_text("photos/x/a.jpg\n")
    _, out, _ = mpiqe("apply", "list", "--link", "out", "--go")
    assert Path("out/a.jpg").is_symlink()
    assert Path("out/a.jpg").read_bytes() == b"x/a.jpg"
    assert mpiqe("apply", "--undo", journal_in(out))[0] == 0
    assert not Path("out/a.jpg").is_symlink()


def test_a_move_to_another_file_system_keeps_times_and_content(mpiqe, photos):
    shm = Path("/dev/shm")  # noqa: S108
    if not shm.is_dir() or shm.stat().st_dev == photos.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    os.utime(photos / "x/a.jpg", ns=(10**18, 10**18 + 7))
    os.chmod(photos / "x/a.jpg", 0o640)
    Path("list").write_text("photos/x/a.jpg\n")
    target = shm / f"mpiqe-test-{os.getpid()}"
    try:
        _, out, _ = mpiqe("apply", "list", "--move", target, "--go")
        moved = target / "a.jpg"
        assert (moved.stat().st_mtime_ns, moved.stat().st_mode & 0o777) == (10**18 + 7, 0o640)
        assert moved.read_bytes() == b"x/a.jpg"
        assert not (photos / "x/a.jpg").exists()
        assert mpiqe("apply", "--undo", journal_in(out))[0] == 0
        assert (photos / "x/a.jpg").stat().st_mtime_ns == 10**18 + 7
    finally:
        for path in target.iterdir():
            path.unlink()
        target.rmdir()


SCORED = (
    "path,score,quality,spread,scene,distortion,width,height,interval_low,interval_high,error\n"
    + "".join(
        f"photos/{name},{score},{score / 100},1,day,blur,4,4,{score - 5},{score + 5},\n"
        for name, score in (("x/a.jpg", 90), ("x/b.jpg", 10), ("y/a.jpg", 60))
    )
    + "photos/y/c.png,,,,,,,,,,empty file\n"
)


def test_scores_become_stars_and_the_thresholds_are_said(mpiqe, photos):
    Path("scores.csv").write_text(SCORED)
    status, out, err = mpiqe("apply", "scores.csv", "--xmp", "--go")
    assert status == 1
    assert err == "mpiqe: left alone: photos/y/c.png: has no score and no decision\n"
    assert "ratings by score: 1 star for a quality below 0.2, and 2 from 0.2, 3 from 0.4, 4 from 0.6, 5 from 0.8" in out
    packets = {str(path.relative_to(photos)): read_packet(path.read_bytes()) for path in photos.rglob("*.xmp")}
    ratings = {name: packet.rating for name, packet in packets.items()}
    assert ratings == {"x/a.jpg.xmp": 5, "x/b.jpg.xmp": 1, "y/a.jpg.xmp": 4}
    assert packets["x/a.jpg.xmp"].ours == {
        "Score": "90.0",
        "Quality": "0.9",
        "IntervalLow": "85.0",
        "IntervalHigh": "95.0",
        "Distortion": "blur",
        "Rating": "5",
    }
    assert mpiqe("apply", "scores.csv", "--xmp", "--go")[1].startswith("wrote 0 sidecars, 3 need no change")
    assert mpiqe("apply", "--undo", journal_in(out))[0] == 0
    assert list(photos.rglob("*.xmp")) == []


def test_a_persons_rating_stays_unless_a_person_decided_otherwise(mpiqe, photos):
    Path("scores.csv").write_text(SCORED)
    Path("d.csv").write_text("path,decision,rating\nphotos/x/a.jpg,,2\n")
    assert mpiqe("apply", "d.csv", "--xmp", "--go")[0] == 0
    sidecar = photos / "x/a.jpg.xmp"
    _, out, _ = mpiqe("apply", "scores.csv", "--xmp", "--go")
    assert read_packet(sidecar.read_bytes()).rating == 2
    assert "1 rating of others stay; --replace-ratings replaces them" in out
    assert read_packet(sidecar.read_bytes()).ours["Score"] == "90.0"
    mpiqe("apply", "scores.csv", "--xmp", "--go", "--replace-ratings")
    assert read_packet(sidecar.read_bytes()).rating == 5
    mpiqe("apply", "scores.csv", "--xmp", "--go", "--stars", "0.91,0.92,0.93,0.94")
    assert read_packet(sidecar.read_bytes()).rating == 1  # ours may change
    mpiqe("apply", "d.csv", "--xmp", "--go")
    assert read_packet(sidecar.read_bytes()).rating == 2


def test_a_persons_rating_that_equals_ours_stays_theirs(mpiqe, photos):
    sidecar = photos / "x/a.jpg.xmp"
    theirs = changed(None, rating=3, ours={})
    sidecar.write_bytes(theirs)
    for quality in (0.5, 0.9):  # 3 stars, 5 stars
        Path("scores.csv").write_text(f"path,score,quality\nphotos/x/a.jpg,1,{quality}\n")
        _, out, _ = mpiqe("apply", "scores.csv", "--xmp", "--go")
        packet = read_packet(sidecar.read_bytes())
        assert packet.rating == 3
        assert packet.ours == {"Score": "1.0", "Quality": str(quality)}
        assert "1 rating of others stay; --replace-ratings replaces them" in out
    mpiqe("apply", "scores.csv", "--xmp", "--go", "--replace-ratings")
    assert read_packet(sidecar.read_bytes()).ours["Rating"] == "5"


def test_a_rating_that_stays_keeps_the_bytes_of_its_number(mpiqe, photos):
    sidecar = photos / "x/a.jpg.xmp"
    sidecar.write_bytes(changed(None, rating=3, ours={}).replace(b'Rating="3"', b'Rating="2.6"'))
    Path("scores.csv").write_text("path,score,quality\nphotos/x/a.jpg,1,0.9\n")
    assert mpiqe("apply", "scores.csv", "--xmp", "--go")[0] == 0
    assert b'xmp:Rating="2.6"' in sidecar.read_bytes()


@pytest.mark.parametrize(
    ("reject", "options"),
    [
        ("path,decision\nphotos/x/a.jpg,reject\n", []),
        ("path,decision,score,quality\nphotos/x/a.jpg,reject,70,0.7\n", []),
        ("path,score,quality\nphotos/x/a.jpg,10,0.1\n", ["--reject-below", 0.3]),
    ],
)
@pytest.mark.parametrize(
    ("pick", "rating", "ours"),
    [
        ("path,decision\nphotos/x/a.jpg,pick\n", 0, None),
        ("path,decision,score,quality\nphotos/x/a.jpg,pick,70,0.7\n", 4, "4"),
        ("path,decision,rating\nphotos/x/a.jpg,pick,2\n", 2, None),
    ],
)
@pytest.mark.parametrize("scored_between", [False, True])
def test_a_photo_that_mpiqe_rejected_is_no_longer_rejected_once_it_is_picked(
    mpiqe, photos, reject, options, pick, rating, ours, scored_between
):
    Path("d.csv").write_text(reject)
    assert mpiqe("apply", "d.csv", "--xmp", "--go", *options)[0] == 0
    sidecar = photos / "x/a.jpg.xmp"
    assert read_packet(sidecar.read_bytes()).rating == -1
    if scored_between:
        Path("scores.csv").write_text("path,score,quality\nphotos/x/a.jpg,10,0.1\n")
        mpiqe("apply", "scores.csv", "--xmp", "--go", *options)
        assert read_packet(sidecar.read_bytes()).rating == -1  # a score does not take a decision back
    Path("d.csv").write_text(pick)
    _, out, _ = mpiqe("apply", "d.csv", "--xmp", "--go")
    packet = read_packet(sidecar.read_bytes())
    assert (packet.rating, packet.ours["Decision"], packet.ours.get("Rating")) == (rating, "pick", ours)
    assert "of others" not in out
    assert "wrote 0 sidecars, 1 need no change" in mpiqe("apply", "d.csv", "--xmp", "--go")[1]


@pytest.mark.parametrize("columns", ["path,decision", "path,decision,quality"])
def test_what_another_program_rejected_stays_so_when_picked_and_that_is_said(mpiqe, photos, columns):
    sidecar = photos / "x/a.jpg.xmp"
    sidecar.write_bytes(changed(None, rating=-1, ours={}))
    Path("d.csv").write_text(f"{columns}\nphotos/x/a.jpg,pick{',0.9' if 'quality' in columns else ''}\n")
    _, out, _ = mpiqe("apply", "d.csv", "--xmp", "--go")
    assert read_packet(sidecar.read_bytes()).rating == -1
    assert "1 rating of others stay; --replace-ratings replaces them" in out
    mpiqe("apply", "d.csv", "--xmp", "--go", "--replace-ratings")
    assert read_packet(sidecar.read_bytes()).rating == (5 if "quality" in columns else 0)


def test_a_low_quality_does_not_reject_a_pick(mpiqe, photos):
    Path("d.csv").write_text("path,decision,score,quality\nphotos/x/a.jpg,pick,10,0.1\nphotos/x/b.jpg,,10,0.1\n")
    _, out, _ = mpiqe("apply", "d.csv", "--xmp", "--act-on", "pick,undecided", "--reject-below", "0.3")
    assert "create  photos/x/a.jpg.xmp  rating 1" in out
    assert "create  photos/x/b.jpg.xmp  rating -1" in out


def test_our_rating_is_still_known_as_ours_after_a_pick_without_a_score(mpiqe, photos):
    Path("scores.csv").write_text("path,score,quality\nphotos/x/a.jpg,50,0.5\n")
    Path("d.csv").write_text("path,decision\nphotos/x/a.jpg,pick\n")
    for table in ("scores.csv", "d.csv"):
        assert mpiqe("apply", table, "--xmp", "--go")[0] == 0
    Path("scores.csv").write_text("path,score,quality\nphotos/x/a.jpg,90,0.9\n")
    _, out, _ = mpiqe("apply", "scores.csv", "--xmp", "--go")
    assert read_packet((photos / "x/a.jpg.xmp").read_bytes()).rating == 5
    assert "of others" not in out


def test_adobes_sidecars_have_no_suffix_of_the_photo_and_are_not_shared(mpiqe, photos):
    (photos / "x/a.png").write_bytes(b"another a")
    Path("d.csv").write_text("path,rating\nphotos/x/a.jpg,4\nphotos/x/a.png,2\n")
    status, _, err = mpiqe("apply", "d.csv", "--xmp", "--sidecar", "adobe", "--go")
    assert status == 1
    assert err == "mpiqe: left alone: photos/x/a.png: would share its sidecar with a.jpg\n"
    assert read_packet((photos / "x/a.xmp").read_bytes()).rating == 4
    _, out, _ = mpiqe("apply", "d.csv", "--xmp")
    assert "2 photos also have a sidecar of --sidecar adobe, which stays as it is" in out


def test_a_sidecar_that_is_none_is_left_as_it_is(mpiqe, photos):
    (photos / "x/a.jpg.xmp").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    Path("d.csv").write_text("path,rating\nphotos/x/a.jpg,4\nphotos/x/b.jpg,2\n")
    status, _, err = mpiqe("apply", "d.csv", "--xmp", "--go")
    assert status == 1
    reason = "it has a document type declaration, which XMP does not allow"
    assert err == f"mpiqe: left alone: photos/x/a.jpg: a.jpg.xmp: {reason}\n"
    assert (photos / "x/b.jpg.xmp").exists()


@pytest.mark.parametrize("value", ["inf", "1e999"])
def test_a_sidecar_whose_rating_is_infinite_gets_ours_and_the_run_goes_on(mpiqe, photos, value):
    sidecar = photos / "x/b.jpg.xmp"
    sidecar.write_bytes(changed(None, rating=3, ours={}).replace(b'Rating="3"', f'Rating="{value}"'.encode()))
    Path("d.csv").write_text("path,rating\nphotos/x/a.jpg,4\nphotos/x/b.jpg,2\nphotos/y/a.jpg,1\n")
    status, out, err = mpiqe("apply", "d.csv", "--xmp", "--go")
    assert (status, err) == (0, "")
    assert "wrote 3 sidecars, 0 need no change" in out
    assert read_packet(sidecar.read_bytes()).rating == 2


@pytest.mark.parametrize(
    ("before", "separator"),
    [
        (b"", b"\0"),
        (b"[1].jpg", b"\0"),
        (b"{a}.jpg", b"\0"),
        (b"x" * 200_000, b"\0"),
        (b"x" * 200_000, b"\n"),
        (b"a\rb", b"\n"),
    ],
)  # fmt: skip
def test_lists_of_paths_are_read_whatever_begins_them(mpiqe, photos, before, separator):
    content = separator.join([before, b"photos/x/a.jpg", b"photos/x/b.jpg", b""])
    status, out, _ = mpiqe("apply", "-", "--copy", "out", stdin=content)
    assert status == (1 if before else 0)
    assert "would copy 2 photos" in out


def test_columns_that_were_kept_of_a_table_are_no_decisions(mpiqe, photos):
    assert kept_names(["rating", "decision", "id"]) == ("table_rating", "table_decision", "id")
    row = Row(
        "photos/x/a.jpg", Score(60.0, 1.0, {}, {}, (8, 8), quality=0.6), None, kept={"rating": 4.7, "decision": "b"}
    )
    with open("s.csv", "w") as file:
        CsvSink(file, kept=["rating", "decision"]).write(row)
    status, out, err = mpiqe("apply", "s.csv", "--copy", "out", "--min-score", "50")
    assert (status, err) == (0, "")
    assert "would copy 1 photo of 1" in out


def test_lines_of_a_table_may_end_in_a_carriage_return(mpiqe, photos):
    Path("d.csv").write_bytes(DECIDED.replace("\n", "\r").encode())
    status, out, _ = mpiqe("apply", "d.csv", "--move", "rejects")
    assert status == 0
    assert "would move 2 photos of 4 (reject)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["d.csv.gz", "--move", "a"], "d.csv.gz is compressed; unpack it with gunzip"),
        (["d.csv"], "give FILE and one of --move DIR"),
        (["d.csv", "--move", "a", "--copy", "b"], "give FILE and one of --move DIR"),
        (["none.csv", "--move", "a"], "cannot read none.csv: No such file or directory"),
        (["d.csv", "--move", "a", "--act-on", "best"], "'best' is none of pick, reject, undecided, 0"),
        (["s.csv", "--move", "a"], "say which photos to move, with --max-score S"),
        (["s.csv", "--move", "a", "--act-on", "reject"], "has no decisions and ratings"),
        (["d.csv", "--move", "a", "--worst", "1"], "has no scores"),
        (["l.txt", "--xmp"], "has paths alone: --xmp needs decisions, ratings or scores"),
        (["old.csv", "--xmp"], "scores without the column quality"),
        (["bad.csv", "--xmp"], "bad.csv, line 3: rating = '6': it must be a whole number from 0 to 5, or empty"),
        (["bad.csv", "--xmp"], "bad.csv, line 2: decision = 'maybe'"),
        (["long.json", "--xmp"], "000.. is not a number"),
        (["long.jsonl", "--move", "a", "--worst", "1"], "long.jsonl, line 1: score = 1000"),
        (["d.csv", "--xmp", "--stars", "1,2"], "--stars '1,2': give four rising qualities"),
        (["d.csv", "--xmp", "--stars", "0.1,nan,0.5,0.6"], "--stars '0.1,nan,0.5,0.6': give four rising qualities"),
        (["--undo", "d.csv"], "d.csv is not a journal of mpiqe apply"),
        (["--undo", "none"], "cannot read the journal"),
        (["--undo", "d.csv", "--go"], "--undo JOURNAL stands alone; leave out --go"),
        (["--undo", "d.csv", "l.txt", "--xmp"], "--undo JOURNAL stands alone; leave out FILE, --xmp"),
        (
            ["--undo", "d.csv", "--flat", "--reject-below", "0", "--replace-ratings", "--sidecar", "adobe"],
            "leave out --flat, --sidecar, --reject-below, --replace-ratings",
        ),
        (
            ["d.csv", "--move", "a", "--stars", "0.1,0.2,0.3,0.4", "--reject-below", "7", "--replace-ratings"],
            "with --move, leave out --stars, --reject-below, --replace-ratings, of use only with --xmp",
        ),
        (["d.csv", "--copy", "a", "--sidecar", "darktable"], "with --copy, leave out --sidecar, of use only with"),
        (["d.csv", "--xmp", "--flat"], "with --xmp, leave out --flat, of use only with --move, --copy and --link"),
        (["d.csv", "--xmp", "--act-on", "0", "--reject-below", "7"], "--reject-below must be a quality from 0 to 1"),
        (["d.csv", "--move", "d.csv"], "d.csv is not a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error(mpiqe, photos, arguments, message):
    Path("d.csv").write_text(DECIDED)
    Path("d.csv.gz").write_bytes(gzip.compress(DECIDED.encode()))
    Path("s.csv").write_text(SCORED)
    Path("l.txt").write_text("photos/x/a.jpg\n")
    Path("old.csv").write_text("path,score\nphotos/x/a.jpg,4\n")
    Path("bad.csv").write_text("path,decision,rating\nphotos/x/a.jpg,maybe,\nphotos/x/b.jpg,pick,6\n")
    Path("long.json").write_text('[{"path":"a.jpg","rating":1' + "0" * 400 + "}]")
    Path("long.jsonl").write_text('{"path":"a.jpg","score":1' + "0" * 400 + "}\n")
    before = files()
    status, out, err = mpiqe("apply", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert files() == before
