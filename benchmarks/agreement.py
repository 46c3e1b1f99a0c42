"""How far are the quick ways to run a model from PyTorch in fp32, on real photos?

    python benchmarks/agreement.py PHOTOS [--weights W] [--limit N]

PHOTOS is a folder, that of LIVE Challenge say. Every photo is scored by torch in fp32, torch in bf16, ONNX Runtime and
OpenVINO in fp32 and bf16, and ONNX Runtime with weights of eight bits, on the same crops. Printed are the largest
difference of a score and its 99th percentile in shares of the score's range, SRCC between the two lists of scores, and
how often the likeliest distortion is the same.
The weights are the embedded model's if none are named; those of a run are exported first.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import mpiqe
from mpiqe.metrics import srcc
from mpiqe.runtimes.export import export
from mpiqe.runtimes.quantize import to_int8
from mpiqe.scoring.score import Score, likeliest
from mpiqe.sources.find import photo_files


def main() -> None:
    """Score with each and print one line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    paths = list(photo_files([asked.photos], stdin=io.BytesIO()))[: asked.limit]
    reference = mpiqe.load(asked.weights, runtime="torch", device="cpu", precision="fp32")
    expected = _scores(reference, paths)
    span = reference.scale.high - reference.scale.low
    print(f"{len(paths)} photos, {reference.crops} crops each, range {span:.1f}, against torch in fp32")
    with tempfile.TemporaryDirectory() as folder:
        for name, scorer in _others(asked.weights, Path(folder)):
            print(f"{name:<24}{_compared(_scores(scorer, paths), expected, span)}", flush=True)


def _others(weights: str, folder: Path) -> Iterator[tuple[str, mpiqe.Scorer]]:
    yield "torch bf16", mpiqe.load(weights, runtime="torch", device="cpu", precision="bf16")
    graph = folder / "graph"
    export(weights, graph)
    yield "ONNX Runtime fp32", mpiqe.load(graph, runtime="onnx")
    yield "OpenVINO fp32", mpiqe.load(graph, runtime="openvino", precision="fp32")
    yield "OpenVINO bf16", mpiqe.load(graph, runtime="openvino", precision="bf16")
    to_int8(graph, folder / "int8")  # without the comparison by which an export of this model is refused
    yield "ONNX Runtime int8", mpiqe.load(folder / "int8", runtime="onnx")


def _scores(scorer: mpiqe.Scorer, paths: list[Path]) -> list[Score]:
    found = []
    for row in scorer.rows(paths):
        if row.score is None:
            sys.exit(f"{row.path}: {row.error}")
        found.append(row.score)
    return found


def _compared(found: list[Score], expected: list[Score], span: float) -> str:
    ours, theirs = (np.array([score.score for score in scores]) for scores in (found, expected))
    off = np.abs(ours - theirs) / span
    same = np.mean([likeliest(a.distortion) == likeliest(b.distortion) for a, b in zip(found, expected, strict=True)])
    return (
        f"largest {off.max():.2e}  99 % below {np.quantile(off, 0.99):.2e}  SRCC {srcc(ours, theirs):.6f}  "
        f"same distortion {same:.2%}"
    )


if __name__ == "__main__":
    main()
