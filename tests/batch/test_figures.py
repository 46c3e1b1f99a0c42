import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpiqe.batch.figures import FigureFolder
from mpiqe.errors import ConfigError
from mpiqe.scoring.explanation import Explanation
from mpiqe.scoring.score import Scale, Score
from mpiqe.sources.find import find
from mpiqe.sources.photo import file_photo, unreadable


@pytest.fixture
def explanation():
    return Explanation(
        score=Score(score=1.0, spread=0.0, scene={}, distortion={}, size=(4, 3)),
        scale=Scale(low=0, high=1, unit="levels"),
        labels=(),
        distortion=None,
        distortion_map=None,
        attention_map=np.ones((3, 4), np.float32),
        photo=np.zeros((3, 4, 3), np.uint8),
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def places(out, *found):
    folder = FigureFolder(out)
    return [folder.place(file_photo(*photo)).relative_to(out).as_posix() for photo in found]


def test_pictures_are_laid_out_as_the_photos_are(out):
    found = [("photos/a.jpg", "photos"), ("photos/deep/er/a.jpg", "photos"), ("elsewhere/b.tar.JPG", None)]
    assert places(out, *found) == ["a.png", "deep/er/a.png", "b.tar.png"]


def test_photos_of_one_name_do_not_share_a_picture(out):
    found = [("x/a.jpg", None), ("y/a.jpg", None), ("z/a.png", "z"), ("x/A.jpg", None), ("x/a-2.jpg", None)]
    assert places(out, *found) == ["a.png", "a-2.png", "a-3.png", "A-4.png", "a-2-2.png"]


@pytest.mark.parametrize("found", [
    ("../../a.jpg", None), ("/etc/a.jpg", None), ("../up/a.jpg", "../up"), ("../up/b/a.jpg", "../up/"),
    ("./a.jpg", "."), ("x/../a.jpg", "x/.."), ("/a.jpg", "/"), ("/x//a.jpg", "/x/"), ("....jpg", None), (".jpg", None),
])  # fmt: skip
def test_no_path_leads_out_of_the_folder(out, found):
    place = FigureFolder(out).place(file_photo(*found))
    assert ".." not in place.relative_to(out).parts
    assert place.suffix == ".png"
    assert os.path.normpath(place) == str(place)


def test_a_name_as_long_as_it_may_be_leaves_room_for_more(out, explanation):
    folder = FigureFolder(out)
    for _ in range(2):
        path = folder.write(file_photo("é" * 125 + ".jpg"), explanation)
        assert path.is_file()
    assert len(list(out.iterdir())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_not_utf8_has_its_picture(out, explanation):
    path = FigureFolder(out).write(file_photo(os.fsdecode(b"caf\xe9.jpg")), explanation)
    assert os.listdir(os.fsencode(out)) == [b"caf\xe9.png"]
    assert path.is_file()


def test_a_picture_is_whole_and_writes_over_that_of_an_earlier_run(out, explanation):
    for _ in range(2):
        path = FigureFolder(out).write(file_photo("photos/deep/a.jpg", "photos"), explanation)
        assert path == out / "deep" / "a.png"
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
    assert [file for file in out.rglob("*") if file.is_file()] == [path]


def outside(out, *paths):
    return [found.name for found in FigureFolder(out).photos_outside(find(map(str, paths), stdin=None))]


@pytest.fixture
def photos(tmp_path):
    for name in ("photos/a.jpg", "photos/deep/b.jpg", "photos/out/a.png", "photos/out/deep/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "photos"


def test_pictures_found_among_the_photos_are_passed_over(photos, monkeypatch):
    expected = [str(photos / "a.jpg"), str(photos / "deep" / "b.jpg")]
    assert outside(photos / "out", photos) == expected
    monkeypatch.chdir(photos)
    assert outside(Path("out"), ".") == ["./a.jpg", "./deep/b.jpg"]
    monkeypatch.chdir(photos / "out")
    assert outside(Path("."), "..") == ["../a.jpg", "../deep/b.jpg"]


@pytest.mark.parametrize(("out", "asked"), [
    ("photos", "photos"), ("photos", "photos/deep"), ("photos", "photos/a.jpg"), (".", "photos"),
    ("photos/../photos", "photos"), ("linked", "photos"), ("photos", "a-link.jpg"),
])  # fmt: skip
def test_photos_that_a_picture_could_replace_are_refused(photos, tmp_path, out, asked):
    (tmp_path / "linked").symlink_to(photos)
    (tmp_path / "a-link.jpg").symlink_to(photos / "a.jpg")
    with pytest.raises(ConfigError, match=r"lies in the folder that figures are to be written to, .*name another"):
        outside(tmp_path / out, tmp_path / asked)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write figures to .*file/out: .*name another folder"):
        FigureFolder(tmp_path / "file" / "out").make()


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("shard-00/deep/a.jpg", "shard-00/deep/a.png"),
        ("../../etc/passwd.jpg", "etc/passwd.png"),
        ("/etc/a.jpg", "etc/a.png"),
        ("..\\..\\a.jpg", "a.png"),
        ("C:\\x\\a.jpg", "C_/x/a.png"),
        ("s/a.png/b.jpg", "s/a.png_/b.png"),
        ("a\0b\n.jpg", "a_b_.png"),
        ("..", "photo.png"),
        ("", "photo.png"),
        ("x/" * 400 + "a.jpg", "x/" * 15 + "a.png"),
    ],
)
def test_no_name_out_of_an_archive_leads_out_of_the_folder(out, explanation, inside, expected):
    photo = unreadable("shard.tar::whatever", "y", inside)
    assert FigureFolder(out).place(photo).relative_to(out).as_posix() == expected
    assert FigureFolder(out).write(photo, explanation).is_file()


def test_what_is_no_file_cannot_be_written_over(out):
    out.mkdir()
    photo = unreadable(f"{out}/shard.tar::a.jpg", "y", "shard/a.jpg")
    assert list(FigureFolder(out).photos_outside([photo])) == [photo]
