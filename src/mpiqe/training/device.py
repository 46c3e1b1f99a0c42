"""Device, precision and peak memory of a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.nn.attention import SDPBackend, sdpa_kernel

from mpiqe.errors import ConfigError
from mpiqe.option_types import Precision

_SHORT = 100  # tokens
_MOST_WORKERS = 8  # that help: eight decode some 3,000 photos of 500 x 500 a second, more than a step takes


def resolve_precision(*, device: str, precision: Precision) -> Precision:
    """What ``auto`` means on this machine; any other precision is itself."""
    if precision != "auto":
        return precision
    return "bf16" if computes_in_bf16(cpu=_on_cpu(device)) else "fp32"


def accelerator_for(*, device: str, precision: Precision) -> Accelerator:
    """An ``Accelerator`` for ``device`` (auto, cpu) and ``precision`` (auto, fp32, tf32, bf16, fp16)."""
    cpu, precision = _on_cpu(device), resolve_precision(device=device, precision=precision)
    if precision in ("fp16", "tf32") and cpu:
        raise ConfigError(f"precision {precision} needs a GPU; on a CPU take bf16 or fp32")
    # Never left to a library's default: fp32 means 24 bits in every product, the fp32 steps of bf16 runs included.
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(True)  # else one process could not do a second run in another precision
    return Accelerator(cpu=cpu, mixed_precision="no" if precision in ("fp32", "tf32") else precision)


def about_emulation(*, device: str, precision: Precision) -> str | None:
    """A sentence where bf16 is asked of a CPU that has no instructions for it, else ``None``."""
    asked = precision == "bf16" and _on_cpu(device)
    if not asked or not hasattr(torch.cpu, "get_capabilities") or computes_in_bf16(cpu=True):
        return None
    return "careful: this CPU has no bf16 instructions and imitates them, many times slower than --precision fp32"


def workers_for(device: torch.device) -> int:
    """How many processes decode where nobody says: one beside a CPU that computes, up to eight for a GPU."""
    if device.type == "cpu":
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, usable - 1))


def _on_cpu(device: str) -> bool:
    return device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def computes_in_bf16(*, cpu: bool) -> bool:
    """Whether the device multiplies bf16 in hardware; elsewhere it would be slower than fp32."""
    if not cpu:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.8 and newer can tell
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("amx_tile"))


@contextmanager
def quick_attention(accelerator: Accelerator, *, tokens: int) -> Iterator[None]:
    """The quicker kernel for training: in bf16 on a CPU the blocked one pays only for many tokens.

    Forward and backward of 128 x 3 heads x 54 tokens take 15 ms in plain attention and 27 in the blocked kernel; of
    32 x 12 x 201 they take 172 and 112 (`benchmarks/attention.py`, two cores, medians of five).
    """
    if accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16" and tokens <= _SHORT:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield


def peak_memory_mb(device: torch.device) -> float:
    """The most memory this process has held so far, in MB: the GPU's on CUDA, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
