"""The bare image tower: CLIP alone, without prompts, decoder or text, under each runtime. What a scorer can be at best.

It takes the crops that a predictor takes, (N, S, S, 3) uint8 RGB, and its work ends with the tokens after the final
layernorm. Nobody looks at them: only the time counts.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mpiqe.images import Pixels
from mpiqe.model.clip import FrozenCLIP

Look = Callable[[Pixels], object]


class BareTower(nn.Module):
    """Crops to tokens."""

    def __init__(self, clip: FrozenCLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, S, 3) uint8 -> CLS (N, W) and patches (N, P, W)."""
        return self.clip.encode_image(self.clip.preprocess(crops.permute(0, 3, 1, 2)))


def with_torch(clip: FrozenCLIP, *, dtype: torch.dtype) -> Look:
    """Eager, on the CPU; under autocast where ``dtype`` is not float32."""
    tower = BareTower(clip).eval()

    def look(crops: Pixels) -> object:
        with torch.inference_mode(), torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return tower(torch.from_numpy(crops))

    return look


def export(clip: FrozenCLIP, path: Path) -> Path:
    """Write the bare tower as ONNX; needs onnx and onnxscript."""
    size = clip.image_size
    crops = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself; a file that is not right does not run
        torch.onnx.export(
            BareTower(clip).eval(),
            (crops,),
            path,
            input_names=["crops"],
            dynamic_shapes={"crops": {0: torch.export.Dim("N")}},
            dynamo=True,
            verbose=False,
        )
    return path


def with_onnxruntime(path: Path) -> Look:
    """ONNX Runtime on the CPU, in fp32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda crops: session.run(None, {"crops": crops})


def with_openvino(path: Path, *, precision: str) -> Look:
    """OpenVINO on the CPU, in fp32 or bf16."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision], "PERFORMANCE_HINT": "LATENCY"}
    compiled: Any = openvino.Core().compile_model(path, "CPU", hints)
    return lambda crops: compiled({"crops": crops})
