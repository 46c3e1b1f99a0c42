"""Parquet tables, read in a process apart: what floods, hangs or crashes costs its own table and nothing else."""

import os
import signal
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import processes
from tests.processes import lives, most_memory

from mpiqe.errors import ConfigError
from mpiqe.isolation import arrow_table, table_child, table_process
from mpiqe.isolation.table_process import TableError, Tables
from mpiqe.sources.find import count, find
from mpiqe.sources.parquet import photos
from mpiqe.sources.photo import Budget, Limits

linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")


_OTHERS = set()  # processes that tests of other files have left


def children_of(module):
    return processes.children_of(module) - _OTHERS


@pytest.fixture(autouse=True)
def _no_process_is_left():
    if Path("/proc/self/task").is_dir():
        _OTHERS.update(processes.children_of("table_child"))
    before = set(threading.enumerate())  # of tests in other files
    yield
    if Path("/proc/self/task").is_dir():
        assert not children_of("table_child")
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith("mpiqe") and thread not in before
    ]


def write(path, cells, **options):
    pq.write_table(pa.table({"image": pa.array(cells, pa.binary())}), path, **options)
    return str(path)


def cells_of(path, max_bytes=256 << 20, **options):
    """Numbers and contents of a table's rows, and what ended it if that was not its end."""
    found, fault = [], None
    with Tables(max_bytes=max_bytes, timeout=60) as tables:
        try:
            for cell in tables.cells(path, column=None, **options):
                found.append((cell.row, cell.content))
        except TableError as error:
            fault = str(error)
    return found, fault


@linux
def test_nothing_of_a_table_is_decoded_in_this_process(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", [b"%d" % i for i in range(40)])
    (tmp_path / "outputs").mkdir()
    write(tmp_path / "outputs" / "b.parquet", [b"x"])
    for name in ("ParquetFile", "read_schema", "read_metadata", "read_table"):
        monkeypatch.setattr(pq, name, None)
    found = find([path, f"{tmp_path}/outputs/*.parquet"], stdin=None)
    first = next(found)
    [child] = children_of("table_child")
    assert first.read() == b"0"
    assert len(list(found)) == 40
    assert not lives(child)
    assert count([path, f"{tmp_path}/outputs/*.parquet"], output=None, stopped=threading.Event()) == 41


@linux
def test_a_cell_that_is_far_larger_than_its_file_is_refused_within_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(table_process, "HEADROOM", 128 << 20)
    bomb = write(tmp_path / "bomb.parquet", [b"ok", bytes(200 << 20), b"ok"], compression="zstd", row_group_size=1)
    assert os.path.getsize(bomb) < 100_000
    found, fault = cells_of(bomb, max_bytes=1000)
    assert found == [(0, b"ok")]
    assert "128 MB" in fault


@linux
def test_a_value_that_a_dictionary_repeats_is_read_one_row_at_a_time_where_memory_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(table_process, "HEADROOM", 160 << 20)
    monkeypatch.setattr(table_process, "PER_BYTE", 0)
    value = bytes(8 << 20)
    path = write(tmp_path / "a.parquet", [value] * 24, compression="zstd", dictionary_pagesize_limit=1 << 30)
    assert os.path.getsize(path) < 10_000
    most = 0
    with Tables(max_bytes=8 << 20, timeout=60) as tables, closing(tables.cells(path, column=None)) as cells:
        rows = []
        for cell in cells:
            rows.append((cell.row, len(cell.content)))
            [child] = children_of("table_child")
            most = max(most, most_memory(child))
    assert rows == [(row, len(value)) for row in range(24)]
    assert most < 320


def test_a_cell_over_the_limit_is_told_by_its_size_and_not_taken(tmp_path):
    path = write(tmp_path / "a.parquet", [b"a" * 1001, b"ok"])
    with Tables(max_bytes=1000, timeout=60) as tables:
        first, second = tables.cells(path, column=None)
    assert (first.content, first.size) == (None, 1001)
    assert (second.content, second.size) == (b"ok", None)


def test_a_table_that_unpacks_to_far_more_than_its_size_ends_there(tmp_path):
    table = arrow_table.ParquetTable(pq.ParquetFile(write(tmp_path / "a.parquet", [b"x" * 1000] * 100)))
    options = {"column": "image", "first": 0, "last": None, "max_bytes": 10_000}
    assert len(list(table_child._cells(table, most=1 << 20, **options))) == 100
    flood = table_child._cells(table, most=10_000, **options)
    assert len([next(flood) for _ in range(9)]) == 9
    with pytest.raises(table_child.FloodError, match="more than 1000 times its size"):
        next(flood)
    empty = arrow_table.ParquetTable(pq.ParquetFile(write(tmp_path / "b.parquet", [None] * 100)))
    with pytest.raises(table_child.FloodError):  # rows without anything in them flood as well
        list(table_child._cells(empty, most=1000, **options))


@linux
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_process_that_dies_costs_the_rest_of_its_table_and_the_next_is_read(tmp_path, kind):
    path = write(tmp_path / "a.parquet", [b"%d" % i for i in range(100)])
    with Tables(max_bytes=256 << 20, timeout=60) as tables:
        with closing(tables.cells(path, column=None)) as cells:
            assert [next(cells).row for _ in range(16)] == list(range(16))
            [child] = children_of("table_child")
            os.kill(child, kind)
            with pytest.raises(TableError, match=f"cannot be read within 2048 MB .* died of {kind.name}"):
                next(cells)
        assert len(list(tables.cells(path, column=None))) == 100


@linux
def test_a_process_that_does_not_answer_costs_its_table_in_time(tmp_path):
    path = write(tmp_path / "a.parquet", [b"%d" % i for i in range(100)])
    with Tables(max_bytes=256 << 20, timeout=1) as tables, closing(tables.cells(path, column=None)) as cells:
        for _ in range(16):
            next(cells)
        [child] = children_of("table_child")
        os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(TableError, match="took longer than 1 s to read"):
            next(cells)
        assert time.monotonic() - started < 4


@linux
def test_a_table_that_is_left_in_the_middle_leaves_no_process(tmp_path):
    path = write(tmp_path / "a.parquet", [b"%d" % i for i in range(100)])
    found = photos(path, shown="a", column=None, limits=Limits(), budget=Budget(), named=None)
    next(found)
    assert len(children_of("table_child")) == 1
    found.close()


def test_an_answer_that_is_none_costs_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr("mpiqe.isolation.process.LAST_SECONDS", 0.1)
    path = write(tmp_path / "a.parquet", [b"x"] * 3)
    receive = table_process.receive

    def garbled(pipe, *, most):
        header, body = receive(pipe, most=most)
        return ({"row": "many"} if "row" in header else header), body

    monkeypatch.setattr(table_process, "receive", garbled)
    assert cells_of(path) == ([], f"cannot be read within 2048 MB of memory and 60 s: {NONSENSE}")
    monkeypatch.setattr(table_process, "receive", lambda pipe, *, most: receive(pipe, most=0))  # more than may come
    assert cells_of(path) == ([], f"cannot be read within 2048 MB of memory and 60 s: {NONSENSE}")


NONSENSE = "the process that read it gave an answer without meaning"


@pytest.mark.parametrize("want", [[0, 1 << 62], [-1, 10], ["a", 1], [1], 7])
def test_a_process_that_wants_what_it_may_not_have_is_ended(tmp_path, monkeypatch, want):
    monkeypatch.setattr("mpiqe.isolation.process.LAST_SECONDS", 0.1)
    path = write(tmp_path / "a.parquet", [b"x"] * 3)
    receive, wanting = table_process.receive, []

    def greedy(pipe, *, most):
        header, body = receive(pipe, most=most)
        return ({"want": want} if "want" in header else header), body

    monkeypatch.setattr(table_process, "receive", greedy)

    def opened(name):
        wanting.append(name)
        return open(name, "rb")

    found, fault = cells_of(path, opened=opened)
    assert (found, wanting) == ([], [path])
    assert fault.endswith(NONSENSE)


def test_odd_cells_are_rows(tmp_path):
    texts = pa.array([b"\xff\xfe", b"y" * 70_000, b"a.jpg"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"path": texts}), tmp_path / "t.parquet")
    with Tables(max_bytes=256 << 20, timeout=60) as tables:
        odd = [(cell.path, cell.odd) for cell in tables.cells(str(tmp_path / "t.parquet"), column=None)]
    assert odd == [(None, "a path that is not UTF-8"), (None, "a path of 70000 bytes"), ("a.jpg", None)]


def test_where_no_process_can_be_started_one_sentence_says_so(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", [b"x"])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigError, match=r"cannot start a process that reads tables: .*No such file"):
        list(find([path], stdin=None))
