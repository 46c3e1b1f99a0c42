"""Put a trained run and its compact backbone into the package, as what `mpiqe.load()` gives without a name.

    python tools/embed_model.py RUN BACKBONE --version N
    python tools/embed_model.py --graph

RUN is the folder of `mpiqe train --backbone BACKBONE`. N is the version of the embedded model: `scorer.scale` and run
files name it, and it has to be another one whenever scores change. Paths of this machine are left out of the copied
settings, and weights are kept in half precision. `--graph` writes the graph alone anew, from the embedded
checkpoint. After either, `benchmarks/bursts.py --calibrate` says anew how far two shots of one scene have to be apart.

The graph `mpiqe.onnx` holds no large weights: it points into the safetensors files beside it, which are raw numbers
behind a header, as ONNX's external data are. So there is one copy of the weights for torch and for ONNX Runtime.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mpiqe.atomic import write_atomic
from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.pretraining_data import PRETRAINING_KEYS
from mpiqe.publish.folder import without_paths
from mpiqe.runtimes.export import ScoringGraph, card_for, trace
from mpiqe.runtimes.graph import ONNX, read_card, write_card
from mpiqe.runtimes.onnx import OnnxPredictor

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "mpiqe" / "weights"
HELD_IN = (FILE_NAME, "backbone/model.safetensors")
"""The files that the graph's large weights lie in."""
NAME = "mpiqe-embedded"
LIMIT_MB = 25
SMALL = 1024  # values; smaller weights stay in the graph
KINDS = {"F16": (np.float16, TensorProto.FLOAT16), "F32": (np.float32, TensorProto.FLOAT)}


class Stored(NamedTuple):
    """Where a tensor lies in a safetensors file."""

    file: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int


def main(run: Path, backbone: Path, version: int) -> None:
    """Copy, load what was copied, write its graph, and say how large it all is."""
    model, config = load_checkpoint(run, backbone=backbone)
    shutil.rmtree(WEIGHTS / "backbone", ignore_errors=True)
    shutil.copytree(backbone, WEIGHTS / "backbone")
    config_file = WEIGHTS / "backbone" / "config.json"
    values = json.loads(config_file.read_text(encoding="utf-8"))
    for entry in next((values[key] for key in PRETRAINING_KEYS if key in values), []):
        if entry["data"].startswith("csv:"):
            entry["data"] = f"csv:{Path(entry['data'].removeprefix('csv:')).name}"
    config_file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    extra = without_paths(config.training.get("extra_data", ()))
    training = {**config.training, "root": "ROOT", "labels": "LABELS", "backbone": "backbone", "extra_data": extra}
    digest = FrozenCLIP.from_pretrained(WEIGHTS / "backbone").digest()  # the run may carry that of an earlier version
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    kept = replace(config, backbone="backbone", backbone_digest=digest, training=training, version=f"{NAME} {version}")
    save_checkpoint(WEIGHTS / FILE_NAME, model, kept)
    write_graph()
    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) / 1e6
    print(f"{WEIGHTS}: {size:.1f} MB")
    if size > LIMIT_MB:
        sys.exit(f"over the package's limit of {LIMIT_MB} MB")


def write_graph() -> None:
    """Trace the embedded checkpoint, let its weights point into the files, and load what was written."""
    model, config = load_checkpoint(WEIGHTS)
    proto = trace(model)
    left = point(proto)
    write_atomic(WEIGHTS / ONNX, proto.SerializeToString())
    card = card_for(ScoringGraph(model), config)
    if not card.version:  # a checkpoint from before it had one
        card = replace(card, version=read_card(WEIGHTS).version)
    write_card(WEIGHTS, card, beside=HELD_IN)
    OnnxPredictor(WEIGHTS)
    print(f"{ONNX}: {(WEIGHTS / ONNX).stat().st_size / 1e6:.2f} MB; large weights that lie in it: {left or 'none'}")


def point(proto: onnx.ModelProto) -> list[str]:
    """Let each large weight refer to the file that holds it; returns the names of those that none holds."""
    held = {key: (stored, turned) for stored, values in _tensors() for key, turned in _keys(values)}
    left, kept, casts = [], [], []
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        found = held.get((values.shape, values.tobytes())) if values.dtype == np.float32 else None
        if found is None or values.size < SMALL:
            kept.append(weight)
            if values.size >= SMALL:
                left.append(weight.name)
            continue
        stored, turned = found
        inner = f"{weight.name}/stored"
        kept.append(_outside(inner, stored))
        name = f"{weight.name}/wide" if turned else weight.name
        casts.append(helper.make_node("Cast", [inner], [name], to=TensorProto.FLOAT))
        if turned:
            casts.append(helper.make_node("Transpose", [name], [weight.name]))
    nodes = list(proto.graph.node)
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend([*casts, *nodes])
    return left


def _outside(name: str, stored: Stored) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=KINDS[stored.kind][1], dims=stored.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": stored.file, "offset": stored.offset, "length": stored.length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _keys(values: np.ndarray[Any, Any]) -> Iterator[tuple[tuple[tuple[int, ...], bytes], bool]]:
    """What a weight in the graph looks like if it is these values, or their transpose."""
    wide = values.astype(np.float32)
    yield (wide.shape, wide.tobytes()), False
    if wide.ndim == 2:
        yield (wide.T.shape, np.ascontiguousarray(wide.T).tobytes()), True


def _tensors() -> Iterator[tuple[Stored, np.ndarray[Any, Any]]]:
    for file in HELD_IN:
        raw = (WEIGHTS / file).read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:start]).items():
            if name == "__metadata__" or entry["dtype"] not in KINDS:
                continue
            first, last = (start + place for place in entry["data_offsets"])
            shape = tuple(entry["shape"])
            values = np.frombuffer(raw[first:last], dtype=KINDS[entry["dtype"]][0]).reshape(shape)
            yield Stored(file, entry["dtype"], shape, first, last - first), values


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("backbone", nargs="?", type=Path)
    parser.add_argument("--version", type=int, help="of the embedded model")
    parser.add_argument("--graph", action="store_true", help="write the graph alone anew")
    given = parser.parse_args()
    if given.graph:
        write_graph()
    elif given.run and given.backbone and given.version:
        main(given.run, given.backbone, given.version)
    else:
        parser.error("give RUN, BACKBONE and --version N, or --graph")
