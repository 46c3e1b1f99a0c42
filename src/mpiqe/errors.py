"""Every error that mpiqe raises on purpose.

::

    MPIQEError
    ├── ConfigError    an invalid option or config file
    ├── DatasetError   an invalid dataset folder, label file or table
    ├── ImageError     one image that cannot be read; only its own row is lost
    └── WeightsError   a checkpoint or a backbone that is missing, damaged, not mpiqe's or does not match
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mpiqe.printable import printable


class MPIQEError(Exception):
    """What went wrong, where, and what to do about it.

    Files are quoted in it, so its text holds no control sequences: they are escaped but for line breaks and tabs.
    """

    def __str__(self) -> str:
        """Return the text that may go to a terminal."""
        return printable(super().__str__(), keep="\n\t")


class ConfigError(MPIQEError):
    """Invalid option or config file."""


class DatasetError(MPIQEError):
    """Invalid dataset folder, label file or table."""


class ImageError(MPIQEError):
    """One image that cannot be read.

    ``name`` is what its row calls the image, ``None`` where the code that found the fault does not know it: whoever
    does adds it with ``image_named``. ``reason`` says what is wrong and, where something helps, what to do. Its text
    names the file letter by letter, as rows do; it is escaped where rows are shown.
    """

    def __init__(self, name: str | None, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return self.reason if self.name is None else f"{self.name}: {self.reason}"


class WeightsError(MPIQEError):
    """A checkpoint or a backbone that is missing, damaged, not mpiqe's or does not match."""


@contextmanager
def image_named(name: str) -> Iterator[None]:
    """Give every ``ImageError`` that is raised inside the image's ``name``, in place of the one that it may have."""
    try:
        yield
    except ImageError as error:
        raise ImageError(name, error.reason) from error.__cause__
