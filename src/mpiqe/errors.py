"""Every error that mpiqe raises on purpose.

::

    MPIQEError
    ├── ConfigError    an option or a config file that cannot be meant
    ├── DatasetError   a dataset folder, a label file or a table that does not add up
    ├── ImageError     one picture that cannot be read; it costs its own row and nothing else
    └── WeightsError   a checkpoint or a backbone that is missing, damaged, foreign or mismatched
"""


class MPIQEError(Exception):
    """What went wrong, where, and what to do about it."""


class ConfigError(MPIQEError):
    """An option or a config file that cannot be meant."""


class DatasetError(MPIQEError):
    """A dataset folder, a label file or a table that does not add up."""


class ImageError(MPIQEError):
    """One picture that cannot be read."""


class WeightsError(MPIQEError):
    """A checkpoint or a backbone that is missing, damaged, foreign or mismatched."""
