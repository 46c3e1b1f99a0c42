"""Write each epoch's metrics as TensorBoard events (``mpiqe[tensorboard]``)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpiqe.extras import needing


def event_writer(folder: Path, *, wanted: bool) -> Callable[[Mapping[str, Any]], None]:
    """A function that writes one epoch's row to ``folder``; it does nothing unless ``wanted``."""
    if not wanted:
        return lambda row: None
    with needing("to write TensorBoard's event files"):
        from torch.utils.tensorboard import SummaryWriter
    writer = SummaryWriter(str(folder))

    def write(row: Mapping[str, Any]) -> None:
        for key, value in row.items():
            if isinstance(value, float):
                writer.add_scalar(key, value, row["epoch"])
        writer.flush()

    return write
