"""Every error that mpiqe raises on purpose.

::

    MPIQEError
    ├── ConfigError    an invalid option or config file
    ├── DatasetError   an invalid dataset folder, label file or table
    ├── ImageError     one image that cannot be read; only its own row is lost
    └── WeightsError   a checkpoint or a backbone that is missing, damaged, not mpiqe's or does not match
"""


class MPIQEError(Exception):
    """What went wrong, where, and what to do about it."""


class ConfigError(MPIQEError):
    """Invalid option or config file."""


class DatasetError(MPIQEError):
    """Invalid dataset folder, label file or table."""


class ImageError(MPIQEError):
    """One image that cannot be read."""


class WeightsError(MPIQEError):
    """A checkpoint or a backbone that is missing, damaged, not mpiqe's or does not match."""
