"""The parent's side of a child process that reads tables: one that floods or crashes costs its own rows.

The process is bounded in memory and time; nothing of a table is decoded in this one, which takes a cell only after it
knows the cell's size. ``table_child`` is the other side.
"""

import os
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import IO, Any, NamedTuple

from mpiqe.errors import ImageError
from mpiqe.images import Pixels
from mpiqe.isolation.process import ChildProcess, Watch, start_apart
from mpiqe.isolation.protocol import receive, send

_AT_ONCE = 16  # cells that are asked for
HEADROOM = 512 << 20
"""Bytes of address space to read any table."""
PER_BYTE = 6
"""Further bytes for each that a cell may have: it is read, unpacked and put together."""
_MOST_WANTED = 1 << 30  # bytes of a table elsewhere at once

Open = Callable[[str], IO[bytes]]


class Cell(NamedTuple):
    """What a table's row has of a photo."""

    row: int
    content: bytes | None
    path: str | None
    size: int | None
    """Of bytes that are not there since they are too many."""
    odd: str | None
    """What it holds instead of bytes or a path."""
    kept: dict[str, Any] | None = None
    """The row's values of other columns that were asked for."""


class About(NamedTuple):
    """What a table's footer says."""

    rows: int
    is_ours: bool


class TableError(Exception):
    """A table that cannot be read, or not within its bounds."""


class Tables:
    """Reads tables, one after the other, in a process that is started for the first of them.

    Use it as a context; it ends with it. A process that takes more than ``timeout`` seconds for a few rows, or more
    memory than some cells of ``max_bytes`` need, is replaced.
    """

    def __init__(self, *, max_bytes: int, timeout: float) -> None:
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._memory = HEADROOM + PER_BYTE * max_bytes
        self._process: ChildProcess | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> "Tables":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process; one more table would start another."""
        self._end_process()
        watch, self._watch = self._watch, None
        if watch:
            watch.close()

    def about(self, path: str) -> About:
        """What the footer says of a table on this machine; raises ``TableError``."""
        answer, _ = self._ask({"do": "about", "size": None, "memory": self._memory}, None, os.fsencode(path))
        self._check(answer, None)
        try:
            return About(int(answer["rows"]), bool(answer["ours"]))
        except (KeyError, TypeError, ValueError):
            raise self._ended() from None

    def cells(
        self,
        path: str,
        *,
        column: str | None,
        kept: Sequence[str] = (),
        opened: Open | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> Generator[Cell, None, None]:
        """The rows from ``first`` to before ``last``, counted from 0, of a column that has photos.

        ``kept`` are columns whose values are wanted with them. ``opened`` opens what is no file of this machine. Raises
        ``TableError`` and what reading such a file raises.
        """
        if opened is None:
            yield from self._cells(os.fsencode(path), None, column, kept, first, last)
            return
        try:
            file = opened(path)
            with file:
                if not file.seekable():
                    raise TableError("cannot be read from wherever it is needed, as a table must be; download it first")
                yield from self._cells(b"", _Source(file, file.seek(0, 2)), column, kept, first, last)
        except OSError as error:
            raise TableError(error.strerror or str(error)) from error

    def _cells(
        self,
        path: bytes,
        source: "_Source | None",
        column: str | None,
        kept: Sequence[str],
        first: int,
        last: int | None,
    ) -> Generator[Cell, None, None]:
        request = {
            "do": "open",
            "size": source.size if source else None,
            "memory": self._memory,
            "column": column,
            "kept": list(kept),
            "first": first,
            "last": last,
            "max_bytes": self._max_bytes,
        }
        is_over = False
        try:
            answer, _ = self._ask(request, source, path)
            self._check(answer, source)
            while True:
                answer, body = self._ask({"do": "next", "count": _AT_ONCE}, source)
                for number in range(_AT_ONCE):
                    if number:
                        answer, body = self._receive(source)
                    self._check(answer, source)
                    if "end" in answer:
                        is_over = True
                        return
                    yield self._cell(answer, body)
                    del body
        finally:
            if not is_over:  # it may be in the middle of whatever
                self._end_process()

    def _cell(self, answer: dict[str, Any], body: Pixels) -> Cell:
        try:
            row, path, size, odd = int(answer["row"]), answer.get("path"), answer.get("size"), answer.get("odd")
            path, odd = None if path is None else str(path), None if odd is None else str(odd)
            kept = dict(answer["kept"]) if "kept" in answer else None
            if size is not None and int(size) <= self._max_bytes and len(body) == int(size):
                return Cell(row, body.tobytes(), path, None, odd, kept)
            return Cell(row, None, path, None if size is None else int(size), odd, kept)
        except (KeyError, TypeError, ValueError):
            raise self._ended() from None

    def _ask(
        self, request: dict[str, Any], source: "_Source | None", body: bytes = b""
    ) -> tuple[dict[str, Any], Pixels]:
        process = self._started()
        try:
            send(process.requests, request, body)
        except OSError:
            raise self._ended() from None
        return self._receive(source)

    def _receive(self, source: "_Source | None") -> tuple[dict[str, Any], Pixels]:
        """The next answer; serves what the child wants of ``source`` meanwhile, which takes none of its time."""
        process = self._started()
        left = self._timeout
        try:
            while True:
                with process.within(left):
                    answer, body = receive(process.answers, most=self._max_bytes)
                left = process.left or 0.0
                if "want" not in answer or source is None:
                    return answer, body
                offset, size = (int(value) for value in answer["want"])
                if not (offset >= 0 and 0 <= size <= _MOST_WANTED):
                    raise ValueError(f"{size} bytes at {offset}")
                content = source.read(offset, size)
                send(process.requests, {"failed": source.fault} if content is None else {"got": True}, content or b"")
        except ImageError:  # nobody waits any more
            raise
        except (EOFError, OSError, ValueError, TypeError):
            raise self._ended() from None

    def _check(self, answer: dict[str, Any], source: "_Source | None") -> None:
        if "unsuitable" in answer:
            raise TableError(str(answer["unsuitable"]))
        if "fault" in answer:
            self._end_process()  # what it holds on to may be large
            raise TableError((source.fault if source else None) or str(answer["fault"]))

    def _ended(self) -> TableError:
        if self._process is None:
            return TableError("the process that read it has ended")
        reason = self._process.how_it_ended()
        self._end_process()
        return TableError(f"cannot be read within {self._memory >> 20} MB of memory and {self._timeout:g} s: {reason}")

    def _started(self) -> ChildProcess:
        if self._process is None:
            if self._watch is None:
                self._watch = Watch(timeout=self._timeout)
            process = ChildProcess(
                lambda: start_apart("table_child", timeout=self._timeout, ARROW_DEFAULT_MEMORY_POOL="system"),
                timeout=self._timeout,
                reads="tables",
                advice="",
            )
            self._watch.add(process)
            self._process = process
            try:
                process.wait_until_ready()
            except BaseException:
                self._end_process()
                raise
        return self._process

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process:
            process.close()
            if self._watch:
                self._watch.discard(process)


class _Source:
    """A table that is not on this machine, read for the child."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self.fault: str | None = None
        """What the store said when it failed."""
        self._file = file

    def read(self, offset: int, size: int) -> bytes | None:
        """The bytes there; ``None`` where that fails."""
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except OSError as error:
            self.fault = error.strerror or str(error)
            return None
