"""The process's one OpenVINO core, and the settings that models are compiled with.

One, kept to the process's end: OpenVINO 2026.4's CPU plugin gives its thread an alternate signal stack, and of two
cores let go of in the order they were made in, the second leaves that stack pointing to freed memory. The next signal
with a Python handler (Ctrl-C, a worker of torch's DataLoader that ends) then kills the process.
"""

import threading
from typing import TYPE_CHECKING, Any

from mpiqe.extras import needing

if TYPE_CHECKING:
    import openvino

_cores: list["openvino.Core"] = []
_lock = threading.Lock()


def openvino_core() -> "openvino.Core":
    """The core that everything here uses. Raises ``ConfigError`` where OpenVINO is not installed."""
    with needing("to run a model with OpenVINO"):
        import openvino

    with _lock:
        if not _cores:
            _cores.append(openvino.Core())
        return _cores[0]


def openvino_settings(precision: str, *, threads: int | None = None) -> dict[str, Any]:
    """What to compile with for one caller at a time, ``bf16`` or ``fp32``; OpenVINO chooses the threads by default."""
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    return settings | {"INFERENCE_NUM_THREADS": threads} if threads else settings
