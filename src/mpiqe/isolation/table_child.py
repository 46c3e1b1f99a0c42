"""The child process that reads Parquet and Arrow tables until its standard input ends; ``table_process`` is its parent.

A request is ``{"do": "about" | "open" | "next", ..}``. ``about`` is answered by ``{"rows", "ours"}``, ``open`` by
``{"opened"}``, ``next`` by so many cells, ``{"row", ..}`` with bytes where there are some, or ``{"end"}``; any of them
by ``{"fault"}`` or ``{"unsuitable"}``. Of a table that is elsewhere the child asks for ``{"want": [offset, size]}`` in
between, and is sent ``{"got"}`` with the bytes or ``{"failed"}``.
"""

import io
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from mpiqe.isolation.arrow_table import Table, open_table
from mpiqe.isolation.child import Memory, Requests, set_alarm, take_pipes
from mpiqe.isolation.protocol import Bytes, send
from mpiqe.isolation.table_columns import UnsuitableError, check_kept, chosen, is_binary, is_text, plain, value_of
from mpiqe.printable import printable
from mpiqe.regular_files import open_regular

OURS = b"mpiqe"  # the key of the metadata that our own sink writes

_BEGINNING = 64  # bytes
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
        table = open_table(file)
        if request["do"] == "about":
            return {"rows": table.count(), "ours": OURS in (table.schema.metadata or {})}, b""
        size = os.fstat(file.fileno()).st_size if size is None else size
        column, parts = chosen(table.schema, request["column"], partial(_first, table))
        check_kept(table.schema, request["kept"])
        self._cells = _cells(
            table,
            column=column,
            parts=parts,
            kept=request["kept"],
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


def _first(table: Table, column: str) -> bytes:
    """How the first value of a column of text or bytes begins that is not null, among the first rows.

    Nothing where there is none, or memory does not suffice to read them.
    """
    try:
        for _, batch in table.pieces(column):
            for cell in batch.column(0):
                cell = cell.value if cell.is_valid and pa.types.is_dictionary(cell.type) else cell
                if cell.is_valid:
                    return bytes(memoryview(cell.as_buffer())[:_BEGINNING])
            break
    except MemoryError:
        pass
    return b""


def _cells(
    table: Table,
    *,
    column: str,
    parts: Sequence[str] = (),
    kept: Sequence[str] = (),
    first: int,
    last: int | None,
    max_bytes: int,
    most: int,
) -> Iterator[Cell]:
    """Those from row ``first`` to before row ``last``, with the values of the columns that are ``kept``.

    Raises ``FloodError`` for a table that unpacks to more than ``most`` bytes.
    """
    unpacked = 0
    for start, batch in table.pieces(column, parts, others=kept, first=first):
        others = {each: batch.column(each) for each in kept}
        for row, cell in enumerate(batch.column(column), start):
            if last is not None and row >= last:
                return
            if row < first:
                continue
            header, body = _cell(cell, row, max_bytes)
            if others:
                header["kept"] = plain({each: value_of(values[row - start]) for each, values in others.items()})
            unpacked += _ROW + header.get("size", 0) + len(header.get("path") or "")
            if unpacked > most:
                raise FloodError(f"unpacks to more than {_RATIO} times its size, and more than {_FREE >> 30} GB")
            yield header, body


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
    elif is_text(cell.type):
        content, path = None, cell
    if path is not None and path.is_valid and is_text(path.type):
        text = path.as_buffer()
        if text.size > _LONGEST_PATH:
            return header | {"odd": f"a path of {text.size} bytes"}, b""
        try:
            header["path"] = text.to_pybytes().decode()
        except UnicodeDecodeError:
            return header | {"odd": "a path that is not UTF-8"}, b""
    if content is None or not content.is_valid:
        return header, b""
    if not is_binary(content.type):
        return header | {"odd": f"{printable(str(content.type)[:100])} where bytes should be"}, b""
    buffer = content.as_buffer()
    header["size"] = buffer.size
    return header, memoryview(buffer) if buffer.size <= max_bytes else b""


def _part(cell: Any, name: str) -> Any:
    return cell[name] if cell.type.get_field_index(name) >= 0 else None


def _damaged(error: Exception) -> str:
    """One line, without what a hostile table may have put into it to deceive a terminal."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())[:500]
    return f"damaged or no Parquet file ({text or type(error).__name__})"
