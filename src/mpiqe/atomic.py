"""Atomic writes: temporary file, fsync, rename."""

import os
from pathlib import Path


def why_not_writable(path: Path) -> str | None:
    """Why nothing can be written at ``path``, a file or a folder that may be there or be made; ``None`` if it can."""
    there = next((each for each in (path, *path.parents) if each.exists()), Path.cwd())
    if there != path and not there.is_dir():
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK) else f"{there} may not be written"


def write_atomic(path: Path, *parts: "bytes | memoryview") -> None:
    """Write ``parts`` to a file beside ``path``, flush it to the disk, then rename it over ``path``.

    Raises ``OSError`` that names ``path``: of a full disk the system does not say where.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        beside.unlink(missing_ok=True)
