"""Tensors in files that are whole or not there."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from mpiqe.files import write_whole

__all__ = ["write_safetensors", "write_whole"]


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text metadata to one safetensors file, whole or not at all."""
    write_whole(path, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, metadata))
