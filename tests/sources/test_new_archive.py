"""A source that one file and one row of the table add (``made_archive.py``), seen from outside."""

import threading
from pathlib import Path

import fsspec
import pytest
from tests.sources.made_archive import MADE, pile

import mpiqe
from mpiqe.batch.job import JobResult
from mpiqe.sources import kinds
from mpiqe.sources.find import Limits, Reach, count, find
from mpiqe.sources.kinds import stem_of

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTENTS = [(EXAMPLES / name).read_bytes() for name in ("coffee.jpg", "rocket.jpg")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "ARCHIVES", (*kinds.ARCHIVES, MADE))


@pytest.fixture
def folder(made: None, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "A.Pile").write_bytes(pile([*CONTENTS, b"no image"]))
    (tmp_path / "photos" / "b.jpg").write_bytes(CONTENTS[0])
    return tmp_path / "photos"


def test_without_its_row_it_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.pile").write_bytes(pile(CONTENTS))
    assert list(find([str(tmp_path)], stdin=None)) == []


def test_its_members_are_found_counted_and_scored_as_photos(folder: Path, tmp_path: Path) -> None:
    photos = list(find([str(folder)], stdin=None))
    assert [photo.name for photo in photos] == [*(f"{folder / 'A.Pile'}::{number}" for number in range(3)),
                                                str(folder / "b.jpg")]  # fmt: skip
    assert [photo.read() for photo in photos] == [*CONTENTS, b"no image", CONTENTS[0]]
    assert photos[0].relative == "A/0"
    assert count([str(folder)], output=None, stopped=threading.Event()) == 4
    assert mpiqe.score_to(folder, tmp_path / "rows.csv", crops=1) == JobResult(4, 1)
    rows = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].split(",")[1:] == rows[4].split(",")[1:]
    assert "cannot be decoded" in rows[3] or "not an image" in rows[3]


def test_a_member_that_is_too_large_costs_its_row(folder: Path) -> None:
    limit = max(map(len, CONTENTS)) - 1
    faults = [photo.fault for photo in find([str(folder / "A.Pile")], stdin=None, limits=Limits(max_bytes=limit))]
    assert sum(fault is not None for fault in faults) == 1


def test_it_is_read_in_a_store_too(made: None) -> None:
    fsspec.filesystem("memory").pipe("/bucket/a.pile", pile(CONTENTS))
    limits = Limits(reach=Reach.of((), schemes=["memory"]))
    photos = list(find(["memory://bucket/a.pile"], stdin=None, limits=limits))
    assert [photo.read() for photo in photos] == CONTENTS


def test_it_is_in_the_help(made: None) -> None:
    assert kinds.listed() == ".tar, .zip, .pile, .parquet and .arrow"


def test_a_stem_is_the_name_without_the_suffix_of_its_kind() -> None:
    names = ("s/A.TAR.GZ", "c:\\x\\b.tgz", "c.zip", ".zip", "a.b.tar", "no.jpg")
    assert [stem_of(name) for name in names] == ["A", "b", "c", ".zip", "a.b", "no.jpg"]
