"""Tar archives, good, compressed and hostile."""

import io
import lzma
import struct
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest

from mpiqe.errors import ImageError
from mpiqe.sources import unpacking
from mpiqe.sources.photo import Budget, Limits
from mpiqe.sources.tar import count, photos

LIMITS = Limits(max_bytes=100_000)
MEMBERS = {"./000.jpg": b"a" * 700, "000.json": b"{}", "deep/001.PNG": b"b" * 512, "._x.jpg": b"no", "x/é.webp": b"",
           "long/" * 40 + "name.jpg": b"c" * 1300}  # fmt: skip
NAMES = ["000.jpg", "deep/001.PNG", "x/é.webp", "long/" * 40 + "name.jpg"]
CONTENTS = [b"a" * 700, b"b" * 512, b"", b"c" * 1300]


def write(path, members=MEMBERS, *, mode="w", form=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def fetched(photo):
    try:
        return photo.read()
    except ImageError as error:
        name, reason = error.name, error.reason
    assert name == photo.name
    return reason


def read(path, *, limits=LIMITS, budget=None):
    found = photos(str(path), shown=str(path), limits=limits, budget=budget or Budget())
    return [(photo.name.removeprefix(f"{path}"), fetched(photo)) for photo in found]


GOOD = [(f"::{name}", content) for name, content in zip(NAMES, CONTENTS, strict=True)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tbz2", "w:bz2"), ("tar.xz", "w:xz"),
                                              ("tar", "w:gz")])  # fmt: skip
def test_the_members_with_names_of_images_are_photos(tmp_path, suffix, mode, form):
    path = write(tmp_path / f"shard.{suffix}", mode=mode, form=form)
    assert read(path) == GOOD
    assert count(str(path)) == (4 if mode == "w" else None)
    assert list(tmp_path.iterdir()) == [path]


def test_links_devices_and_folders_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
                     tarfile.DIRTYPE):  # fmt: skip
            info = tarfile.TarInfo("bad.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("good.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"xyz"))
    assert read(tmp_path / "a.tar") == [("::good.jpg", b"xyz")]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_member_over_the_limit_is_refused_and_the_next_one_read(tmp_path, mode):
    path = write(tmp_path / "a.tar", {"a.jpg": bytes(100_001), "b.jpg": b"b"}, mode=mode)
    (_, reason), good = read(path)
    assert reason == "over the limit of 100000 bytes (100001 bytes); raise --max-bytes if you trust it"
    assert good == ("::b.jpg", b"b")


def test_a_plain_archive_cut_anywhere_gives_its_whole_members_and_one_that_failed(tmp_path):
    whole = write(tmp_path / "whole.tar").read_bytes()
    path = tmp_path / "cut.tar"
    for size in range(0, len(whole) - tarfile.RECORDSIZE // 2, 97):
        path.write_bytes(whole[:size])
        rows = read(path)
        good = [row for row in rows if isinstance(row[1], bytes)]
        assert good == GOOD[: len(good)]
        assert len(rows) - len(good) <= 1, size
        end_mark_begins = whole.rindex(b"c") + 1 + (-(whole.rindex(b"c") + 1)) % 512
        assert len(rows) - len(good) == (size < end_mark_begins + 512), size


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_archive_cut_anywhere_never_gives_half_a_photo(tmp_path, mode):
    noise = np.random.default_rng(0)
    members = {f"{i}.jpg": noise.bytes(900) for i in range(5)}
    expected = [(f"::{name}", content) for name, content in members.items()]
    whole = write(tmp_path / "whole.tar", members, mode=mode).read_bytes()
    path = tmp_path / "cut.tar"
    for size in range(0, len(whole) - 40, 211):
        path.write_bytes(whole[:size])
        *good, last = read(path)
        assert good == expected[: len(good)]
        assert isinstance(last[1], str)


def test_what_is_no_archive_is_said_in_one_row(tmp_path):
    path = tmp_path / "a.tar"
    for content, reason in ((b"", "empty file"), (b"x" * 2000, "damaged or no tar archive: no header at byte 0"),
                            (b"x" * 20, "cut short: no header at byte 0"), (b"\x1f\x8b" + b"x" * 600, "")):  # fmt: skip
        path.write_bytes(content)
        ((name, said),) = read(path)
        assert name == ""
        assert said.startswith(reason)
        assert said
    assert read(tmp_path / "missing.tar") == [("", "No such file or directory")]


def test_a_long_name_of_gigabytes_is_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(5000))
    assert read(tmp_path / "a.tar") == [("", f"a name or header of {1 << 40} bytes at byte 0")]


@pytest.mark.parametrize("content", [b"nonsense", b"99 path=x\n", b"0 path=x\n", b"12 size=a.b\n", b"11 size=-5\n"])
def test_an_extended_header_that_does_not_add_up_ends_the_archive(tmp_path, content):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    photo = tarfile.TarInfo("a.jpg")
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf() + content.ljust(512, b"\0") + photo.tobuf() + bytes(1024))
    ((name, reason),) = read(path)
    assert name == ""
    assert reason.startswith("damaged")


def test_a_compressed_bomb_takes_little_memory(tmp_path):
    path = write(tmp_path / "a.tgz", {"a.jpg": bytes(50_000_000), "b.jpg": b"b"}, mode="w:gz")
    tracemalloc.start()
    rows = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[1] == ("::b.jpg", b"b")
    assert peak < 10_000_000


def test_an_xz_archive_that_asks_for_gigabytes_of_memory_is_one_row(tmp_path):
    """Its header asks for a dictionary of 1.5 GB, which a megabyte of packed zeros would fill."""
    path = write(tmp_path / "a.tar.xz", mode="w:xz")
    content = bytearray(path.read_bytes())
    assert content[14:16] == b"\x21\x01"  # of the first block's header: LZMA2, one byte of properties
    content[16] = 37
    size = 4 * (content[12] + 1)
    content[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(content[12 : 12 + size - 4]))
    path.write_bytes(content)
    assert read(path) == [("", "takes more than 128 MB of memory to unpack")]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_ends_there(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(unpacking, "FREE", 1 << 20)
    monkeypatch.setattr(unpacking, "RATIO", 10)
    path = write(tmp_path / "bomb.tar", {**MEMBERS, "zeros.bin": bytes(8 << 20), "last.jpg": b"d"}, mode=mode)
    *rest, (name, reason) = read(path)
    assert rest == GOOD
    assert name == ""
    assert reason.startswith("unpacks to more than 10 times its size")


def test_xz_archives_of_several_streams_and_padding_are_read(tmp_path):
    whole = write(tmp_path / "a.tar").read_bytes()
    parts = (whole[:1000], whole[1000:3000], whole[3000:])
    (tmp_path / "b.tar.xz").write_bytes(b"\0\0\0\0".join(lzma.compress(part) for part in parts))
    assert read(tmp_path / "b.tar.xz") == GOOD


def test_what_nobody_fetches_is_bounded_and_can_still_be_had(tmp_path):
    members = {f"{i}.jpg": bytes([i]) * 1000 for i in range(8)}
    path = write(tmp_path / "a.tar.gz", members, mode="w:gz")
    budget = Budget(room=2500, wait_seconds=0.01)
    found = list(photos(str(path), shown="a", limits=LIMITS, budget=budget))
    assert budget.held == 2000
    assert [photo.read() for photo in found] == list(members.values())
    assert [photo.read() for photo in found] == list(members.values())  # a picture needs it a second time
    assert budget.held == 0


def test_an_archive_that_changed_meanwhile_is_said(tmp_path):
    path = write(tmp_path / "a.tar")
    compressed = write(tmp_path / "a.tar.gz", mode="w:gz")
    first = [next(photos(str(p), shown="a", limits=LIMITS, budget=Budget(room=0))) for p in (path, compressed)]
    first[1].discard()
    write(path, {"b.jpg": b"b"})
    path.write_bytes(path.read_bytes()[:600])
    write(compressed, {"b.jpg": b"b"}, mode="w:gz")
    assert "cut short" in fetched(first[0])
    assert "changed meanwhile" in fetched(first[1])
