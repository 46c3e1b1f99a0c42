"""Every error that mpiqe raises on purpose.

::

    MPIQEError
    ├── ConfigError    an option or a config file that cannot be meant
    ├── DatasetError   a dataset folder, a label file or a table that does not add up
    ├── ImageError     one picture that cannot be read; it costs its own row and nothing else
    └── WeightsError   a checkpoint or a backbone that is missing, damaged, foreign or mismatched
"""

from mpiqe.printable import printable


class MPIQEError(Exception):
    """What went wrong, where, and what to do about it.

    Files are quoted in it, so its text holds no control sequences: they are escaped but for line breaks and tabs.
    """

    def __str__(self) -> str:
        """Return the text that may go to a terminal."""
        return printable(super().__str__(), keep="\n\t")


class ConfigError(MPIQEError):
    """An option or a config file that cannot be meant."""


class DatasetError(MPIQEError):
    """A dataset folder, a label file or a table that does not add up."""


class ImageError(MPIQEError):
    """One picture that cannot be read.

    Its text names the file letter by letter, as rows do; it is escaped where rows are shown.
    """

    def __str__(self) -> str:
        """Return the text as it is."""
        return Exception.__str__(self)


class WeightsError(MPIQEError):
    """A checkpoint or a backbone that is missing, damaged, foreign or mismatched."""
