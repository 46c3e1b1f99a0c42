"""Where a run computes, in which arithmetic, and how much memory it took."""

import resource
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mpiqe.errors import ConfigError


def accelerator_for(*, device: str, precision: str) -> Accelerator:
    """An ``Accelerator`` for ``device`` (auto, cpu) and ``precision`` (auto, fp32, bf16, fp16)."""
    cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(cpu=cpu) else "fp32"
    if precision == "fp16" and cpu:
        raise ConfigError("precision fp16 needs a GPU; on a CPU take bf16 or fp32")
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(True)  # else one process could not do a second run in another precision
    return Accelerator(cpu=cpu, mixed_precision="no" if precision == "fp32" else precision)


def computes_in_bf16(*, cpu: bool) -> bool:
    """Whether the device multiplies bf16 in hardware; elsewhere it would be slower than fp32."""
    if not cpu:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.8 and newer can tell
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("amx_tile"))


def peak_memory_mb() -> float:
    """The most memory this process has held so far, in MB: the GPU's if one is used, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
