"""The child process that reads Parquet tables until its standard input ends; ``table_process`` is its parent.

A request is ``{"do": "about" | "open" | "next", ..}``. ``about`` is answered by ``{"rows", "ours"}``, ``open`` by
``{"opened"}``, ``next`` by so many cells, ``{"row", ..}`` with bytes where there are some, or ``{"end"}``; any of them
by ``{"fault"}`` or ``{"unsuitable"}``. Of a table that is elsewhere the child asks for ``{"want": [offset, size]}`` in
between, and is sent ``{"got"}`` with the bytes or ``{"failed"}``.
"""

import io
import os
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mpiqe.isolation.child import Memory, Requests, set_alarm, take_pipes
from mpiqe.isolation.protocol import Bytes, send
from mpiqe.printable import printable
from mpiqe.regular_files import open_regular

ROWS = 16  # decoded at a time
OURS = b"mpiqe"  # the key of the metadata that our own sink writes
COLUMNS = ("image", "path", "url")

_LONGEST_PATH = 1 << 16  # bytes of UTF-8
_STEP = 1 << 18  # bytes of a table elsewhere that are asked for at once, at least
_ROW = 64  # bytes that each row counts for, beside what is in it
_FREE = 1 << 30  # bytes that any table may unpack to
_RATIO = 1000  # and so many for each of its own: what holds more is made to flood

Cell = tuple[dict[str, Any], Bytes]


def main(parent: int, alarm: float) -> None:
    """Read tables for the process ``parent``; no step may take longer than ``alarm`` seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    warnings.simplefilter("ignore")
    requests, answers = take_pipes()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    TableChild(alarm=alarm, requests=Requests(requests, parent=parent), answers=answers).run()


class UnsuitableError(Exception):
    """A table without photos in it."""


class FloodError(Exception):
    """A table that unpacks to more than one of its size may."""


class TableChild:
    """Answers requests, one after the other."""

    def __init__(self, *, alarm: float, requests: Requests, answers: io.FileIO) -> None:
        self._alarm = alarm
        self._requests = requests
        self._answers = answers
        self._memory = Memory()
        self._cells: Iterator[Cell] = iter(())

    def run(self) -> None:
        """Run until there is no parent."""
        send(self._answers, {"ready": True})
        while True:
            header, body = self._requests.next()
            for _ in range(header.get("count", 1)):
                answer, content = self._answer(header, body.tobytes())
                send(self._answers, answer, content)
                if "row" not in answer:
                    break

    def _answer(self, request: dict[str, Any], body: bytes) -> Cell:
        set_alarm(self._alarm)
        try:
            return self._done(request, body)
        except UnsuitableError as error:
            return {"unsuitable": printable(str(error))}, b""
        except MemoryError:
            return {"fault": f"needs more than the {self._memory.allowed >> 20} MB that reading a table may take"}, b""
        except FloodError as error:
            return {"fault": str(error)}, b""
        except OSError as error:
            if error.strerror:  # the system's: nothing is damaged
                return {"fault": error.strerror}, b""
            return {"fault": _damaged(error)}, b""
        except Exception as error:  # Arrow's own, and whatever else a hostile table leads to
            return {"fault": _damaged(error)}, b""
        finally:
            set_alarm(0)  # before the answer is sent: a parent may take it later

    def _done(self, request: dict[str, Any], body: bytes) -> Cell:
        if request["do"] == "next":
            return next(self._cells, ({"end": True}, b""))
        self._cells = iter(())
        self._memory.allow(request["memory"])
        size = request["size"]
        file: Any = (
            open_regular(os.fsdecode(body)) if size is None else io.BufferedReader(_Elsewhere(self, size), _STEP)
        )
        table = pq.ParquetFile(file, pre_buffer=False)
        if request["do"] == "about":
            ours = OURS in (table.schema_arrow.metadata or {})
            return {"rows": int(table.metadata.num_rows), "ours": ours}, b""
        size = os.fstat(file.fileno()).st_size if size is None else size
        column, parts = chosen(table.schema_arrow, request["column"])
        self._cells = _cells(
            table,
            columns=[f"{column}.{part}" for part in parts] or [column],
            first=request["first"],
            last=request["last"],
            max_bytes=request["max_bytes"],
            most=_FREE + _RATIO * size,
        )
        return {"opened": True}, b""

    def asked(self, offset: int, size: int) -> memoryview:
        """Bytes of a table that is elsewhere; raises ``OSError``."""
        set_alarm(0)  # the parent bounds how long a store may take
        send(self._answers, {"want": [offset, size]})
        header, body = self._requests.next()
        set_alarm(self._alarm)
        if "failed" in header:
            raise OSError(5, header["failed"])
        return body.data


class _Elsewhere(io.RawIOBase):
    """A table of ``size`` bytes that only the parent can read."""

    def __init__(self, child: TableChild, size: int) -> None:
        self._child = child
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        if not wanted:
            return 0
        content = self._child.asked(self._at, wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def chosen(schema: Any, asked: str | None) -> tuple[str, list[str]]:
    """The column of photos, and which parts of it matter if it has parts; raises ``UnsuitableError``."""
    names = [name for name in ((asked,) if asked else COLUMNS) if name in schema.names]
    if not names:
        wanted = repr(asked) if asked else " or ".join(map(repr, COLUMNS))
        there = ", ".join(schema.names)[:1000]
        raise UnsuitableError(f"no column {wanted} among {there}; choose one with --column")
    kind = schema.field(names[0]).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        parts = [part for part in ("bytes", "path") if kind.get_field_index(part) >= 0]
        if parts:
            return names[0], parts
    elif _is_text(kind) or _is_binary(kind):
        return names[0], []
    held = str(kind)[:1000]
    raise UnsuitableError(f"column {names[0]!r} holds {held}, neither paths nor bytes; choose one with --column")


def _cells(
    table: Any, *, columns: list[str], first: int, last: int | None, max_bytes: int, most: int
) -> Iterator[Cell]:
    """Those from row ``first`` to before row ``last``; row groups without any are not read.

    Raises ``FloodError`` for a table that unpacks to more than ``most`` bytes.
    """
    unpacked = 0
    for start, column in _columns(table, columns, first):
        for row, cell in enumerate(column, start):
            if last is not None and row >= last:
                return
            if row < first:
                continue
            header, body = _cell(cell, row, max_bytes)
            unpacked += _ROW + header.get("size", 0) + len(header.get("path") or "")
            if unpacked > most:
                raise FloodError(f"unpacks to more than {_RATIO} times its size, and more than {_FREE >> 30} GB")
            yield header, body


def _columns(table: Any, columns: list[str], first: int) -> Iterator[tuple[int, Any]]:
    """The column in pieces of ``ROWS`` rows, each with the number of its first; of one row where memory is short."""
    row = 0
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if row + rows <= first:
            row += rows
            continue
        begin, short = row, False
        try:
            for batch in table.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False):
                yield row, batch.column(0)
                row += len(batch)
        except MemoryError:
            short = True
        if short:
            done, row = row, begin
            for batch in table.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
                if row >= done:
                    yield row, batch.column(0)
                row += len(batch)


def _cell(cell: Any, row: int, max_bytes: int) -> Cell:
    """What a cell holds: its bytes, at most ``max_bytes`` of them, and its path; or what it holds instead."""
    if pa.types.is_dictionary(cell.type):
        cell = cell.value if cell.is_valid else None
    header: dict[str, Any] = {"row": row}
    if cell is None or not cell.is_valid:
        return header, b""
    content, path = cell, None
    if pa.types.is_struct(cell.type):
        content, path = (_part(cell, name) for name in ("bytes", "path"))
    elif _is_text(cell.type):
        content, path = None, cell
    if path is not None and path.is_valid and _is_text(path.type):
        text = path.as_buffer()
        if text.size > _LONGEST_PATH:
            return header | {"odd": f"a path of {text.size} bytes"}, b""
        try:
            header["path"] = text.to_pybytes().decode()
        except UnicodeDecodeError:
            return header | {"odd": "a path that is not UTF-8"}, b""
    if content is None or not content.is_valid:
        return header, b""
    if not _is_binary(content.type):
        return header | {"odd": f"{printable(str(content.type)[:100])} where bytes should be"}, b""
    buffer = content.as_buffer()
    header["size"] = buffer.size
    return header, memoryview(buffer) if buffer.size <= max_bytes else b""


def _part(cell: Any, name: str) -> Any:
    return cell[name] if cell.type.get_field_index(name) >= 0 else None


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _damaged(error: Exception) -> str:
    """One line, without what a hostile table may have put into it to deceive a terminal."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())[:500]
    return f"damaged or no Parquet file ({text or type(error).__name__})"
