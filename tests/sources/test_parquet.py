"""Parquet and Arrow tables of photos."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpiqe.errors import ConfigError, ImageError
from mpiqe.isolation.table_process import Tables
from mpiqe.sources.parquet import count, is_ours, photos
from mpiqe.sources.photo import Budget, Limits, file_photo


def write(file, rows, /, **columns):
    pq.write_table(pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()}), file,
                   row_group_size=rows)  # fmt: skip
    return str(file)


def found(path, column=None, *, budget=None, max_bytes=1000):
    limits = Limits(max_bytes=max_bytes)
    return list(
        photos(path, shown="t.parquet", column=column, limits=limits, budget=budget or Budget(), named=file_photo)
    )


def read(*arguments, **options):
    rows = []
    for photo in found(*arguments, **options):
        try:
            rows.append((photo.name, photo.read() if photo.file is None else None))
        except ImageError as error:
            rows.append((photo.name, str(error)))
    return rows


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_are_photos_named_by_their_row(tmp_path, kind):
    path = write(tmp_path / "a.parquet", 7, image=([b"%d" % i for i in range(40)], kind), other=([1] * 40, pa.int8()))
    assert read(path) == [(f"t.parquet::{i}", b"%d" % i) for i in range(40)]
    assert count(path) == 40


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_paths_and_addresses_stand_for_themselves(tmp_path, kind):
    path = write(tmp_path / "a.parquet", 2, path=(["a.jpg", "http://x/b.jpg", "a.jpg"], kind))
    assert read(path) == [("a.jpg", None), ("http://x/b.jpg", None), ("a.jpg", None)]


def test_the_struct_of_hugging_face_has_either(tmp_path):
    values = [{"bytes": b"x", "path": "cat.jpg"}, {"bytes": None, "path": "dog.jpg"}, {"bytes": b"y", "path": None}]
    path = write(tmp_path / "a.parquet", 2, image=(values, STRUCT))
    assert read(path) == [("t.parquet::cat.jpg", b"x"), ("dog.jpg", None), ("t.parquet::2", b"y")]


def test_a_row_without_a_photo_or_with_too_large_a_one_fails_alone(tmp_path):
    path = write(tmp_path / "a.parquet", 9, image=([None, b"x" * 1001, b"ok"], pa.binary()))
    assert read(path) == [
        ("t.parquet::0", "t.parquet::0: row 0 holds neither bytes nor a path"),
        ("t.parquet::1", "t.parquet::1: over the limit of 1000 bytes (1001 bytes); raise --max-bytes if you trust it"),
        ("t.parquet::2", b"ok"),
    ]


def test_the_column_can_be_chosen(tmp_path):
    path = write(tmp_path / "a.parquet", 9, image=(["a"], pa.string()), thumb=([b"t"], pa.binary()),
                 size=([1], pa.int64()), flat=([{"x": 1}], pa.struct([("x", pa.int64())])))  # fmt: skip
    assert read(path, "thumb") == [("t.parquet::0", b"t")]
    assert read(path) == [("a", None)]
    for column, reason in (("none", "no column 'none' among image, thumb, size, flat; choose one with --column"),
                           ("size", "column 'size' holds int64, neither paths nor bytes; choose one with --column"),
                           ("flat", "column 'flat' holds struct<x: int64>, neither paths")):  # fmt: skip
        ((name, said),) = read(path, column)
        assert name == "t.parquet"
        assert said.startswith(f"t.parquet: {reason}")


def test_a_table_cut_short_or_none_at_all_is_one_row(tmp_path):
    path = tmp_path / "a.parquet"
    whole = write(path, 9, image=([b"x"] * 50, pa.binary()))
    content = path.read_bytes()
    for made in (b"", b"no table", content[:-20], content[:40] + b"\xff" * 60 + content[100:]):
        path.write_bytes(made)
        *good, (name, reason) = read(whole)
        assert all(row[1] == b"x" for row in good)
        assert name == "t.parquet"
        assert reason.startswith("t.parquet: damaged or no Parquet file")
        assert "\n" not in reason
    ((_, reason),) = read(str(tmp_path / "missing.parquet"))
    assert "No such file" in reason
    assert "damaged" not in reason


def test_what_nobody_fetches_is_bounded_and_can_still_be_had(tmp_path):
    values = [bytes([i]) * 900 for i in range(40)]
    path = write(tmp_path / "a.parquet", 7, image=(values, pa.binary()))
    budget = Budget(room=2000, wait_seconds=0.001)
    rows = found(path, budget=budget)
    assert budget.held == 1800
    assert [photo.read() for photo in rows] == values
    assert [photo.read() for photo in rows[::9]] == values[::9]


def test_without_pyarrow_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(
        ConfigError,
        match=r"^t.parquet: to read Parquet mpiqe needs pyarrow, .*: pip install 'mpiqe\[parquet\]' \(.*\)$",
    ):
        found("a.parquet")


def test_an_output_is_told_from_a_source(tmp_path):
    path = write(tmp_path / "a.parquet", 9, path=(["a.jpg"], pa.string()))
    assert not is_ours(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"mpiqe": "{}"}), path)
    assert is_ours(path)
    assert not is_ours(str(tmp_path / "missing"))


PNG, JPEG = b"\x89PNG\r\n\x1a\n and so on", b"\xff\xd8\xff\xe0 and so on"


def described(table, **kinds):
    """The table with what datasets writes of its columns."""
    features = {name: {"_type": kind} for name, kind in kinds.items()}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def struct(*contents):
    return pa.array([{"bytes": content, "path": None} for content in contents], STRUCT)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"url": ["http://x/y"], "jpg": [JPEG]}, "jpg"),  # as img2dataset writes photos into Parquet
        ({"image": ["http://x/y"], "jpg": [JPEG]}, "jpg"),
        ({"path": ["a.jpg"], "thumb": [JPEG]}, "path"),
        ({"url": ["http://x/y"], "digest": [b"0123"], "b": [PNG]}, "b"),
        ({"url": ["http://x/y"], "digest": [b"0123"]}, "url"),
        ({"url": ["http://x/y"], "photo": struct(PNG)}, "photo"),
        ({"label": [1], "photo": struct(PNG)}, "photo"),
        ({"thumb": struct(PNG), "image": [PNG]}, "image"),
        ({"b": [None], "url": ["u"]}, "url"),
    ],
)
def test_bytes_are_found_by_themselves_and_win_over_addresses(tmp_path, columns, expected):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    (photo,) = found(str(path))
    assert photo.name == ("t.parquet::0" if expected not in ("url", "path") else columns[expected][0])
    if photo.file is None and expected != "url":
        assert photo.read() in (PNG, JPEG)


def test_a_column_that_datasets_calls_an_image_is_found_whatever_its_name(tmp_path):
    table = pa.table({"mask": struct(b"mask"), "scan": struct(b"scan"), "label": [1]})
    for kinds, expected in (
        ({"scan": "Image", "label": "ClassLabel"}, b"scan"),
        ({"mask": "Image"}, b"mask"),
        ({}, b"mask"),
    ):
        pq.write_table(described(table, **kinds), tmp_path / "a.parquet")
        assert read(str(tmp_path / "a.parquet")) == [("t.parquet::0", expected)]
    pq.write_table(table.replace_schema_metadata({"huggingface": "[{"}), tmp_path / "a.parquet")
    assert read(str(tmp_path / "a.parquet")) == [("t.parquet::0", b"mask")]


def write_arrow(path, table, *, stream, rows):
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return str(path)


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files_are_tables_too(tmp_path, stream):
    values = [b"%d" % i for i in range(100)]
    path = write_arrow(
        tmp_path / "a.arrow", pa.table({"label": range(100), "pic": struct(*values)}), stream=stream, rows=40
    )
    assert count(path) == 100
    assert read(path) == [(f"t.parquet::{i}", value) for i, value in enumerate(values)]
    limits = Limits()
    part = photos(path, shown="t", column=None, limits=limits, budget=Budget(), named=file_photo, first=38, last=57)
    assert [photo.read() for photo in part] == values[38:57]
    with open(path, "rb") as file:
        whole = file.read()
    for size in (0, 3, 100, len(whole) // 2):
        with open(path, "wb") as file:
            file.write(whole[:size])
        *good, (name, reason) = read(path)
        assert all(content in values for _, content in good)
        assert (name, reason.startswith("t.parquet: damaged")) == ("t.parquet", True)


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="this pyarrow has no views")
@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_views_are_text_and_bytes_as_polars_writes_them(tmp_path, suffix):
    paths = pa.array(["a.jpg", None, "a path that is longer than what a view holds itself.jpg"], pa.string_view())
    contents = pa.array([b"x", None, bytes(range(40))], pa.binary_view())
    for name, columns in (("paths", {"path": paths}), ("bytes", {"image": contents, "label": paths})):
        table, file = pa.table(columns), tmp_path / f"{name}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table, file)
            continue
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    assert read(str(tmp_path / f"paths.{suffix}"))[::2] == [(paths[0].as_py(), None), (paths[2].as_py(), None)]
    assert [content for _, content in read(str(tmp_path / f"bytes.{suffix}"))][::2] == [b"x", bytes(range(40))]
    limits, file = Limits(max_bytes=1000), str(tmp_path / f"bytes.{suffix}")
    kept = photos(
        file, shown="t", column=None, limits=limits, budget=Budget(), named=file_photo, tables=None, kept=["label"]
    )
    assert [photo.kept for photo in kept] == [{"label": value} for value in paths.to_pylist()]


@pytest.mark.slow
def test_a_large_arrow_file_is_mapped_and_not_held(tmp_path):
    """700 MB in one batch: more than the process that reads it may take beside the file."""
    rows = 70
    table = pa.table({"pic": struct(*[bytes(10 << 20)] * rows)})
    path = write_arrow(tmp_path / "a.arrow", table, stream=True, rows=rows)
    del table
    with Tables(max_bytes=256 << 20, timeout=60) as tables:
        assert sum(1 for _ in tables.cells(path, column=None)) == rows


def test_other_columns_are_kept_as_plain_values(tmp_path):
    columns = {
        "image": [b"a", None], "id": [7, None], "label": ["cat", "dog"], "x": [0.5, float("nan")],
        "day": [datetime.date(2024, 5, 1), None], "tags": [["a", "b"], None], "a.b": [True, False],
    }  # fmt: skip
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table(columns), path)
    kept = ["id", "label", "x", "day", "tags", "a.b"]

    def keeping(*names):
        options = {"shown": "t", "column": None, "limits": Limits(), "budget": Budget(), "named": file_photo}
        return list(photos(path, **options, kept=names))

    assert [photo.kept for photo in keeping(*kept)] == [
        {"id": 7, "label": "cat", "x": 0.5, "day": "2024-05-01", "tags": '["a", "b"]', "a.b": True},
        {"id": None, "label": "dog", "x": None, "day": None, "tags": None, "a.b": False},
    ]
    assert [photo.kept for photo in found(path)] == [None, None]
    (missing,) = keeping("id", "nothing")
    assert missing.fault.startswith("no column 'nothing' among image, id, label, x, day, tags, a.b; --keep names")
    (binary,) = keeping("image")
    assert binary.fault == "column 'image' holds bytes, which --keep does not hand on"


def test_kept_texts_that_are_too_long_together_are_shortened(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b"a"], "long": ["ü" * (1 << 18)], "id": [7]}), path)
    options = {"shown": "t", "column": None, "limits": Limits(), "budget": Budget(), "named": file_photo}
    (photo,) = photos(path, **options, kept=["long", "id"])
    assert photo.read() == b"a"
    assert photo.kept == {"long": "ü" * 1000 + "…", "id": 7}
