"""Every name that Linux allows for a file is read back from csv and jsonl, by whatever a user reads them with."""

import csv
import json
import os
import sys
from importlib import import_module

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpiqe.batch.sinks import CsvSink, JsonLinesSink, decode_name, encode_name
from mpiqe.scoring.score import Row, Score

SCORE = Score(score=1.5, spread=0.0, scene={}, distortion={}, size=(1, 1))
ODD = (
    "a\rb.jpg", "a\r\nb.jpg", "\n", "\r", '"', 'say "é", twice', " before", "after ", "\t", "\x01\x1a\x1b\x7f",
    "\x0b\x0c", "\u0085\u2028", "\ufeffbom", "#", "NA", "null", "1", "1e5", "2020-01-01", "true", "\\", "\\n",
    "\\udce9", "\\udc5cudce9", "=1+1", "a;b", "\U0001f600",
)  # fmt: skip
BROKEN = tuple(os.fsdecode(name) for name in (b"caf\xe9.jpg", b"\xff", b"\xed\xa0\x80", b"\\\xe9", b"\\udc\xe9"))
NAMES = st.lists(
    st.one_of(
        st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=60),
        st.binary(min_size=1, max_size=60).map(lambda name: os.fsdecode(name.translate(None, b"\0/") or b"x")),
        st.text("\r\n\"',;\\ud0159cef \t", min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=8,
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these names are Linux's")


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row["path"] for row in csv.DictReader(file)]


def read_csv_by_pandas(path):
    table = import_module("pandas").read_csv(path, dtype={"path": str}, keep_default_na=False)
    return table["path"].tolist()


def read_csv_by_polars(path):
    polars = import_module("polars")
    return polars.read_csv(path, schema_overrides={"path": polars.String, "error": polars.String})["path"].to_list()


def read_csv_by_duckdb(path):
    table = import_module("duckdb").read_csv(
        str(path), header=True, delimiter=",", quotechar='"', escapechar='"', dtype={"path": "VARCHAR"}
    )
    return [name for (name,) in table.project("path").fetchall()]


def read_json(path):
    return [json.loads(line)["path"] for line in path.read_bytes().splitlines()]


def read_json_by_pandas(path):
    return import_module("pandas").read_json(path, lines=True, dtype=False)["path"].tolist()


def read_json_by_polars(path):
    polars = import_module("polars")
    return polars.read_ndjson(path, schema_overrides={"path": polars.String})["path"].to_list()


def read_json_by_duckdb(path):
    table = import_module("duckdb").read_json(str(path), columns={"path": "VARCHAR"}, format="newline_delimited")
    return [name for (name,) in table.fetchall()]


READERS = {
    "csv": {"": read_csv, "pandas": read_csv_by_pandas, "polars": read_csv_by_polars, "duckdb": read_csv_by_duckdb},
    "jsonl": {
        "": read_json,
        "pandas": read_json_by_pandas,
        "polars": read_json_by_polars,
        "duckdb": read_json_by_duckdb,
    },
}


@pytest.mark.parametrize("library", ["", "pandas", "polars", "duckdb"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_every_name_of_a_file_is_read_back(tmp_path, form, library):
    if library:
        pytest.importorskip(library, reason=f"reads what we write, and is not installed: {library}")
    path = tmp_path / f"rows.{form}"

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @example(names=[*ODD, *BROKEN])
    @given(names=NAMES)
    def check(names):
        with path.open("w", encoding="utf-8", newline="\n") as file:
            sink = CsvSink(file) if form == "csv" else JsonLinesSink(file)
            for name in names:
                sink.write(Row(name, SCORE, None))
                sink.write(Row(name, None, f"{name}: empty file"))
        expected = [name for name in names for _ in range(2)]
        assert [decode_name(written) for written in READERS[form][library](path)] == expected

    check()


@settings(max_examples=300, deadline=None)
@example(names=[*ODD, *BROKEN])
@given(names=NAMES)
def test_no_two_names_are_written_alike(names):
    assert len({encode_name(name) for name in names}) == len(set(names))
    assert all(decode_name(encode_name(name)) == name for name in names)
