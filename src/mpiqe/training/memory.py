"""The memory of a training step: what it needs, what the device has, and in how many parts it fits."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mpiqe.errors import ConfigError
from mpiqe.model.build import QualityModel
from mpiqe.model.mpiqe import MPIQEOutput

GIGABYTE = 2**30
_USABLE = 0.85  # of what is free; the rest is for workspaces and what lies between blocks
_CROPS = (2, 4)  # measured with, to tell what grows from what does not
_OUT_OF_MEMORY = (getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError), MemoryError)


class Needs(NamedTuple):
    """Bytes of a training step."""

    fixed: int
    """Weights, gradients, the optimiser's moments, and what the text side keeps."""
    per_crop: int
    """What the image side keeps of each crop that is computed at once."""

    def of(self, crops: int) -> int:
        """The whole, for so many crops at once."""
        return self.fixed + crops * self.per_crop

    def parts(self, crops: int, *, free: int) -> int:
        """The least number of equal parts that ``crops`` have to be computed in to fit into ``free`` bytes.

        Raises ``ConfigError`` where not even one crop fits.
        """
        room = int(free * _USABLE) - self.fixed
        if room < self.per_crop:
            raise ConfigError(
                f"a step needs {in_gigabytes(self.of(1))} for a single crop and {in_gigabytes(free)} are free; take "
                "--gradient-checkpointing, a smaller --backbone or a device with more memory"
            )
        return math.ceil(crops / (room // self.per_crop))


def measure_needs(model: QualityModel, accelerator: Accelerator, *, cached: bool = False) -> Needs:
    """Count what two small forward passes keep for their backward pass; ``cached``: from a ``StemCache``, not pixels.

    It takes as long as the passes of six crops. Nothing of the model changes.
    """
    found = [_kept(model, accelerator, crops, cached) for crops in _CROPS]
    per_crop = (found[1] - found[0]) // (_CROPS[1] - _CROPS[0])
    if model.clip.checkpointing:  # the layer that is computed again is there with all it keeps, besides
        with _whole(model):
            plain = [_kept(model, accelerator, crops, cached) for crops in _CROPS]
        per_crop += (plain[1] - plain[0]) // (_CROPS[1] - _CROPS[0]) // max(1, model.clip.vision_layers)
    trained = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    frozen = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    text = max(0, found[0] - _CROPS[0] * per_crop)
    return Needs(fixed=4 * trained + frozen + text, per_crop=per_crop)  # a gradient and Adam's two moments


@contextmanager
def _whole(model: QualityModel) -> Iterator[None]:
    model.clip.checkpointing = False
    try:
        yield
    finally:
        model.clip.checkpointing = True


def _kept(model: QualityModel, accelerator: Accelerator, crops: int, cached: bool) -> int:
    """Bytes of the tensors that a forward pass keeps, each memory block once, weights left out."""
    own = {_block(tensor) for tensor in (*model.parameters(), *model.buffers())}
    blocks: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if _block(tensor) not in own:
            blocks[_block(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    inputs = synthetic_crops(model, crops, cached=cached).to(accelerator.device)
    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor), accelerator.autocast():
        folded = model.fold()
        kept = forward(model, inputs, folded)  # the graph has to live while blocks are counted, else they are reused
    size = sum(blocks.values()) + inputs.numel() * inputs.element_size()
    del kept
    return size


def forward(model: QualityModel, crops: Tensor, folded: Any) -> MPIQEOutput:
    """One forward pass of uint8 crops (B, 3, S, S), or of what a ``StemCache`` keeps of them (B, N W + F)."""
    if crops.is_floating_point():
        return model.forward_embedded(model.clip.split_embedded(crops), folded)
    output: MPIQEOutput = model(crops, folded)
    return output


def synthetic_crops(model: QualityModel, crops: int, *, cached: bool) -> Tensor:
    """Crops of zeros as a step is given them."""
    clip = model.clip
    if cached:
        return torch.zeros(crops, clip.grid**2 * clip.vision_width + clip.pooled_width, dtype=torch.float16)
    return torch.zeros(crops, 3, clip.image_size, clip.image_size, dtype=torch.uint8)


def _block(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on ``device``: of a GPU, or of the machine within its cgroup's limit."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    found = [_in_file(Path("/proc/meminfo"), "MemAvailable:") * 1024]
    group = Path("/sys/fs/cgroup")
    limit = _in_file(group / "memory.max")
    if limit:
        found.append(limit - _in_file(group / "memory.current"))
    known = [value for value in found if value > 0]
    return min(known) if known else 2**63 - 1


def _in_file(path: Path, label: str = "") -> int:
    """The number behind ``label`` in a file of the kernel's; 0 where there is none."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    words = next((line.removeprefix(label).split() for line in lines if line.startswith(label)), [])
    return int(words[0]) if words and words[0].isdigit() else 0


def trial_parts(model: QualityModel, accelerator: Accelerator, crops: int, parts: int, *, cached: bool) -> int:
    """``parts``, or so many more that a part of ``crops`` really goes through a GPU forward and backward."""
    while True:
        try:
            inputs = synthetic_crops(model, math.ceil(crops / parts), cached=cached).to(accelerator.device)
            with accelerator.autocast():
                output = forward(model, inputs, model.fold())
            accelerator.backward(output.prediction.float().sum())
            return parts
        except _OUT_OF_MEMORY:
            if parts >= crops:
                raise
            parts = min(2 * parts, crops)
        finally:
            _forget(model)


def _forget(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None
    torch.cuda.empty_cache()


@contextmanager
def out_of_memory_named(crops: int, parts: int) -> Iterator[None]:
    """Turn a device's want of memory in a step of ``crops`` in ``parts`` into one sentence with the flag that helps."""
    try:
        yield
    except (*_OUT_OF_MEMORY, RuntimeError) as error:
        if not isinstance(error, _OUT_OF_MEMORY) and "can't allocate memory" not in str(error):
            raise
        each = math.ceil(crops / parts)
        raise ConfigError(
            f"out of memory in a step of {each} crops at once: --micro-batch auto finds how many fit, or give fewer, "
            f"--micro-batch {max(1, each // 2)} say; the gradients stay the same, and --resume goes on"
        ) from error


def in_gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIGABYTE:.3g} GB"
