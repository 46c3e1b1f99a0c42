"""zip archives: the same photos as zipfile reads, within bounds."""

import io
import os
import struct
import zipfile
import zlib

import pytest

from mpiqe.errors import ImageError
from mpiqe.sources import zip_archive
from mpiqe.sources.find import find
from mpiqe.sources.photo import Budget, Limits
from mpiqe.sources.zip_archive import count, photos


def read(path, **limits):
    rows = []
    for photo in photos(str(path), shown="z.zip", limits=Limits(**limits), budget=Budget()):
        try:
            rows.append((photo.name, photo.read()))
        except ImageError as error:
            rows.append((photo.name, error.reason))
    return rows


def made(path, mode="w", **options):
    return zipfile.ZipFile(path, mode, **options)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("in_front", [b"", b"#!/bin/sh a program that unpacks itself\n"])
def test_members_with_names_of_images_are_photos(tmp_path, method, in_front):
    path, content = tmp_path / "a.zip", os.urandom(3000) + bytes(3000)
    path.write_bytes(in_front)
    with made(path, "a", compression=method) as archive:
        archive.comment = b"PK a comment " * 10
        for name in ("b/é.JPG", "notes.txt", "a.png", "x.image", "__MACOSX/._a.png", ".hidden/c.png", "../up.png"):
            archive.writestr(name, content + name.encode())
        archive.mkdir("folder.png")
    names = ["b/é.JPG", "a.png", "x.image", "../up.png"]
    assert read(path) == [(f"z.zip::{name}", content + name.encode()) for name in names]
    assert count(str(path)) == 4
    (up,) = (
        photo for photo in photos(str(path), shown="s/z.zip", limits=Limits(), budget=Budget()) if "up" in photo.name
    )
    assert up.relative == "z/../up.png"  # as untrusted as the archive


def test_an_archive_written_as_a_stream_or_in_64_bits_is_read_too(tmp_path):
    class Stream(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def writable(self):
            return True

        def write(self, data):
            return self.file.write(data)

    with (tmp_path / "s.zip").open("wb") as file, made(Stream(file)) as archive:
        archive.writestr("a.png", b"a" * 100)
    assert read(tmp_path / "s.zip") == [("z.zip::a.png", b"a" * 100)]
    (tmp_path / "w.zip").write_bytes(b"in front")
    with made(tmp_path / "w.zip", "a") as archive:
        for number in range(70_000):
            archive.writestr(f"{number}.txt", b"")
        with archive.open("b.png", "w", force_zip64=True) as member:
            member.write(b"b")
    assert read(tmp_path / "w.zip") == [("z.zip::b.png", b"b")]


def test_offsets_of_64_bits_come_from_the_extra_field():
    wide = struct.pack("<HHQQQ", 1, 24, 5 << 32, 6 << 32, 7 << 32)
    other = struct.pack("<HH4s", 0x5455, 4, b"time")
    most = 0xFFFFFFFF
    assert zip_archive._wide(most, most, most, other + wide) == (5 << 32, 6 << 32, 7 << 32)
    assert zip_archive._wide(1, most, most, other + wide) == (1, 5 << 32, 6 << 32)
    assert zip_archive._wide(1, 2, 3, b"\1") == (1, 2, 3)


def test_what_cannot_be_read_is_a_row(tmp_path):
    path = tmp_path / "a.zip"
    with made(path) as archive:
        archive.writestr("large.png", b"x" * 1001)
        archive.writestr("bz.png", b"x", compress_type=zipfile.ZIP_BZIP2)
        archive.writestr("secret.png", b"x")
        archive.writestr("ok.png", b"ok")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2", 0, content.rindex(b"secret.png")) + 8] |= 1
    path.write_bytes(content)
    assert read(path, max_bytes=1000) == [
        ("z.zip::large.png", "over the limit of 1000 bytes (1001 bytes); raise --max-bytes if you trust it"),
        ("z.zip::bz.png", "packed by method 12; only stored and deflated members are read"),
        ("z.zip::secret.png", "encrypted"),
        ("z.zip::ok.png", b"ok"),
    ]


def directory(*members):
    """An archive of which the directory says what it likes: (name, method, packed bytes, stated size, checksum)."""
    local, entries = b"", b""
    for name, method, packed, size, checksum in members:
        common = struct.pack("<HHHHHIIIH", 20, 0, method, 0, 0, checksum, len(packed), size, len(name))
        entries += b"PK\1\2" + struct.pack("<H", 20) + common
        entries += struct.pack("<HHHHII", 0, 0, 0, 0, 0, len(local)) + name
        local += b"PK\3\4" + common + struct.pack("<H", 0) + name + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(entries), len(local), 0)
    return local + entries + b"PK\5\6" + end


def deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def test_no_more_is_unpacked_than_the_directory_says(tmp_path):
    bomb = deflated(bytes(200 << 20))
    path = tmp_path / "bomb.zip"
    path.write_bytes(directory((b"a.png", 8, bomb, 100, 0), (b"b.png", 0, b"b", 1, zlib.crc32(b"b"))))
    assert read(path) == [
        ("z.zip::a.png", "damaged: the member is another than the directory says"),
        ("z.zip::b.png", b"b"),
    ]


def test_an_archive_made_to_flood_ends_with_a_row(tmp_path):
    packed = deflated(bytes(1000))
    path = tmp_path / "bomb.zip"
    path.write_bytes(directory(*((b"%d.png" % i, 8, packed, 200 << 20, 0) for i in range(30))))
    rows = list(photos(str(path), shown="z.zip", limits=Limits(), budget=Budget()))
    assert len(rows) == 6
    assert rows[-1].name == "z.zip"
    assert rows[-1].fault == "unpacks to more than 1000 times its size, and more than 1 GB"


def test_a_damaged_archive_costs_rows_and_never_more(tmp_path):
    path = tmp_path / "a.zip"
    with made(path) as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, name.encode() * 20, compress_type=zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        ((name, reason),) = read(path)
        assert name == "z.zip"
        assert reason in ("empty file", "cut short or no zip archive: there is no directory at its end")
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        for name, content in read(path, max_bytes=10_000):
            assert name.startswith("z.zip")
            assert content in (b"a.png" * 20, b"b.png" * 20) or isinstance(content, str)
    ((_, reason),) = read(tmp_path / "none.zip")
    assert reason == "No such file or directory"


@pytest.mark.parametrize("offset", [1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_member_that_is_said_to_lie_behind_the_archive_costs_its_own_row(tmp_path, offset):
    content = directory((b"a.png", 0, b"a", 1, zlib.crc32(b"a")), (b"b.png", 0, b"b", 1, zlib.crc32(b"b")))
    at = content.index(b"PK\1\2")
    entry = bytearray(content[at : content.index(b"PK\1\2", at + 1)])
    entry[42:46] = b"\xff" * 4  # the offset is in the extra field
    entry[30:32] = struct.pack("<H", 12)
    entry += struct.pack("<HHQ", 1, 8, offset)
    rest = content[at + len(entry) - 12 : -22]
    end = struct.pack("<HHHHIIH", 0, 0, 2, 2, len(entry) + len(rest), at, 0)
    path = tmp_path / "a.zip"
    path.write_bytes(content[:at] + entry + rest + b"PK\5\6" + end)
    assert read(path) == [
        ("z.zip::a.png", "damaged: the member is not where the directory says"),
        ("z.zip::b.png", b"b"),
    ]


def test_a_zip_counts_in_a_folder_and_in_a_store(tmp_path):
    import fsspec

    from mpiqe.sources.reach import Reach

    (tmp_path / "photos").mkdir()
    with made(tmp_path / "photos" / "a.zip") as archive:
        archive.writestr("x.png", b"x")
    (found,) = find([str(tmp_path / "photos")], stdin=None)
    assert (found.name, found.read()) == (f"{tmp_path}/photos/a.zip::x.png", b"x")
    with fsspec.open("memory://zips/a.zip", "wb") as file:
        file.write((tmp_path / "photos" / "a.zip").read_bytes())
    limits = Limits(reach=Reach(schemes=("memory",)))
    for path in ("memory://zips", "memory://zips/a.zip", "memory://zips/*.zip"):
        (found,) = find([path], stdin=None, limits=limits)
        assert (found.name, found.read()) == ("memory://zips/a.zip::x.png", b"x")
