import gzip
import io
import os
import sys
import tarfile
import threading
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mpiqe.errors import ConfigError, ImageError
from mpiqe.sources import passed_over
from mpiqe.sources.find import count, find, find_closed, photo_files
from mpiqe.sources.local import FIGURE_MARK
from mpiqe.sources.names import Names
from mpiqe.sources.passed_over import PassedOver, described
from mpiqe.sources.photo import Limits


def expanded(*paths, stdin=b""):
    return [found.name for found in find(paths, stdin=io.BytesIO(stdin))]


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
    class Lines:
        read = 0

        def readline(self, most):
            self.read += 1
            assert self.read == 1, "read too far"
            return b"a.jpg\n"

    assert next(find(["-"], stdin=Lines())).name == "a.jpg"


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
    assert [photo.folder for photo in found] == [deep, deep, None, deep, deep, None]
    assert [photo.name for photo in found] == expanded(deep, named, deep, "missing.jpg")


def below(folder, *patterns):
    return [os.path.relpath(path, folder) for path in expanded(*(f"{folder}/{pattern}" for pattern in patterns))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("*.[jJ][pP][gG]", ["b.JPG"]),
        ("**/*.webp", ["deep/er/c.webp"]),
        ("**", ["a.png", "b.JPG", "deep/d.tiff", "deep/er/c.webp", "z.gif"]),
        ("*", ["a.png", "b.JPG", "z.gif"]),
        ("*/*", ["deep/d.tiff"]),
        ("**/er/*", ["deep/er/c.webp"]),
        ("deep/**", ["deep/d.tiff", "deep/er/c.webp"]),
        ("**/**/?.*f", ["deep/d.tiff", "z.gif"]),
        ("*.txt", ["notes.txt"]),
        (".h*", [".hidden.png"]),
        (".*/*.png", [".cache/e.png"]),
    ],
)
def test_a_pattern_stands_for_what_it_matches_by_name(folder, pattern, expected):
    assert below(folder, pattern) == expected


def test_a_pattern_without_a_match_is_a_photo_that_fails(folder):
    (found,) = find([f"{folder}/*.none"], stdin=None)
    with pytest.raises(ImageError, match=r"\*\.none: nothing matches this pattern"):
        found.read()


def test_a_file_with_a_pattern_for_a_name_stands_for_itself(folder):
    for name in ("[a]*.png", "{1..3}.png", "{a,b}.png"):
        (folder / name).touch()
        assert expanded(str(folder / name)) == [str(folder / name)]


def test_braces_stand_for_one_path_each():
    assert expanded("s-{008..011}.x") == ["s-008.x", "s-009.x", "s-010.x", "s-011.x"]
    assert expanded("{b,a}/{2..1}.x") == ["b/2.x", "b/1.x", "a/2.x", "a/1.x"]
    assert expanded("{9..10}.x", "{x}.y", "{}") == ["9.x", "10.x", "{x}.y", "{}"]
    assert [found.name for found in islice(find(["{0..999999999999}.x"], stdin=None), 2)] == ["0.x", "1.x"]


def test_a_list_stands_for_its_lines_where_it_is_named(folder, tmp_path):
    (tmp_path / "list").write_bytes(f"\ufeff{folder}\r\n\n@list\n-\nhttp://x/y.jpg\n{folder}/*.gif\n".encode())
    inside = [*expanded(str(folder)), "@list", "-", "http://x/y.jpg", str(folder / "z.gif")]
    assert expanded("a.jpg", f"@{tmp_path / 'list'}", "b.jpg") == ["a.jpg", *inside, "b.jpg"]


def test_a_line_longer_than_any_path_is_one_row_and_never_held(tmp_path):
    class Endless:
        """Lines of which the second has three gigabytes."""

        def __init__(self):
            self.rest = iter([b"a.jpg\n", *[None] * 50_000, b"xx\n", b"b.jpg\n", b""])

        def readline(self, most):
            assert most == 1 << 16
            line = next(self.rest)
            return b"x" * most if line is None else line

    found = list(find(["-"], stdin=Endless()))
    assert [photo.name for photo in found] == ["a.jpg", "standard input, line 2", "b.jpg"]
    assert found[1].fault == "longer than any path or address: over 65536 bytes"
    longest = "y" * 65535
    (tmp_path / "list").write_text(f"{longest}\n{longest}z\nc.jpg\n{longest}zz")
    found = list(find([f"@{tmp_path / 'list'}"], stdin=None))
    names = [longest, f"{tmp_path / 'list'}, line 2", "c.jpg", f"{tmp_path / 'list'}, line 4"]
    assert [photo.name for photo in found] == names


def test_a_list_that_is_not_there_is_said_at_once():
    with pytest.raises(ConfigError, match=r"cannot read the list none\.txt; .*write \./@none\.txt"):
        find(["a.jpg", "@none.txt"], stdin=None)
    assert expanded("./@none.txt", "@") == ["./@none.txt", "@"]


def shard(path, *names):
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return str(path)


def test_archives_of_a_folder_count_beside_its_photos(folder, tmp_path):
    (tmp_path / "shards" / "photos").mkdir(parents=True)
    one = shard(tmp_path / "shards" / "1.tar", "a.jpg", "b.jpg")
    two = shard(tmp_path / "shards" / "photos" / "2.tar", "c.jpg")
    (tmp_path / "shards" / "photos" / "x.jpg").touch()
    expected = [f"{one}::a.jpg", f"{one}::b.jpg", f"{two}::c.jpg", str(tmp_path / "shards" / "photos" / "x.jpg")]
    assert expanded(str(tmp_path / "shards")) == expected
    assert expanded(f"{tmp_path}/shards/*.tar", f"{tmp_path}/shards/{{1..1}}.tar") == expected[:2] * 2


def test_an_output_is_no_source_unless_it_is_named(tmp_path):
    table = pa.table({"path": ["a.jpg"]})
    pq.write_table(table.replace_schema_metadata({"mpiqe": "{}"}), tmp_path / "earlier.parquet")
    pq.write_table(table, tmp_path / "now.parquet")
    pq.write_table(table, tmp_path / "source.parquet")
    left_out = PassedOver()
    found = find([f"{tmp_path}/*.parquet"], stdin=None, output=tmp_path / "now.parquet", left_out=left_out)
    assert [photo.name for photo in found] == ["a.jpg"]
    assert left_out.counts() == {"outputs of mpiqe score": 1}
    assert expanded(str(tmp_path / "earlier.parquet")) == ["a.jpg"]  # where it is named, it is meant


def test_without_pyarrow_a_table_that_a_pattern_matches_costs_its_row(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (found,) = find([f"{tmp_path}/*.parquet"], stdin=None)
    with pytest.raises(
        ImageError, match=r"a\.parquet: to read Parquet mpiqe needs pyarrow.*pip install 'mpiqe\[parquet\]'"
    ):
        found.read()
    with pytest.raises(ConfigError, match="needs pyarrow"):
        expanded(str(tmp_path / "a.parquet"))


def test_archives_can_be_left_closed(tmp_path):
    names = [shard(tmp_path / f"{i}.tar", "a.jpg") for i in range(2)]
    found = list(find_closed([f"{tmp_path}/*.tar", "x.jpg"], stdin=None))
    assert [source.name for source in found] == [*names, "x.jpg"]


def test_photos_are_counted_where_that_is_cheap(folder, tmp_path):
    never = threading.Event()
    plain = shard(tmp_path / "a.tar", "a.jpg", "b.txt", "c.jpg")
    pq.write_table(pa.table({"path": ["a.jpg"] * 7}), tmp_path / "t.parquet")
    (tmp_path / "list").write_text(f"{folder}\nhttp://x/y.jpg\n")
    paths = [str(folder), plain, str(tmp_path / "t.parquet"), f"@{tmp_path / 'list'}", "missing.jpg"]
    assert count(paths, output=None, stopped=never) == 5 + 2 + 7 + 6 + 1
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    assert count([*paths, str(tmp_path / "a.tar.gz")], output=None, stopped=never) is None
    assert count(["-"], output=None, stopped=never) is None
    assert count([*paths, "s3://bucket/**"], output=None, stopped=never) is None
    stopped = threading.Event()
    stopped.set()
    assert count(paths, output=None, stopped=stopped) is None


def test_a_link_that_leads_nowhere_does_not_hide_the_photos_beside_it(folder):
    (folder / "loop").symlink_to("loop")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    below_it = expanded(str(folder))
    assert str(folder / "loop.jpg") in below_it
    assert len(below_it) > 2
    assert {"a.png", "loop.jpg"} <= set(below(folder, "*"))


@pytest.mark.parametrize("line", ["http://[x/a.jpg", "http://[x/a.tar", "x\0.tar", "x\0/*.jpg", "{" * 1200 + ".jpg"])
def test_a_line_that_no_library_takes_is_one_row(folder, line):
    lines = f"{line}\n{folder}\n".encode()
    found = list(find(["-"], stdin=io.BytesIO(lines)))
    assert len(found) > 1
    assert found[0].fault is not None or found[0].name == line
    assert found[-1].folder == str(folder)


def test_a_members_size_that_no_file_has_is_one_row(tmp_path):
    for name, size in (("big.tar", 2**80), ("pax.tar", None)):
        header = tarfile.TarInfo("notes.txt")
        if size:
            header.size = size
            content = header.tobuf(tarfile.GNU_FORMAT)
        else:
            header.pax_headers = {"size": "9" * 40}
            content = header.tobuf(tarfile.PAX_FORMAT)
        (tmp_path / name).write_bytes(content + bytes(1024))
        (found,) = find([str(tmp_path / name)], stdin=io.BytesIO())
        with pytest.raises(ImageError, match="a size that is no size"):
            found.read()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"bytes": [1, 2], "path": "a"}], pa.struct([("bytes", pa.list_(pa.int64())), ("path", pa.string())])),
        pa.array([{"bytes": None, "path": 7}], pa.struct([("bytes", pa.binary()), ("path", pa.int64())])),
    ],
)
def test_a_struct_that_holds_neither_bytes_nor_a_path_costs_its_rows(tmp_path, column):
    pq.write_table(pa.table({"image": column}), tmp_path / "odd.parquet")
    for found in find([str(tmp_path / "odd.parquet")], stdin=io.BytesIO()):
        with pytest.raises(ImageError):
            found.read()


def test_files_are_told_from_what_only_looks_like_one(tmp_path):
    photo = tmp_path / "a.png"
    photo.write_bytes(b"")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(photo, "c.png")
    assert list(photo_files([str(photo)], stdin=io.BytesIO())) == [photo]
    with pytest.raises(ConfigError, match=r"b\.tar::c\.png is not a file of its own: unpack"):
        list(photo_files([str(tmp_path / "b.tar")], stdin=io.BytesIO()))
    with pytest.raises(ConfigError, match="nothing matches this pattern"):
        list(photo_files([str(tmp_path / "*.webp")], stdin=io.BytesIO()))


def counted(*paths, **options):
    left_out = PassedOver()
    names = [photo.name for photo in find(paths, stdin=io.BytesIO(), left_out=left_out, **options)]
    return names, left_out.counts()


def test_nothing_in_a_folder_leads_anywhere_else_and_what_was_left_out_is_counted(folder, tmp_path):
    """As img2dataset leaves a folder: photos, a table of their addresses, texts; and a list of somebody."""
    pq.write_table(pa.table({"url": ["http://127.0.0.1:9/x.jpg"] * 25}), folder / "00000.parquet")
    (folder / "list").write_text("http://127.0.0.1:9/y.jpg\n")
    (folder / "deep" / "00000_stats.json").touch()
    (folder / "link").symlink_to(folder / "deep")
    before = expanded(str(folder))
    assert not any("127.0.0.1" in name for name in before)
    names, left_out = counted(str(folder))
    assert names == before
    assert left_out == {
        passed_over.HIDDEN: 2, passed_over.TABLES: 1, passed_over.LINKS: 1, ".json": 1, ".txt": 1, "other files": 1,
    }  # fmt: skip
    assert counted(f"{folder}/*")[1] == {passed_over.TABLES: 1, ".txt": 1, "other files": 1}
    assert expanded(f"{folder}/*.parquet") == ["http://127.0.0.1:9/x.jpg"] * 25  # where it is named, it is meant


def test_many_kinds_are_said_shortly():
    left_out = PassedOver()
    for number in range(12):
        for _ in range(number + 1):
            left_out.add_file(f"x.{number}")
    left_out.add_file("a.\x1b[2J")
    said = described(left_out.counts())
    assert said.startswith("12 .11, 11 .10, ")
    assert said.endswith("5 .4, 11 of 5 other kinds")


def test_figures_of_mpiqe_are_no_photos_of_a_folder(folder):
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(*FIGURE_MARK)
    Image.new("RGB", (9, 9)).save(folder / "deep" / "why.png", pnginfo=mark)
    Image.new("RGB", (9, 9)).save(folder / "deep" / "why-not.png")
    for path in (str(folder), f"{folder}/**", f"{folder}/**/*.png"):
        names, left_out = counted(path)
        assert str(folder / "deep" / "why-not.png") in names
        assert str(folder / "deep" / "why.png") not in names
        assert left_out[passed_over.FIGURES] == 1
    assert expanded(str(folder / "deep" / "why.png")) == [str(folder / "deep" / "why.png")]


def test_what_is_written_beside_its_output_is_not_counted_as_left_out(folder):
    for name in ("rows.csv", "rows.csv.run.json", "rows.csv.new", "rows.csvx"):
        (folder / name).touch()
    (folder / "rows.csv.jpg").touch()
    names, left_out = counted(str(folder), output=folder / "rows.csv")
    assert str(folder / "rows.csv.jpg") in names
    assert left_out == {passed_over.HIDDEN: 2, ".txt": 1, ".csvx": 1}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.png"], [], ["a.png", "z.tar::e.png"]),
        (["*.png", "*.webp"], ["a*"], ["deep/er/c.webp", "z.tar::e.png"]),
        ([], ["*.[jJ]*", "*.gif"], ["a.png", "deep/d.tiff", "deep/er/c.webp", "z.tar::e.png"]),
        ([], ["deep/*", "z.*"], ["a.png", "b.JPG", "z.tar::e.png", "z.tar::f.jpg"]),
        (["er/*"], [], ["deep/er/c.webp"]),
        (["z.tar/*"], [], ["z.tar::e.png", "z.tar::f.jpg"]),
    ],
)
def test_photos_are_chosen_by_patterns_of_their_names(folder, include, exclude, expected):
    shard(folder / "z.tar", "e.png", "f.jpg")
    names, left_out = counted(str(folder), limits=Limits(names=Names(tuple(include), tuple(exclude))))
    assert names == [str(folder / name) for name in expected]
    assert left_out[passed_over.FILTERED] == 7 - len(expected)
    never = threading.Event()
    (folder / "z.tar").unlink()
    chosen = Names(tuple(include), tuple(exclude))
    alone = sum("z.tar" not in name for name in expected)
    assert count([str(folder)], output=None, stopped=never, names=chosen) == alone


def test_a_pattern_of_names_leaves_the_query_of_an_address_alone():
    chosen = Names(include=("*.jpg",))
    assert chosen.wanted("https://host/a/x.jpg?sig=***")
    assert not chosen.wanted("https://host/a/x.png?name=x.jpg")
    assert chosen.wanted("what?.jpg")


def test_a_folder_that_save_to_disk_wrote_is_its_tables(tmp_path):
    for split in ("test", "train"):
        (tmp_path / "both" / split).mkdir(parents=True)
        for name in ("dataset_info.json", "state.json", "cache-1.arrow", "data-00000-of-00002.arrow"):
            (tmp_path / "both" / split / name).touch()
    (tmp_path / "both" / "dataset_dict.json").touch()
    tables = [str(tmp_path / "both" / split / "data-00000-of-00002.arrow") for split in ("test", "train")]
    assert [archive.name for archive in find_closed([str(tmp_path / "both")], stdin=None)] == tables
    assert [archive.name for archive in find_closed([str(tmp_path / "both" / "train")], stdin=None)] == tables[1:]
    assert counted(str(tmp_path)) == ([], {passed_over.TABLES: 4, ".json": 5})


def png_of(size):
    content = io.BytesIO()
    Image.new("RGB", (size, 7), (size, 9, 9)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("size", [10, 266, 777])
def test_an_image_on_standard_input_is_told_from_a_list(form, size):
    """Sizes whose bytes hold line feeds, 10 and 266, included."""
    content = io.BytesIO()
    Image.new("RGB", (size, 10), (10, 10, 10)).save(content, form)
    (found,) = find(["-"], stdin=io.BytesIO(content.getvalue()))
    assert (found.name, found.read()) == ("standard input", content.getvalue())
    (found,) = find(["-"], stdin=io.BytesIO(content.getvalue()), limits=Limits(max_bytes=30))
    assert found.fault == "over the limit of 30 bytes (more than that); raise --max-bytes if you trust it"


def test_a_line_feed_in_a_size_at_the_beginning_does_not_hide_an_image():
    for head in (b"RIFF$\n\0\0WEBPVP8 ", b"BM6\n\0\0\0\0\0\0\0\x36\0\0\0\x28", b"GIF89a\n\0\n\0\xf7\0\0\0\0\0"):
        (found,) = find(["-"], stdin=io.BytesIO(head + b"\n more"))
        assert found.name == "standard input", head


@pytest.mark.parametrize(
    "names", [["BM.jpg"], ["RIFF"], ["GIF89a-of-cats.gif", "b"], ["II*", "MM"], ["é.jpg"], ["BM", "a.jpg", "b.jpg"]]
)
def test_a_list_that_begins_like_an_image_is_a_list(names):
    assert expanded("-", stdin="".join(f"{name}\n" for name in names).encode()) == names


def test_an_image_as_a_list_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of(9))
    (found,) = find([f"@{tmp_path / 'a.png'}"], stdin=None)
    assert found.fault == "an image and no list; name it without @ in front"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_says_so(tmp_path, encoding):
    (tmp_path / "list").write_bytes("\ufeffa.jpg\r\nb.jpg\r\n".encode(encoding))
    (photo,) = find([f"@{tmp_path / 'list'}"], stdin=io.BytesIO())
    assert (photo.name, photo.fault) == (str(tmp_path / "list"), "a list in UTF-16; save it in UTF-8")


def test_names_of_a_list_may_end_with_zero_bytes(folder, tmp_path):
    names = ["two\nlines.jpg", " b ", "c\r"]
    listed = "\0".join([*names, "", str(folder / "deep"), "@x"]).encode()
    expected = [*names, *expanded(str(folder / "deep")), "@x"]
    for end in (b"", b"\0"):
        assert [photo.name for photo in find(["-"], stdin=io.BytesIO(listed + end), null=True)] == expected
    (tmp_path / "list").write_bytes(listed)
    assert [photo.name for photo in find([f"@{tmp_path / 'list'}"], stdin=None, null=True)] == expected
    never = threading.Event()
    assert count([f"@{tmp_path / 'list'}"], output=None, stopped=never, null=True) == len(expected)
    long = b"a\0" + b"x" * 200_000 + b"\0b\0" + b"y" * (1 << 16) + b"\0" + b"z" * 70_000
    found = [photo.name for photo in find(["-"], stdin=io.BytesIO(long), null=True)]
    assert found == ["a", "standard input, name 2", "b", "y" * (1 << 16), "standard input, name 5"]
