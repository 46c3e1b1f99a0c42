"""Photos in Parquet files: a column of paths and addresses, of bytes, or of Hugging Face's struct of both.

Read by pyarrow a few rows at a time. Bytes are held, within a budget, until they are fetched.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

from mpiqe.errors import ImageError
from mpiqe.extras import needing
from mpiqe.scoring.sources.folders import PARQUET_SUFFIX
from mpiqe.scoring.sources.found import Broken, Found, Limits, broken, too_large
from mpiqe.scoring.sources.held import Budget, Held

_COLUMNS = ("image", "path", "url")
_ROWS = 16  # decoded at a time
_OURS = b"mpiqe"  # the key of the metadata that our own sink writes

Open = Callable[[str], IO[bytes]]


def is_parquet(name: str) -> bool:
    """Whether it has the name of a Parquet file."""
    return name.lower().endswith(PARQUET_SUFFIX)


def count(path: str) -> int:
    """How many rows there are."""
    pyarrow_parquet = _imported(path)
    with pyarrow_parquet.ParquetFile(path) as table:
        return int(table.metadata.num_rows)


def is_ours(path: str) -> bool:
    """Whether it is an output of ``mpiqe score``, which is no source unless it is named."""
    pyarrow_parquet = _imported(path)
    try:
        return _OURS in (pyarrow_parquet.read_schema(path).metadata or {})
    except (OSError, _faults()):
        return False


def photos(
    path: str,
    *,
    shown: str,
    column: str | None,
    limits: Limits,
    budget: Budget,
    named: Callable[[str], Found],
    opened: Open | None = None,
    first: int = 0,
    last: int | None = None,
) -> Iterator[Found]:
    """One photo for each row of the table; ``named`` says what a path or an address in it stands for.

    Of these the rows from ``first`` to before ``last``, counted from 0; row groups without any are not read.
    ``column`` is by default ``image``, ``path`` or ``url``, whichever there is first. A table that cannot be read on
    ends with a photo that fails and has the table's name. Raises ``ConfigError`` where pyarrow is not installed.
    """
    pyarrow_parquet = _imported(shown)
    try:
        with pyarrow_parquet.ParquetFile(opened(path) if opened else path, pre_buffer=False) as table:
            chosen = _column(table.schema_arrow, column)
            row = 0
            for group in range(table.num_row_groups):
                if row + table.metadata.row_group(group).num_rows <= first:
                    row += table.metadata.row_group(group).num_rows
                    continue
                for batch in table.iter_batches(_ROWS, row_groups=[group], columns=[chosen]):
                    for cell in batch.column(0):
                        if last is not None and row >= last:
                            return
                        if row < first:
                            row += 1
                            continue
                        again = partial(_again, path, row, chosen, opened)
                        yield _photo(cell.as_py(), shown, row, limits, budget, named, again)
                        row += 1
    except _UnsuitableError as error:
        yield broken(shown, str(error))
    except (OSError, _faults()) as error:
        said = error.strerror if isinstance(error, OSError) else None  # the system's or a store's: nothing is damaged
        yield broken(shown, said or f"damaged or no Parquet file ({' '.join(str(error).split())})")


def _photo(
    value: Any,
    shown: str,
    row: int,
    limits: Limits,
    budget: Budget,
    named: Callable[[str], Found],
    again: Callable[[str], bytes],
) -> Found:
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (None, None)
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        path = value
    path = path if isinstance(path, str) else None
    label = str(row) if content is None or not path else path
    name = f"{shown}::{label}"
    stem = shown.replace("\\", "/").rpartition("/")[2].removesuffix(PARQUET_SUFFIX)
    if content is None and path:
        return named(path)
    if content is None:
        return Found(name, None, Broken(name, f"row {row} holds neither bytes nor a path"), f"{stem}/{label}")
    if not isinstance(content, bytes):
        reason = f"row {row} holds {type(content).__name__} where bytes should be"
        return Found(name, None, Broken(name, reason), f"{stem}/{label}")
    if len(content) > limits.max_bytes:
        return Found(name, None, Broken(name, too_large(len(content), limits.max_bytes)), f"{stem}/{label}")
    return Found(name, None, Held(name, content, budget=budget, again=partial(again, name)), f"{stem}/{label}")


def _again(path: str, row: int, column: str, opened: Open | None, name: str) -> bytes:
    """One cell's bytes, from its row group."""
    pyarrow_parquet = _imported(path)
    try:
        with pyarrow_parquet.ParquetFile(opened(path) if opened else path, pre_buffer=False) as table:
            start = 0
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                if row < start + rows:
                    for batch in table.iter_batches(_ROWS, row_groups=[group], columns=[column]):
                        if row < start + len(batch):
                            value = batch.column(0)[row - start].as_py()
                            return bytes(value["bytes"] if isinstance(value, dict) else value)
                        start += len(batch)
                start += rows
    except (OSError, _faults()) as error:
        raise ImageError(f"{name}: {error}") from error
    raise ImageError(f"{name}: the table has changed meanwhile")


class _UnsuitableError(Exception):
    """A table without photos in it."""


def _column(schema: Any, asked: str | None) -> str:
    import pyarrow as pa

    names = [name for name in ((asked,) if asked else _COLUMNS) if name in schema.names]
    if not names:
        wanted = repr(asked) if asked else " or ".join(map(repr, _COLUMNS))
        raise _UnsuitableError(f"no column {wanted} among {', '.join(schema.names)}; choose one with --column")
    kind = schema.field(names[0]).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if pa.types.is_struct(kind):
        suits = bool({field.name for field in kind} & {"bytes", "path"})
    else:
        suits = any(test(kind) for test in texts)
    if not suits:
        raise _UnsuitableError(f"column {names[0]!r} holds {kind}, neither paths nor bytes; choose one with --column")
    return names[0]


def _imported(path: str) -> Any:
    with needing(f"{path}: to read Parquet"):
        import pyarrow.parquet
    return pyarrow.parquet


def _faults() -> type[Exception]:
    import pyarrow as pa

    return pa.ArrowException  # type: ignore[no-any-return]
