"""fsspec's stores, by its memory and its own way to local files."""

import asyncio
import io
import os
import sys
import tarfile
import threading
import time
import zipfile
from functools import partial

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from mpiqe.errors import ConfigError, ImageError
from mpiqe.isolation.pool import read_here
from mpiqe.isolation.process import Cutting
from mpiqe.sources import store, timeouts
from mpiqe.sources.find import find
from mpiqe.sources.photo import Limits
from mpiqe.sources.reach import Reach

ALLOWED = Reach(schemes=("memory", "file", "zip", "hanging", "cancelled", "counted"))


@pytest.fixture(params=["memory", "file"])
def base(request, tmp_path):
    if request.param == "file":
        yield f"file://{tmp_path}/bucket"
        return
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def put(base, **contents):
    for name, content in contents.items():
        with fsspec.open(f"{base}/{name.replace('__', '/').replace('_', '.')}", "wb", auto_mkdir=True) as file:
            file.write(content)


def read(*paths, **limits):
    rows = []
    for photo in find(paths, stdin=None, limits=Limits(reach=ALLOWED, **limits)):
        try:
            rows.append((photo.name, photo.read()))
        except ImageError as error:
            rows.append((photo.name, error.reason))
    return rows


def names(base, *paths):
    return [path.rpartition("/bucket/")[2] for path, _ in read(*(f"{base}/{path}" for path in paths))]


def test_an_object_a_folder_and_a_pattern_stand_for_photos(base):
    put(base, b_jpg=b"b", a_png=b"a", deep__c_jpg=b"c", deep__er__d_jpg=b"d", notes_txt=b"no")
    assert [content for _, content in read(f"{base}/b.jpg", f"{base}/notes.txt")] == [b"b", b"no"]
    assert names(base, "") == ["a.png", "b.jpg", "deep/c.jpg", "deep/er/d.jpg"]
    assert names(base, "deep") == ["deep/c.jpg", "deep/er/d.jpg"]
    assert names(base, "*.jpg", "**/*.jpg", "deep/*") == [
        "b.jpg", "b.jpg", "deep/c.jpg", "deep/er/d.jpg", "deep/c.jpg"]  # fmt: skip
    assert [content for _, content in read(f"{base}/**/*.jpg")] == [b"b", b"c", b"d"]


def test_a_pattern_goes_into_what_an_address_leads_through(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("b.jpg", b"b")
        archive.writestr("a.jpg", b"a")
    outer = f"::file://{tmp_path}/x.zip"
    assert read(f"zip://*.jpg{outer}") == [(f"zip://a.jpg{outer}", b"a"), (f"zip://b.jpg{outer}", b"b")]


def test_what_is_not_there_too_large_or_of_no_known_kind_is_a_row(base):
    put(base, large_jpg=b"x" * 101)
    assert read(f"{base}/none.jpg") == [(f"{base}/none.jpg", "No such object")]
    assert read(f"{base}/none*.jpg") == [(f"{base}/none*.jpg", "nothing matches this pattern")]
    ((_, reason),) = read(f"{base}/large.jpg", max_bytes=100)
    assert reason.startswith("over the limit of 100 bytes (101 bytes)")
    ((name, reason),) = read("nonsense://me:secret@host/x.jpg")
    assert name == "nonsense://host/x.jpg"
    assert "nonsense" in reason
    assert "secret" not in reason


def test_archives_are_read_from_front_to_back(base):
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    put(base, **{f"s-{i}_tar_gz": shard.getvalue() for i in range(3)})
    expected = [(f"s-{i}.tar.gz::a.jpg", b"abc") for i in range(3)]
    for pattern in ("s-{0..2}.tar.gz", "s-*.tar.gz"):
        rows = [(path.rpartition("/bucket/")[2], content) for path, content in read(f"{base}/{pattern}")]
        assert rows == expected
    ((name, reason),) = read(f"{base}/none.tar")
    assert name.endswith("none.tar")
    assert reason == "No such object"


def test_a_package_that_is_missing_is_said_once(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(ConfigError, match=r"^memory://x.jpg: .* mpiqe needs fsspec, .*: pip install 'mpiqe\[remote\]'"):
        read("memory://x.jpg")
    with pytest.raises(ImageError, match=r"^memory://x.jpg: for addresses other than http\(s\) mpiqe needs fsspec, "):
        store.photo("memory://x.jpg", Limits(reach=ALLOWED)).read()
    monkeypatch.undo()
    pytest.importorskip("fsspec")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"s3://b/x\.jpg: .*s3fs"):
            read("s3://me:secret@b/x.jpg")


class Hanging(AbstractFileSystem):
    """A store that answers to nothing whose path holds its ``silent`` word, until it is released."""

    protocol = "hanging"
    cachable = False
    silent = ""
    gate = threading.Event()

    def _answer(self, what, path):
        if self.silent in f"{what} {path}":
            self.gate.wait(60)

    def info(self, path, **_):
        self._answer("info", path)
        return {"name": path, "size": 3, "type": "file"}

    def isdir(self, path):
        self._answer("isdir", path)
        return "." not in path

    def ls(self, path, detail=True, **_):
        self._answer("ls", path)
        return [{"name": f"{path}/{name}.jpg", "size": 3, "type": "file"} for name in "ab"]

    def cat_file(self, path, start=None, end=None, **_):
        self._answer("cat", path)
        return b"abc"

    def open(self, path, mode="rb", **_):
        self._answer("open", path)
        return HangingFile(self)


class HangingFile(io.BytesIO):
    def __init__(self, system):
        shard = io.BytesIO()
        with tarfile.open(fileobj=shard, mode="w") as tar:
            info = tarfile.TarInfo("a.jpg")
            info.size = 5 << 20
            tar.addfile(info, io.BytesIO(bytes(info.size)))
        super().__init__(shard.getvalue())
        self.system = system

    def read(self, *arguments):
        self.system._answer("read", self.tell())
        return super().read(*arguments)

    def close(self):
        self.system._answer("close", "")
        super().close()


class Cancelled(AsyncFileSystem):
    """An asynchronous store that answers to nothing and takes note of calls that are ended."""

    protocol = "cancelled"
    ended: list[str] = []  # noqa: RUF012

    async def _info(self, path, **_):
        return {"name": path, "size": 3, "type": "file"}

    async def _cat_file(self, path, start=None, end=None, **_):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.ended.append(path)
            raise


@pytest.fixture
def hanging(monkeypatch):
    fsspec.register_implementation("hanging", Hanging, clobber=True)
    monkeypatch.setattr(Hanging, "gate", threading.Event())
    yield partial(monkeypatch.setattr, Hanging, "silent")
    Hanging.gate.set()


@pytest.mark.parametrize(
    ("silent", "url"),
    [
        ("isdir", "hanging://x/deep"),
        ("ls", "hanging://x/deep"),
        ("ls", "hanging://x/*.jpg"),
        ("open", "hanging://x/s.tar"),
        ("read 0", "hanging://x/s.tar"),
        ("read 1048576", "hanging://x/s.tar"),
        ("open", "hanging://x/t.parquet"),
        ("cat", "hanging://x/a.jpg"),
    ],
)
def test_a_store_that_does_not_answer_costs_a_row_in_time(hanging, silent, url, monkeypatch):
    monkeypatch.setattr(store, "LISTING", 2)
    hanging(silent)
    started = time.monotonic()
    if "*" in url:
        monkeypatch.setattr(Hanging, "exists", lambda *_: False)
    ((name, reason),) = read(url, timeout=0.3)
    assert time.monotonic() - started < 2
    assert name == url
    assert reason.startswith(f"no answer within {0.6 if silent == 'ls' else 0.3} s; raise --timeout")


def test_an_object_that_does_not_answer_is_one_row_among_others(hanging):
    hanging("cat x/deep/a.jpg")
    assert read("hanging://x/deep", timeout=0.3) == [
        ("hanging://x/deep/a.jpg", "no answer within 0.3 s; raise --timeout if it only comes slowly"),
        ("hanging://x/deep/b.jpg", b"abc"),
    ]


def test_an_archive_that_has_been_left_is_not_asked_to_close(hanging):
    hanging("read 1048576")
    file = store.opened("hanging://x/s.tar", limits=Limits(timeout=0.3, reach=ALLOWED))
    with pytest.raises(OSError, match=r"no answer within 0\.3 s"):
        file.read()
    hanging("close")
    started = time.monotonic()
    file.close()
    assert time.monotonic() - started < 0.2


def test_an_asynchronous_call_that_takes_too_long_is_ended(monkeypatch):
    fsspec.register_implementation("cancelled", Cancelled, clobber=True)
    monkeypatch.setattr(store, "LATER", 0.1)
    monkeypatch.setattr(Cancelled, "ended", [])
    ((_, reason),) = read("cancelled://x/a.jpg", timeout=0.3)
    assert reason == "no answer within 0.3 s; raise --timeout if it only comes slowly"
    end = time.monotonic() + 5
    while not Cancelled.ended or timeouts._hanging.of:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_connection_serves_the_objects_of_a_thread():
    made = []

    class Counted(MemoryFileSystem):
        protocol = "counted"

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    fsspec.register_implementation("counted", Counted, clobber=True)
    rows = read(*(f"counted://none/{i}.jpg" for i in range(20)))
    assert {reason for _, reason in rows} == {"No such object"}
    assert len(made) == 1


CODE = "reference://a.jpg::data:application/json;base64,eyJ2ZXJzaW9uIjogMX0="


def test_what_stands_in_a_list_or_a_table_gets_to_fsspec_only_if_its_scheme_is_allowed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **_: asked.append(url))
    urls = [CODE, "file:///dev/zero", "sftp://h/a.jpg", "zip://a.jpg::s3://b/c.zip", "s3://b/a.jpg::data:,x"]
    (tmp_path / "list").write_text("\n".join(urls))
    pq.write_table(pa.table({"url": urls}), tmp_path / "t.parquet")
    for source in (f"@{tmp_path / 'list'}", str(tmp_path / "t.parquet")):
        rows = [(photo.name, photo.fault) for photo in find([source], stdin=None)]
        assert [path for path, _ in rows] == urls
        assert all("--allow-scheme" in reason or "(::)" in reason for _, reason in rows)
    for photo in find(urls[:3], stdin=None):
        assert "--allow-scheme" in photo.fault
    for url in urls[:3]:
        with pytest.raises(ImageError, match="--allow-scheme"):
            store.photo(url, Limits()).read()
    assert asked == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no devices among the files")
def test_a_device_or_a_pipe_is_no_photo_archive_or_table(tmp_path):
    for name in ("pipe.jpg", "pipe.tar", "pipe.parquet"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.parquet").symlink_to("/dev/zero")
    paths = [f"file://{tmp_path}/pipe.jpg", "file:///dev/zero", f"file://{tmp_path}/pipe.tar",
             *(str(tmp_path / name) for name in ("pipe.tar", "pipe.parquet", "zero.parquet"))]  # fmt: skip
    assert read(*paths) == [(path, "not a regular file") for path in paths]
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["file:///dev/zero", "/dev/zero"]}), table)
    first, second = find([str(table)], stdin=None, limits=Limits(reach=ALLOWED))
    with pytest.raises(ImageError, match="not a regular file"):
        first.read()
    with pytest.raises(ImageError, match="not a regular file"):
        read_here(second.source(), Cutting(size=8, count=1, mode="seeded", seed=0, max_pixels=100))


def test_no_more_is_read_than_the_limit_and_one_byte_whatever_a_store_says_of_the_size():
    read_of = []

    class Lying(MemoryFileSystem):
        protocol = "counted"
        cachable = False

        def info(self, path, **_):
            return {"name": path, "size": 10, "type": "file"}

        def cat_file(self, path, start=None, end=None, **_):
            read_of.append((start, end))
            return bytes(1000)[start:end]

    fsspec.register_implementation("counted", Lying, clobber=True)
    ((_, reason),) = read("counted://x/a.jpg", max_bytes=100)
    assert reason.startswith("over the limit of 100 bytes (more than that)")
    assert read_of == [(0, 101)]


def test_a_table_elsewhere_is_read_and_names_no_file_of_this_machine(tmp_path):
    photo = tmp_path / "secret.png"
    photo.write_bytes(b"secret")
    cells = [{"bytes": bytes([7]) * 300_000, "path": "a.png"}, {"bytes": None, "path": str(photo)},
             {"bytes": None, "path": f"file://{photo}"}, {"bytes": None, "path": "memory://none.png"}]  # fmt: skip
    with fsspec.open("memory://bucket/t.parquet", "wb") as file:
        pq.write_table(pa.table({"image": cells}), file)
    (first, content), *others, (_, missing) = read("memory://bucket/t.parquet")
    assert (first, content) == ("memory://bucket/t.parquet::a.png", bytes([7]) * 300_000)
    assert [path for path, _ in others] == [str(photo), f"file://{photo}"]
    assert {reason for _, reason in others} == {"a table that is not on this machine names no files of this machine"}
    assert missing == "No such object"
    here = tmp_path / "t.parquet"
    here.write_bytes(fsspec.filesystem("memory").cat_file("/bucket/t.parquet"))
    assert [found.name for found in find([str(here)], stdin=None)][1] == str(photo)


def test_a_name_in_a_store_leads_nowhere_else():
    class Named(MemoryFileSystem):
        protocol = "counted"
        cachable = False

        def isdir(self, path):
            return True

        def ls(self, path, detail=True, **_):
            return [{"name": f"{path}/x::{CODE}.jpg", "size": 3, "type": "file"}]

    fsspec.register_implementation("counted", Named, clobber=True)
    ((_, reason),) = read("counted://bucket/deep")
    assert "holds ::" in reason
