import io
import os
import sys
from itertools import islice

import pytest

from mpiqe.scoring.paths import expand, find


def expanded(*paths, stdin=b""):
    return list(expand(paths, stdin=io.BytesIO(stdin)))


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "deep/er/c.webp",
        "deep/d.tiff",
        ".cache/e.png",
        "z.gif",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def test_a_folder_stands_for_the_images_below_it_by_name(folder):
    expected = ["a.png", "b.JPG", "deep/d.tiff", "deep/er/c.webp", "z.gif"]
    assert expanded(str(folder)) == [str(folder / name) for name in expected]


def test_a_named_file_stands_for_itself_whatever_its_name(folder):
    named = [str(folder / "notes.txt"), str(folder / ".hidden.png"), "missing.jpg"]
    assert expanded(*named) == named


def test_the_order_is_that_of_the_arguments(folder):
    named = [str(folder / "z.gif"), str(folder / "deep"), str(folder / "a.png")]
    assert expanded(*named) == [named[0], *expanded(named[1]), named[2]]


def test_a_dash_stands_for_the_lines_of_stdin(folder):
    lines = f"x y.jpg\r\n\n{folder}\n-\nlast.png".encode()
    assert expanded("first.png", "-", stdin=lines) == ["first.png", "x y.jpg", *expanded(str(folder)), "-", "last.png"]


def test_stdin_is_read_while_its_paths_are_used():
    def lines():
        yield b"a.jpg\n"
        raise AssertionError("read too far")

    assert list(islice(expand(["-"], stdin=lines()), 1)) == ["a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_not_utf8_survives(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    open(name, "w").close()
    assert [os.fsencode(path) for path in expanded(str(tmp_path))] == [name]
    assert [os.fsencode(path) for path in expanded("-", stdin=name)] == [name]


def test_links_to_folders_are_not_followed(folder):
    before = expanded(str(folder))
    (folder / "deep" / "loop.png").symlink_to(folder)
    (folder / "deep" / "loop").symlink_to(folder)
    assert expanded(str(folder)) == before


def test_a_folder_that_cannot_be_listed_stands_for_itself(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = ["a.png", "b.JPG", "deep", "z.gif"]
    assert expanded(str(folder)) == [str(folder / name) for name in expected]


def test_a_found_photo_knows_the_folder_that_stood_for_it(folder):
    deep, named = str(folder / "deep"), str(folder / "a.png")
    found = list(find([deep, named, "-"], stdin=io.BytesIO(f"{deep}\nmissing.jpg".encode())))
    assert [photo.below for photo in found] == [deep, deep, None, deep, deep, None]
    assert [photo.path for photo in found] == expanded(deep, named, deep, "missing.jpg")
