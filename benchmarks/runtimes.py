"""What was tried on the way to a quick scorer, beside what was kept: crops a second of one model, in turns.

    python benchmarks/runtimes.py [--shape vit-b-16] [--crops 32] [--repeats 5]

The embedded model, or random weights of a shape. Measured are ONNX Runtime and OpenVINO (bf16 where the processor has
it, else fp32) with 1, 4, 8, 16 and 32 crops in a call; OpenVINO on the graph with all its outputs; ONNX Runtime
with weights of eight bits (how far its answers are off: `benchmarks/agreement.py`); and torch compiled, in fp32 and
bf16.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mpiqe.bench.photos import SIZES, make_photo
from mpiqe.bench.timing import interleaved, line
from mpiqe.images import Pixels, crop_positions, cut
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.model.untrained import create_untrained, shape_named
from mpiqe.runtimes.base import Predictor
from mpiqe.runtimes.export import ScoringGraph, export
from mpiqe.runtimes.graph import ONNX
from mpiqe.runtimes.onnx import OnnxPredictor
from mpiqe.runtimes.openvino import OpenVINOPredictor
from mpiqe.runtimes.openvino_core import openvino_core, openvino_settings
from mpiqe.runtimes.quantize import to_int8

AT_ONCE = (1, 4, 8, 16, 32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", help="vit-b-16, say; the embedded model if not given")
    parser.add_argument("--crops", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = create_untrained(folder / "run", shape_named(asked.shape)) if asked.shape else "embedded"
        works = _works(str(weights), folder, asked.crops)
        print(f"{asked.shape or 'embedded'}, {asked.crops} crops, {asked.repeats} repeats", flush=True)
        for label, taken in interleaved(works, repeats=asked.repeats).items():
            print(line(f"{label:<44}", [asked.crops / spent for spent in taken], "crops/s"))


def _works(weights: str, folder: Path, number: int) -> dict[str, Callable[[], object]]:
    graph = folder / "graph"
    export(weights, graph, photos=[make_photo(SIZES[0], seed=0)])
    onnx, vino = OnnxPredictor(graph), OpenVINOPredictor(graph)
    crops = _crops(number, size=onnx.crop_size)
    works: dict[str, Callable[[], object]] = {}
    for at_once in AT_ONCE:
        works[f"ONNX Runtime fp32, {at_once} at once"] = partial(_in_parts, onnx, crops, at_once)
    for at_once in AT_ONCE:
        works[f"OpenVINO {vino.precision}, {at_once} at once"] = partial(_in_parts, vino, crops, at_once)
    works[f"OpenVINO {vino.precision}, all outputs, 16 at once"] = _whole(graph, vino.precision)(crops)
    eight = OnnxPredictor(to_int8(graph, folder / "int8"))
    works["ONNX Runtime int8, 1 at once"] = partial(_in_parts, eight, crops, 16)
    model, _ = load_checkpoint(weights)
    model.clip.fuse()
    compiled = torch.compile(ScoringGraph(model).eval())
    for lower in (False, True):
        works[f"torch compiled {'bf16' if lower else 'fp32'}, 16 at once"] = partial(_compiled, compiled, crops, lower)
    return works


def _crops(number: int, *, size: int) -> Pixels:
    photo = make_photo(SIZES[1], seed=1)
    width, height = SIZES[1]
    return cut(np.asarray(photo), crop_positions(width, height, size=size, count=number, mode="seeded"), size=size)


def _in_parts(predictor: Predictor, crops: Pixels, at_once: int) -> None:
    for first in range(0, len(crops), at_once):
        predictor.predict(crops[first : first + at_once])


def _whole(graph: Path, precision: str) -> Callable[[Pixels], Callable[[], object]]:
    compiled = openvino_core().compile_model(graph / ONNX, "CPU", openvino_settings(precision))
    request = compiled.create_infer_request()
    return lambda crops: (
        lambda: [request.infer([crops[first : first + 16]], share_inputs=True) for first in range(0, len(crops), 16)]
    )


def _compiled(graph: Callable[[torch.Tensor], object], crops: Pixels, lower: bool) -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower):
        for first in range(0, len(crops), 16):
            graph(torch.from_numpy(crops[first : first + 16]))


if __name__ == "__main__":
    main()
