"""The child process that reads one label file: damaged files can crash SciPy's reader of .mat files, which is C.

Its arguments are what to read and the file; it writes one JSON value to standard output, ``{"value": ..}`` or
``{"error": ..}``. Its memory and its time are bounded where the system can.
"""

import contextlib
import datetime
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 2 << 30  # bytes of address space beyond what the interpreter has
ANSWER = 16 << 20  # bytes of JSON; as objects of the process that asked they take up to sixteen times as much
CELLS = 1_000_000  # of an Excel file, and as many rows; the largest official one has some thousand
SECONDS = 300  # on an overloaded machine SciPy alone takes one to import


def main(kind: str, file: str) -> None:
    """Read ``file`` as ``kind`` and write what it holds."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not get among the answer
    _bound()
    try:
        answer: dict[str, Any] = {"value": KINDS[kind](file)}
    except Exception as error:  # whatever the damage leads a reader to
        answer = {"error": str(error) or type(error).__name__}
    with answers:
        json.dump(answer, answers, default=_plain)


def _mat(file: str) -> dict[str, Any]:
    """The variables of a MATLAB file: numbers as ``{"shape", "numbers"}``, cell arrays as ``{"shape", "texts"}``."""
    from scipy.io import loadmat

    found = {}
    for name, array in loadmat(file).items():
        if name.startswith("__"):
            continue
        if array.dtype == object:
            found[name] = {"shape": array.shape, "texts": [_text(cell) for cell in array.ravel()]}
        elif array.dtype.kind in "biuf":
            found[name] = {"shape": array.shape, "numbers": array.ravel().tolist()}
        else:
            found[name] = {"shape": array.shape, "kind": str(array.dtype)}
    return found


def _text(cell: Any) -> str | None:
    """What a cell holds, ``None`` where that is no text."""
    try:
        return str(cell[0])
    except (IndexError, TypeError):
        return None


def _xlsx(file: str) -> dict[str, Any]:
    import openpyxl

    with Path(file).open("rb") as stream:
        book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        found: dict[str, list[list[Any]]] = {}
        with contextlib.closing(book):
            left = CELLS
            for sheet in book.worksheets:
                rows = found[sheet.title] = []
                for row in sheet.iter_rows(values_only=True):  # one with the number 1,000,000 comes after as many empty
                    left -= 1 + len(row)
                    if left < 0:
                        raise ValueError(f"it says that it has more than {CELLS} cells")
                    rows.append(list(row))
        return found


def _xls(file: str) -> dict[str, Any]:
    import xlrd

    with xlrd.open_workbook(file_contents=Path(file).read_bytes()) as book:
        return {
            sheet.name: [
                [None if cell.ctype == xlrd.XL_CELL_ERROR else cell.value for cell in row]  # else an error's code
                for row in sheet.get_rows()
            ]
            for sheet in book.sheets()
        }


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {"mat": _mat, "xlsx": _xlsx, "xls": _xls}


def _plain(value: Any) -> str:
    """A cell that JSON has no kind for: a date, a duration."""
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)


def _bound() -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(SECONDS)  # for a parent that is killed meanwhile
    with contextlib.suppress(OSError, ImportError, ValueError):  # neither Windows nor macOS has all of this
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER + 1, ANSWER + 1))  # the answer goes to a file
        first = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = first + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main(*sys.argv[1:])
