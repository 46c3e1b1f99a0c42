"""Export a torch model as a graph for other runtimes. Axes: N crops, S pixels of a side.

The graph is the folded scorer: text features and whatever else does not depend on the photo are constants in it.
"""

import copy
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpiqe.atomic import write_atomic
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.extras import needing
from mpiqe.images import Pixels, Source, crop_positions, read_crops
from mpiqe.model.build import QualityModel
from mpiqe.model.checkpoint import CheckpointConfig, fingerprint, load_checkpoint
from mpiqe.model.clip_iqa import CLIPIQA
from mpiqe.model.liqe import LIQE
from mpiqe.model.mpiqe import MPIQE
from mpiqe.option_types import GraphPrecision
from mpiqe.runtimes.base import Predictor, predict_in_parts
from mpiqe.runtimes.graph import INPUT, ONNX, OPENVINO, OUTPUTS, GraphCard, write_card
from mpiqe.runtimes.graph_readme import readme
from mpiqe.runtimes.onnx import OnnxPredictor
from mpiqe.runtimes.openvino import OpenVINOPredictor
from mpiqe.runtimes.openvino_core import openvino_core
from mpiqe.runtimes.quantize import quantize
from mpiqe.runtimes.registry import GraphForm
from mpiqe.runtimes.torch import TorchPredictor, looks, square

_FOLDED_AT_MOST = 10_000  # values of a constant that is computed at export; larger ones stay as the weights they are
_OPSET = 20
_BYTES_AT_MOST = 2**31 - 2**20  # of one ONNX file


class Checked(NamedTuple):
    """Largest differences between a graph's predictions and PyTorch's in fp32 over the test images."""

    precision: str
    score: float
    """In shares of the score's range."""
    probability: float


TOLERANCES = {"fp32": Checked("fp32", 1e-3, 1e-3), "int8": Checked("int8", 1e-2, 8e-2)}
"""By how much a graph may differ from PyTorch to be kept; fp32 stays far below."""


class ScoringGraph(nn.Module):
    """pixels (N, S, S, 3) uint8 -> what a ``Predictor`` answers, as a tuple in the order of ``outputs``."""

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self._folded: Any = model.fold()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of those of ``OUTPUTS`` that this model has."""
        if isinstance(self.model, CLIPIQA):
            return ("score",)
        if isinstance(self.model, LIQE):
            scene = ("scene",) if self.model.scenes and self.model.scene_labels else ()
            distortion = ("distortion",) if self.model.distortions and self.model.distortion_labels else ()
            return ("score", *scene, *distortion)
        absent = set() if self.model.scene_prompts and self.model.scene_labels else {"scene"}
        taught = self.model.distortion_prompts and self.model.distortion_labels
        absent |= set() if taught else {"distortion", "similarity"}
        return tuple(name for name in OUTPUTS if name not in absent)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """One pass of the image side for all outputs."""
        upright = pixels.permute(0, 3, 1, 2)
        if not isinstance(self.model, MPIQE):
            answer = self.model(upright, self._folded)
            named = (answer.scene_probabilities, answer.distortion_probabilities)
            return (answer.score, *(probabilities for probabilities in named if probabilities is not None))
        image = self.model.encode_image(upright)
        said = self.model.decode(self._folded, image)
        seen = self.model.attention_maps_of(self._folded, image)
        found = {"score": said.score, "attention": looks(seen.attention)}
        if said.scene_probabilities is not None:
            found["scene"] = said.scene_probabilities
        if said.distortion_probabilities is not None and seen.similarity is not None:
            found["distortion"] = said.distortion_probabilities
            found["similarity"] = square(seen.similarity)
        return tuple(found[name] for name in self.outputs)


def export(
    weights: str | Path,
    folder: Path,
    *,
    form: GraphForm = "onnx",
    precision: GraphPrecision = "fp32",
    backbone: str | Path | None = None,
    photos: Sequence[Source] = (),
) -> list[Checked]:
    """Write the model of ``weights`` to ``folder`` as a graph, with card and README, and compare it with PyTorch.

    ``weights`` and ``backbone`` as in ``mpiqe.load``; ``photos`` are what both are asked, four of scikit-image's if
    none are given. ``precision``: ``fp32``, or ``int8``, weights of eight bits for ONNX Runtime. Returns how far apart
    they were, for each precision that the form runs in. Raises ``WeightsError`` if the predictions differ by more than
    ``TOLERANCES``, ``ConfigError`` for a folder that is in use or an extra that is missing.
    """
    if precision == "int8" and form != "onnx":
        raise ConfigError("weights of eight bits are for ONNX Runtime; take the format onnx")
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a new folder for the graph")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; name a new folder for the graph")
    if folder.is_dir() and folder.samefile(Path.cwd()):  # the graph's folder takes its place, which is in use
        raise ConfigError(f"{folder} is the folder that this runs in; name a new one for the graph")
    model, config = load_checkpoint(weights, backbone=backbone)
    photos = photos or _photos()
    proto = trace(model)
    if proto.ByteSize() > _BYTES_AT_MOST:
        raise ConfigError(f"the graph has {proto.ByteSize() / 1e9:.1f} GB, over the 2 GB that one ONNX file can hold")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name) / "graph"
        made.mkdir()
        checked = _make(proto, made, model, config, form=form, precision=precision, photos=photos)
        made.replace(folder)
    return checked


def _make(
    proto: Any,
    folder: Path,
    model: QualityModel,
    config: CheckpointConfig,
    *,
    form: GraphForm,
    precision: GraphPrecision,
    photos: Sequence[Source],
) -> list[Checked]:
    card = card_for(ScoringGraph(model), config, precision=precision)
    _write(proto, folder, form, precision)
    write_card(folder, card)
    original = TorchPredictor(model=model, config=config, device="cpu", precision="fp32")
    runners = _runners(folder, form, precision)
    checked = [_compare(card, original, predictor, name, photos) for name, predictor in runners.items()]
    most = TOLERANCES[precision]
    if checked[0].score > most.score or checked[0].probability > most.probability:
        advice = "please report this with the versions of torch, onnx and the runtime"
        raise WeightsError(
            f"the graph answers otherwise than PyTorch, by {checked[0].score:.2g} of the score's range and "
            f"{checked[0].probability:.2g} in a probability (at most {most.score:g} and {most.probability:g}); "
            f"{advice if precision == 'fp32' else 'eight bits are too few for this model: export it in fp32'}"
        )
    facts = {name: version(name) for name in ("mpiqe", "torch", "onnx", "onnxscript")}
    write_card(folder, card, versions=facts, checked=[entry._asdict() for entry in checked], photos=len(photos))
    write_atomic(folder / "README.md", readme(card, form=form, checked=checked, photos=len(photos)).encode())
    return checked


def _write(proto: Any, folder: Path, form: GraphForm, precision: GraphPrecision) -> None:
    write_atomic(folder / ONNX, proto.SerializeToString())
    if precision == "int8":
        quantize(folder / ONNX, folder / ONNX)
    if form == "onnx":
        return
    with needing("to write OpenVINO's format"):
        import openvino
    model = openvino_core().read_model(folder / ONNX)
    openvino.save_model(model, folder / OPENVINO, compress_to_fp16=False)
    del model
    (folder / ONNX).unlink()


def _runners(folder: Path, form: GraphForm, precision: GraphPrecision) -> dict[str, Predictor]:
    if form == "onnx":
        return {precision: OnnxPredictor(folder)}
    exact, quick = OpenVINOPredictor(folder, precision="fp32"), OpenVINOPredictor(folder)
    return {"fp32": exact} if quick.precision == "fp32" else {"fp32": exact, quick.precision: quick}


def _compare(
    card: GraphCard, original: Predictor, exported: Predictor, precision: str, photos: Sequence[Source]
) -> Checked:
    span = (card.high - card.low) or 1.0
    score = probability = 0.0
    for photo in photos:
        crops = _crops(card, photo)
        one, other = _means(original, crops), _means(exported, crops)
        score = max(score, abs(one[0] - other[0]).item() / span)
        for expected, found in zip(one[1:], other[1:], strict=True):
            probability = max(probability, np.abs(expected - found).max(initial=0.0).item())
    return Checked(precision, score, probability)


def _crops(card: GraphCard, photo: Source) -> Pixels:
    """The crops (K, S, S, 3) that a ``Scorer`` cuts for this model with the seed 0. Raises ``ImageError``."""
    positions = partial(crop_positions, size=card.crop_size, count=card.crops, mode=card.crop_mode)
    return read_crops(photo, size=card.crop_size, positions=positions, view=card.view)[0]


def _means(predictor: Predictor, crops: Pixels) -> list[NDArray[np.float64]]:
    """Score (), scene (scenes,) and distortion (distortions,): means over the crops."""
    return [values.mean(axis=0, dtype=np.float64) for values in predict_in_parts(predictor, crops)]


def _photos() -> list[Source]:
    """Four photos that come with scikit-image."""
    data: Any = import_module("skimage.data")
    return [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]


def trace(model: QualityModel, *, crops: int = 3) -> Any:
    """An ``onnx.ModelProto`` of ``ScoringGraph`` for any number of crops; ``model`` is on the CPU, in eval mode.

    Weights keep their names and values; what depends on small weights alone is computed. Layers are left for the
    runtime to fuse, which knows its machine. Raises ``ConfigError`` without the extra ``[export]``.
    """
    with needing("to export a model"):
        import onnx_ir
        from onnxscript import optimizer
    if model.clip.has_lora:  # a graph has one product where there are three
        model = copy.deepcopy(model)
        model.clip.merge_lora()
    graph = ScoringGraph(model).eval()
    size = model.image_size
    pixels = torch.zeros(crops, size, size, 3, dtype=torch.uint8)
    with quiet_exporter(), torch.no_grad():
        program: Any = torch.onnx.export(
            graph,
            (pixels,),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=[INPUT],
            output_names=list(graph.outputs),
            dynamic_shapes=({0: torch.export.Dim("crops", min=1)},),
            opset_version=_OPSET,
        )
        optimizer.fold_constants(program.model, output_size_limit=_FOLDED_AT_MOST)
        optimizer.remove_unused_nodes(program.model)
    return _bare(onnx_ir.to_proto(program.model))


def _bare(proto: Any) -> Any:
    """Without the exporter's notes: where in our source each node comes from, and shapes in between."""
    for item in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for name in ("value_info", "metadata_props"):
        proto.graph.ClearField(name)
    proto.ClearField("metadata_props")
    return proto


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the exporter's log messages."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def card_for(graph: ScoringGraph, config: CheckpointConfig, *, precision: GraphPrecision = "fp32") -> GraphCard:
    """Return the metadata of this model's graph."""
    outputs = graph.outputs
    return GraphCard(
        crop_size=graph.model.image_size,
        crops=config.crops,
        low=config.mos_low,
        high=config.mos_high,
        unit=f"MOS of {config.dataset}",
        scenes=config.scenes if "scene" in outputs else (),
        distortions=config.distortions if "distortion" in outputs else (),
        window_temperature=config.options.window_temperature,
        source=fingerprint(graph.model, config),
        outputs=outputs,
        precision=precision,
        view=config.view,
        crop_mode=config.crop_mode,
        version=config.version,
        interval=config.interval,
    )
