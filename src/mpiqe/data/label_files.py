"""Label files as releases have them: variables of .mat, rows of .csv, .xls and .xlsx. No row is judged here."""

import csv
import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from mpiqe.data.faults import refuse
from mpiqe.errors import ConfigError, DatasetError

Cells = dict[str, Any]
Rows = Sequence[Sequence[Any]]


class Line(NamedTuple):
    """One row: the file and line that hold it, and its cells in the wanted columns by their names."""

    place: str
    cells: Cells


def mat_variable(file: Path, name: str) -> Any:
    """One variable of a MATLAB file; ``DatasetError`` where either is missing or the file cannot be read."""
    from scipy.io import loadmat  # 0.2 s to import

    try:
        return loadmat(file)[name]
    except KeyError as error:
        raise DatasetError(f"{file}: holds no variable {name}; is it the official release?") from error
    except Exception as error:  # SciPy's reader raises whatever the damage leads it to
        raise DatasetError(f"{file}: cannot be read as a MATLAB file ({error}); copy the release again") from error


def mat_texts(file: Path, name: str) -> list[str]:
    """The texts of one cell array of a MATLAB file, errors as of ``mat_variable``."""
    cells = mat_variable(file, name).ravel()
    try:
        return [str(cell[0]) for cell in cells]
    except (IndexError, TypeError) as error:
        raise DatasetError(f"{file}: {name} is no cell array of texts; is it the official release?") from error


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
    sheets = _xls(file) if file.suffix.lower() == ".xls" else _xlsx(file)
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


def _xlsx(file: Path) -> dict[str, Rows]:
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigError(f"{file.name} is read with openpyxl, and {error}: pip install openpyxl") from error
    try:
        book = openpyxl.load_workbook(io.BytesIO(file.read_bytes()), read_only=True, data_only=True)
        with closing(book):
            return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}
    except Exception as error:  # zip, XML and openpyxl's own: whatever the damage leads to
        raise DatasetError(f"{file}: cannot be read as an Excel file ({error}); copy the release again") from error


def _xls(file: Path) -> dict[str, Rows]:
    try:
        import xlrd
    except ImportError as error:
        raise ConfigError(f"{file.name} is read with xlrd, and {error}: pip install xlrd") from error
    try:
        with xlrd.open_workbook(file_contents=file.read_bytes()) as book:
            return {
                sheet.name: [
                    [None if cell.ctype == xlrd.XL_CELL_ERROR else cell.value for cell in row]  # else an error's code
                    for row in sheet.get_rows()
                ]
                for sheet in book.sheets()
            }
    except Exception as error:  # struct, xlrd's own and others: whatever the damage leads to
        raise DatasetError(f"{file}: cannot be read as an Excel file ({error}); copy the release again") from error
