"""Atomic writes: temporary file, fsync, rename."""

import os
from pathlib import Path


def write_atomic(path: Path, *parts: "bytes | memoryview") -> None:
    """Write ``parts`` to a file beside ``path``, flush it to the disk, then rename it over ``path``."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
