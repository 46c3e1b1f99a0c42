"""Backbones that offer ``pytorch_model.bin`` alone: read once, as tensors and nothing else, and kept as safetensors.

torch's reader of weights (``weights_only``) builds tensors and plain containers and calls nothing else that a file
names. Versions before 2.6 could be made to run code by a crafted file (CVE-2025-32434), so these are refused.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_config import WEIGHTS, refusing
from mpiqe.model.tensor_files import check_safetensors, write_safetensors
from mpiqe.printable import printable

TORCH_WEIGHTS = "pytorch_model.bin"
_SAFE = (2, 6)
_KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def kept_as_safetensors(file: Path) -> Path:
    """The folder that holds ``model.safetensors`` with the tensors of ``file``, a ``pytorch_model.bin``.

    It lies in the user's cache, ``$XDG_CACHE_HOME/mpiqe/backbones`` or ``~/.cache/mpiqe/backbones``, under the file's
    SHA-256, and is written when the file is met for the first time.
    Raises ``WeightsError`` for a file that holds anything but tensors by name.
    """
    folder = _cache() / _sha256(file)
    kept = folder / WEIGHTS
    if kept.is_file():
        try:
            check_safetensors(kept)
        except WeightsError:
            kept.unlink()  # a damaged copy is made anew
        else:
            return folder
    tensors = read_tensors(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(kept, tensors, {"format": "pt"})
    except OSError as error:
        raise WeightsError(
            f"{file} has to be kept as safetensors once, and {folder} cannot be written ({error.strerror}); name "
            "another folder with XDG_CACHE_HOME"
        ) from error
    return folder


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a ``pytorch_model.bin`` by name, on the CPU, each with memory of its own."""
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < _SAFE:
        raise WeightsError(
            f"{file} is a pickle, which torch {torch.__version__} cannot read without a risk; install torch 2.6 or "
            "newer, or convert it to safetensors"
        )
    with refusing(f"{file} cannot be read as tensors alone", ""):
        values = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(values, Mapping) or not values:
        raise WeightsError(f"{file} holds a {type(values).__name__}, no tensors by name")
    tensors = {str(key): value for key, value in values.items() if not str(key).endswith("position_ids")}
    size = file.stat().st_size
    for key, value in tensors.items():
        if not isinstance(value, Tensor) or value.dtype not in _KINDS or value.layout != torch.strided:
            what = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise WeightsError(f"{file}: {printable(key)[:60]} is {what}, no weights")
    stated = sum(value.numel() * value.element_size() for value in tensors.values())
    if stated > size * 2:  # tied weights are stored once; more than that is stretched out of little
        raise WeightsError(f"{file} has {size:,} bytes, but its tensors would take {stated:,}")
    return {key: value.clone() for key, value in tensors.items()}


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mpiqe" / "backbones"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
