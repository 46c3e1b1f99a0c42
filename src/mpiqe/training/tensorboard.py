"""Each epoch's figures as TensorBoard events, for those who watch runs there (``mpiqe[tensorboard]``)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpiqe.errors import ConfigError


def event_writer(folder: Path, *, wanted: bool) -> Callable[[Mapping[str, Any]], None]:
    """A function that writes one epoch's row to ``folder``; it does nothing unless ``wanted``."""
    if not wanted:
        return lambda row: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard = true needs TensorBoard: pip install 'mpiqe[tensorboard]'") from error
    writer = SummaryWriter(str(folder))

    def write(row: Mapping[str, Any]) -> None:
        for key, value in row.items():
            if isinstance(value, float):
                writer.add_scalar(key, value, row["epoch"])
        writer.flush()

    return write
