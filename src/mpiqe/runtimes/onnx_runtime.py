"""ONNX Runtime, without its telemetry.

From 1.29 its packages for Linux and macOS tell Microsoft of every process and session (the model's file name and
digests, the processor, times), and keep an identifier of the device in the home folder. ``ORT_DISABLE_TELEMETRY``
keeps it from all of that if it is set when ONNX Runtime is first imported.
"""

import os
from types import ModuleType


def onnx_runtime() -> ModuleType:
    """The module ``onnxruntime``. Everything here imports it by this function."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # on Windows, and where other code has imported it before
    return onnxruntime  # type: ignore[no-any-return]
