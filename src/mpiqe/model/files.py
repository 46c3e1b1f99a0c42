"""Files that are whole or not there."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_whole(path: Path, content: bytes) -> None:
    """Write to a file beside ``path``, flush it to the disk, then rename it over ``path``."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text metadata to one safetensors file, whole or not at all."""
    write_whole(path, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, metadata))
