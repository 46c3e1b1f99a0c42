"""``mpiqe`` as it would be with one more row in the table of runtimes, and the loader that the row names."""

import sys
from types import MappingProxyType

import numpy as np

from mpiqe.runtimes import registry
from mpiqe.runtimes.base import Loaded, Prediction, Request, Scale

MADE = registry.RuntimeSpec(
    name="made",
    title="Made Runtime",
    help="the brightness of crops",
    loader="tests.cli.made_runtime:load",
    precisions=("fp32",),
    devices=("cpu", "npu"),
    graphs=("onnx",),
    graph_precisions=("fp32",),
)


class Brightness:
    """A modest model, whose score is a crop's brightness."""

    crop_size = 32
    crops_at_once = 128
    scenes = ("night", "day")
    distortions = ("dull", "none")
    scale = Scale(low=0, high=255, unit="grey levels")

    def __init__(self, device: str) -> None:
        self.computes = f"made fp32 {device}"

    def predict(self, crops: np.ndarray) -> Prediction:
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=halves, distortion=halves)


def load(request: Request) -> Loaded:
    assert request.graph is not None
    return Loaded(Brightness("cpu" if request.device == "auto" else request.device), crops=2)


def with_row(spec: registry.RuntimeSpec = MADE) -> MappingProxyType[str, registry.RuntimeSpec]:
    """The table, one row longer."""
    return MappingProxyType({**registry.RUNTIMES, spec.name: spec})


if __name__ == "__main__":
    registry.RUNTIMES = with_row()  # before any command is imported, as if the row stood in the table
    from mpiqe.cli.start import main

    sys.exit(main())
