"""Tensors in files that are whole or not there, and that notice when a bit of them has changed since."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mpiqe.atomic import write_atomic
from mpiqe.errors import WeightsError
from mpiqe.parse import parse_json

__all__ = ["check_safetensors", "write_atomic", "write_safetensors"]

DIGEST = "mpiqe_digest"
"""The key of the digest among a file's metadata; files of mpiqe 0.1 and of others have none."""


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text metadata to one safetensors file with their digest, whole or not at all.

    The same tensors and metadata make the same bytes: the header is written here, since the library orders metadata
    otherwise in every process.
    """
    whole = {key: tensors[key].detach().cpu().contiguous() for key in sorted(tensors)}
    content = save(whole)
    start = 8 + int.from_bytes(content[:8], "little")
    entries = parse_json(content[8:start])
    noted = {**metadata, DIGEST: _digest(metadata, whole.items())}
    header = json.dumps({"__metadata__": noted, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors begin at a multiple of eight
    write_atomic(path, len(header).to_bytes(8, "little"), header, memoryview(content)[start:])


def check_safetensors(path: Path) -> None:
    """Raise ``WeightsError`` for a file whose tensors or metadata are not those that it was written with.

    Reads the whole file once. One without a digest is read only as far as its header.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            stated = metadata.pop(DIGEST, None)
            if stated is None:
                return
            found = _digest(metadata, ((key, file.get_tensor(key)) for key in sorted(file.keys())))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}): damaged, or of another format"
        ) from error
    if found != stated:
        raise WeightsError(
            f"{path} is damaged: the digest of what it holds is {found[:20]} and was {stated[:20]!r} when it was "
            "written; copy it again from where it came from"
        )


def _digest(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.blake2b(json.dumps(sorted(metadata.items())).encode(), digest_size=32)
    for key, tensor in tensors:
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"blake2b:{digest.hexdigest()}"
