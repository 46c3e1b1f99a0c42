"""Errors of the system while rows are written, a full disk above all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

GO_ON = "; the rows that are written stay: mend that, and --resume goes on"


@contextlib.contextmanager
def writing(path: Path, *, then: str = GO_ON) -> Iterator[None]:
    """Name the output in an ``OSError`` that has no name or that of a part of it, and say what can be done ``then``."""
    try:
        yield
    except OSError as error:
        if error.filename == str(path):
            raise
        raise OSError(error.errno, f"{error.strerror or error}{then}", str(path)) from error
