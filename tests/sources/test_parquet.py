"""Parquet tables of photos."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpiqe.errors import ConfigError, ImageError
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
