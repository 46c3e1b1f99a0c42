"""Read the label files of releases: variables of .mat, rows of .csv, .xls and .xlsx, without checking their values.

All but .csv are read in a child process: damaged files have crashed SciPy's reader, and a sheet can unpack to any
size.
"""

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpiqe.data.faults import refuse
from mpiqe.data.label_process import read_apart
from mpiqe.errors import DatasetError

Cells = dict[str, Any]
Rows = Sequence[Sequence[Any]]


class Line(NamedTuple):
    """One row: the file and line that hold it, and its cells in the wanted columns by their names."""

    place: str
    cells: Cells


def mat_variable(file: Path, name: str) -> NDArray[np.float64]:
    """A variable of numbers in a MATLAB file; ``DatasetError`` where it is missing or the file cannot be read."""
    found = _mat(file, name)
    if "numbers" not in found:
        raise DatasetError(f"{file}: {name} is no array of numbers; is it the official release?")
    numbers: NDArray[np.float64] = np.array(found["numbers"], dtype=np.float64).reshape(found["shape"])
    return numbers


def mat_texts(file: Path, name: str) -> list[str]:
    """The texts of one cell array of a MATLAB file, errors as of ``mat_variable``."""
    texts = _mat(file, name).get("texts")
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise DatasetError(f"{file}: {name} is no cell array of texts; is it the official release?")
    return list(texts)


def _mat(file: Path, name: str) -> Cells:
    try:
        written = file.stat().st_mtime_ns
    except OSError:
        written = 0  # reading it will say what is wrong
    found: Cells | None = _variables(file, written).get(name)
    if found is None:
        raise DatasetError(f"{file}: holds no variable {name}; is it the official release?")
    return found


@lru_cache(maxsize=2)
def _variables(file: Path, _written: int) -> dict[str, Cells]:
    """All variables of a file, read once for several of them; again where it was ``_written`` at another time."""
    return read_apart(file, "mat")


def csv_lines(file: Path, columns: Sequence[str]) -> list[Line]:
    """The rows of a comma-separated UTF-8 file; ``DatasetError`` if it cannot be read or lacks one of ``columns``."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = [[cell.strip() for cell in row] for row in csv.reader(text, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); copy the release again") from error
    header = rows[0] if rows else []
    missing = [f"no column {column!r} but {', '.join(header)}" for column in columns if column not in header]
    refuse(f"{file}:1: not the official label file", missing)
    return [Line(f"{file}:{number}", cells) for number, cells in _below_header(rows, 0, columns)]


def sheet_lines(file: Path, columns: Sequence[str], sheet: str | None = None) -> list[Line]:
    """The rows of one sheet of an .xls or .xlsx file: of ``sheet``, or of the first that has ``columns``.

    Their names may stand in any row and column; what is above that row is passed over. Raises ``DatasetError`` for a
    file that cannot be read, a sheet or columns that are not there, and ``ConfigError`` where the package that reads
    such files is not installed.
    """
    sheets: dict[str, Rows] = read_apart(file, "xls" if file.suffix.lower() == ".xls" else "xlsx")
    if sheet is not None and sheet not in sheets:
        raise DatasetError(f"{file}: no sheet {sheet!r} but {', '.join(map(repr, sheets))}; is it the official file?")
    for name in sheets if sheet is None else [sheet]:
        for header, row in enumerate(sheets[name]):
            if set(columns) <= {cell.strip() for cell in row if isinstance(cell, str)}:
                below = _below_header(sheets[name], header, columns)
                return [Line(f"{file}: {name}, row {number}", cells) for number, cells in below]
    raise DatasetError(
        f"{file}: no row of {'any sheet' if sheet is None else f'sheet {sheet!r}'} names the columns "
        f"{', '.join(map(repr, columns))}; is it the official file?"
    )


def _below_header(rows: Rows, header: int, columns: Sequence[str]) -> list[tuple[int, Cells]]:
    """Number (from 1) and wanted cells of each row under row ``header`` (from 0) that has any; missing ones None."""
    names = [cell.strip() if isinstance(cell, str) else cell for cell in rows[header]]
    at = {column: names.index(column) for column in columns}
    found = []
    for number, row in enumerate(rows[header + 1 :], start=header + 2):
        cells = {column: row[index] if index < len(row) else None for column, index in at.items()}
        if any(cell not in (None, "") for cell in cells.values()):
            found.append((number, cells))
    return found
