"""Photos in Parquet and Arrow tables: a column of paths and addresses, of bytes, or of Hugging Face's struct of both.

A few rows at a time are read, in a child process (``mpiqe.isolation.table_process``). Bytes are held, within a budget,
until they are read.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial

from mpiqe.errors import ImageError
from mpiqe.extras import needing
from mpiqe.isolation.table_process import Cell, Open, TableError, Tables
from mpiqe.sources import timeouts
from mpiqe.sources.kinds import TABLE_SUFFIXES
from mpiqe.sources.photo import Budget, Limits, Photo, held_photo, too_large, unreadable


def count(path: str, *, tables: Tables | None = None) -> int:
    """How many rows there are; raises ``TableError``."""
    check_installed(path)
    with _reading(tables, Limits()) as reading:
        return reading.about(path).rows


def is_ours(path: str, *, tables: Tables | None = None) -> bool:
    """Whether it is an output of ``mpiqe score``, which is no source unless it is named."""
    check_installed(path)
    try:
        with _reading(tables, Limits()) as reading:
            return reading.about(path).is_ours
    except TableError:
        return False


def photos(
    path: str,
    *,
    shown: str,
    column: str | None,
    limits: Limits,
    budget: Budget,
    named: Callable[[str], Photo],
    opened: Open | None = None,
    first: int = 0,
    last: int | None = None,
    tables: Tables | None = None,
    kept: Sequence[str] = (),
) -> Iterator[Photo]:
    """One photo for each row of the table; ``named`` says what a path or an address in it stands for.

    Of these the rows from ``first`` to before ``last``, counted from 0; row groups without any are not read.
    ``column`` is by default one that holds images as bytes, else ``image``, ``path`` or ``url``, whichever there is
    first (``isolation.table_columns.chosen``). Photos have the values of the columns that are ``kept``. A table that
    cannot be read on, or not within the bounds of ``tables``, ends with a photo that fails and has the table's name.
    Raises ``ConfigError`` where pyarrow is not installed.
    """
    check_installed(shown)
    again = _Again(path, column, opened, limits)
    try:
        with (
            _reading(tables, limits) as reading,
            closing(reading.cells(path, column=column, kept=kept, opened=opened, first=first, last=last)) as cells,
        ):
            for cell in cells:
                photo = _photo(cell, shown, limits, budget, named, again)
                yield photo if cell.kept is None else replace(photo, kept=cell.kept)
    except TableError as error:
        yield unreadable(shown, str(error))


def _photo(
    cell: Cell, shown: str, limits: Limits, budget: Budget, named: Callable[[str], Photo], again: "_Again"
) -> Photo:
    row, is_held = cell.row, cell.content is not None or cell.size is not None
    if cell.path and not is_held and cell.odd is None:
        return named(cell.path)
    label = cell.path if cell.path and is_held else str(row)
    name = f"{shown}::{label}"
    stem = shown.replace("\\", "/").rpartition("/")[2]
    stem = next((stem.removesuffix(suffix) for suffix in TABLE_SUFFIXES if stem.endswith(suffix)), stem)
    relative = f"{stem}/{label}"
    if cell.content is not None:
        return held_photo(name, cell.content, budget=budget, again=partial(again, row), relative=relative)
    if cell.size is not None:
        return unreadable(name, too_large(cell.size, limits.max_bytes), relative)
    return unreadable(name, f"row {row} holds {cell.odd or 'neither bytes nor a path'}", relative)


class _Again:
    """Reads cells of a table once more, one at a time; its process ends when no photo is left that may need it."""

    def __init__(self, path: str, column: str | None, opened: Open | None, limits: Limits) -> None:
        self._path = path
        self._column = column
        self._opened = opened
        self._timeout = limits.timeout
        self._lock = threading.Lock()
        self._tables = Tables(max_bytes=limits.max_bytes, timeout=limits.timeout)
        weakref.finalize(self, self._tables.close)

    def __call__(self, row: int) -> bytes:
        """The bytes of a row's cell; raises ``ImageError``."""
        try:
            content = timeouts.call(partial(self._read, row), store=self._path, timeout=2 * self._timeout)
        except (OSError, TableError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ImageError(None, reason or str(error)) from error
        if content is None:
            raise ImageError(None, "the table has changed meanwhile")
        return content

    def _read(self, row: int) -> bytes | None:
        with self._lock:
            cells = self._tables.cells(self._path, column=self._column, opened=self._opened, first=row, last=row + 1)
            found = [cell.content for cell in cells]
        return found[0] if found else None


def _reading(tables: Tables | None, limits: Limits) -> "nullcontext[Tables] | Tables":
    """``tables``, left open, or new ones for the time."""
    if tables is not None:
        return nullcontext(tables)
    return Tables(max_bytes=limits.max_bytes, timeout=limits.timeout)


def check_installed(path: str | None = None) -> None:
    """Raise ``ConfigError`` where pyarrow is not installed; it begins with ``path``, the table that needs it."""
    with needing("to read Parquet" if path is None else f"{path}: to read Parquet"):
        import pyarrow.parquet  # noqa: F401
