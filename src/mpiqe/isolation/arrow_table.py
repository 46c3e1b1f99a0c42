"""In the process for tables: Parquet files and Arrow files as the same thing, a schema and rows a few at a time."""

import io
import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 16  # decoded at a time

_PARQUET = b"PAR1"
_ARROW = b"ARROW1"


class Table(Protocol):
    """What is read of a table."""

    schema: Any

    def count(self) -> int:
        """Return how many rows there are."""

    def pieces(
        self, column: str, parts: Sequence[str] = (), *, others: Sequence[str] = (), first: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yield record batches of a few rows, each with the number of its first row; the first has row ``first`` in it.

        They have ``column``, of which those ``parts`` are needed where it has some, and the ``others``.
        """


def open_table(file: Any) -> Table:
    """Open the table in a file of this machine, or in any other seekable one; raises Arrow's errors and ``OSError``."""
    head = file.read(len(_ARROW))
    file.seek(0)
    if head.startswith(_PARQUET) or not _may_be_arrow(head):
        return ParquetTable(pq.ParquetFile(file, pre_buffer=False))
    return ArrowTable(file, is_file=head == _ARROW)


def _may_be_arrow(head: bytes) -> bool:
    """A stream begins with four bytes of ones, before version 0.15 with the length of its first message."""
    return head == _ARROW or head.startswith(b"\xff\xff\xff\xff")


class ParquetTable:
    """A Parquet file; row groups without a row that is wanted are not read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.schema = file.schema_arrow

    def count(self) -> int:
        """Return how many rows there are, by the footer."""
        return int(self._file.metadata.num_rows)

    def pieces(
        self, column: str, parts: Sequence[str] = (), *, others: Sequence[str] = (), first: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yield pieces of ``ROWS`` rows; of one row where memory is short."""
        columns = [*([f"{column}.{part}" for part in parts] or [column]), *others]
        row = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if row + rows <= first:
                row += rows
                continue
            begin, short = row, False
            try:
                for batch in self._file.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False):
                    yield row, batch
                    row += len(batch)
            except MemoryError:
                short = True
            if short:
                done, row = row, begin
                for batch in self._file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
                    if row >= done:
                        yield row, batch
                    row += len(batch)


class ArrowTable:
    """An Arrow file or stream. One on this machine is mapped, so that what is not asked for is not read."""

    def __init__(self, file: Any, *, is_file: bool) -> None:
        self._is_file = is_file
        self._source: Any = file
        if isinstance(file, io.BufferedReader) and not isinstance(file.raw, io.FileIO):
            self._source = pa.PythonFile(file, mode="r")
        else:
            self._source = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.schema = self._opened().schema

    def count(self) -> int:
        """Return how many rows there are; goes through all batches."""
        return sum(len(batch) for batch in self._batches())

    def pieces(
        self, column: str, parts: Sequence[str] = (), *, others: Sequence[str] = (), first: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yield pieces of at most ``ROWS`` rows."""
        row = 0
        for batch in self._batches():
            if row + len(batch) > first:
                wanted = batch.select([column, *others])
                for start in range(0, len(batch), ROWS):
                    yield row + start, wanted.slice(start, ROWS)
            row += len(batch)

    def _opened(self) -> Any:
        if isinstance(self._source, pa.PythonFile):
            self._source.seek(0)
        return pa.ipc.open_file(self._source) if self._is_file else pa.ipc.open_stream(self._source)

    def _batches(self) -> Iterator[Any]:
        reader = self._opened()
        if self._is_file:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader
