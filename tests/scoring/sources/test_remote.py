"""fsspec's stores, by its memory and its own way to local files."""

import io
import tarfile
import zipfile

import fsspec
import pytest

from mpiqe.errors import ConfigError, ImageError
from mpiqe.scoring.paths import find
from mpiqe.scoring.sources import remote
from mpiqe.scoring.sources.found import Limits


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
    for photo in find(paths, stdin=None, limits=Limits(**limits)):
        try:
            rows.append((photo.path, photo.source.fetch()))
        except ImageError as error:
            rows.append((photo.path, str(error).removeprefix(f"{photo.path}: ")))
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
        remote.Object("memory://x.jpg", Limits()).fetch()
    monkeypatch.undo()
    pytest.importorskip("fsspec")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"s3://b/x\.jpg: .*s3fs"):
            read("s3://me:secret@b/x.jpg")
