"""Bounds of numeric settings. Beyond them a library would fail with an unhelpful error of its own.

Each function returns what is wrong with a value, ``None`` for nothing.
"""

import operator

MOST_CROPS = 4096
"""Crops of a photo."""
MOST_BATCH = 65_536
"""Images of a batch, and crops of all photos of a batch: 10 GB of pixels at 224 x 224."""
MOST_WORKERS = 256
"""Processes or threads that read."""
MOST_THREADS = 1024
"""Threads that compute."""
MOST_PIXELS = 10_000_000_000
"""Pixels of a photo, more than JPEG can have; a decoder may take 400 GB for them."""
MOST_BYTES = 1 << 40
"""Bytes of a download, a member of an archive or a cell of a table."""
MOST_SECONDS = 86_400.0
"""A day, to fetch or to read one photo."""


def whole_number(name: str, value: object, *, most: int, least: int = 1) -> str | None:
    """Whether ``value`` is a whole number from ``least`` to ``most``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type] # a TypeError is the answer
    except TypeError:
        return f"{name} must be a whole number from {least} to {most}, not {value!r}"
    if number < least:
        return f"{name} must be at least {least}, not {number}"
    if number > most:
        shown = str(number) if number.bit_length() < 1000 else f"a number of {number.bit_length()} bits"
        return f"{name} must be at most {most}, not {shown}"
    return None


def seconds(name: str, value: object, *, most: float = MOST_SECONDS) -> str | None:
    """Whether ``value`` is a number above 0 and up to ``most``."""
    if isinstance(value, (int, float)) and 0 < value <= most:
        return None
    return f"{name} must be a number of seconds above 0 and at most {most:g}, not {value}"
