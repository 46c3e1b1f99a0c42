"""What is measured: the same model under every runtime that is installed, each beside its own bare tower.

The torch side of the measuring; without torch there is only the one scorer that ``mpiqe score`` has.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from mpiqe.bench import bare, flops
from mpiqe.bench.plain import PlainMPIQE
from mpiqe.errors import ConfigError
from mpiqe.images import Pixels
from mpiqe.model.checkpoint import CheckpointConfig, load_checkpoint
from mpiqe.model.mpiqe import MPIQE
from mpiqe.scoring.predictor import Predictor
from mpiqe.scoring.torch_predictor import TorchPredictor

Runtime = Literal["torch-fp32", "torch-bf16", "onnx-fp32", "openvino-fp32", "openvino-bf16"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_NEEDS = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@dataclass(frozen=True)
class Subject:
    """One runtime in one precision."""

    name: str
    predictor: Predictor
    bare: bare.Look

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """What its floor has to be computed in."""
        return "bf16" if self.name.endswith("bf16") else "fp32"


@dataclass(frozen=True)
class Model:
    """A model that is to be measured."""

    model: MPIQE
    config: CheckpointConfig
    shape: flops.Shape


def read_model(source: str | Path) -> Model:
    """The MP-IQE of ``source``; raises ``WeightsError``, and ``ConfigError`` for a model of another method."""
    model, config = load_checkpoint(source)
    if not isinstance(model, MPIQE):
        raise ConfigError(f"{source} is a {config.options.method} model; mpiqe bench measures mp-iqe alone")
    shape = shape_of(model)
    model.clip.fuse()
    return Model(model, config, shape)


def shape_of(model: MPIQE) -> flops.Shape:
    """What the formula of its arithmetic asks for."""
    clip, prompts = model.clip, model.visual_prompts
    vision = clip.clip.config.vision_config
    banks = (model.scene_prompts, model.distortion_prompts)
    scenes, distortions = (len(bank.classes) if bank else 0 for bank in banks)
    return flops.Shape(
        image_size=clip.image_size,
        patch_size=vision.patch_size,
        width=clip.vision_width,
        layers=clip.vision_layers,
        joint_width=clip.joint_width,
        prompts=0 if prompts.tokens is None else prompts.length,
        prompt_depth=0 if prompts.tokens is None else prompts.depth,
        scenes=scenes,
        distortions=distortions,
        queries=(scenes + distortions) or 1,
        windows=model.windows,
        decoder_layers=len(model.decoder.layers),
        stem_channels=tuple(getattr(vision, "stem_channels", ())),
        stem_blocks=tuple(getattr(vision, "stem_blocks", ())),
    )


def plain_eager(model: MPIQE) -> bare.Look:
    """The plain model in eager fp32, with the text side computed once."""
    plain = PlainMPIQE(model).eval()
    with torch.inference_mode():
        folded = model.fold()

    def look(crops: Pixels) -> object:
        with torch.inference_mode():
            return plain(torch.from_numpy(crops).permute(0, 3, 1, 2), folded)

    return look


def build(model: Model, wanted: Sequence[str], *, folder: Path) -> tuple[list[Subject], dict[str, str]]:
    """The ``wanted`` runtimes (all there are, if none is named), and for those left out the reason.

    Exported files go to ``folder``. Raises ``ConfigError`` for one that is named and cannot be.
    """
    subjects: list[Subject] = []
    left_out: dict[str, str] = {}
    exported = _Exported(model, folder)
    for name in wanted or RUNTIMES:
        reason = _obstacle(name)
        if reason and wanted:
            raise ConfigError(f"{name} cannot be measured here: {reason}")
        if reason:
            left_out[name] = reason
        else:
            subjects.append(Subject(name, *_BUILDERS[name.partition("-")[0]](model, exported, name[-4:])))
    return subjects, left_out


class _Exported:
    """The ONNX files, written when they are first asked for."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model, self._folder = model, folder

    @property
    def bare(self) -> Path:
        path = self._folder / "bare.onnx"
        if not path.is_file():
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # the exporter chats
                bare.export(self._model.model.clip, path)
        return path

    @property
    def whole(self) -> Path:
        from mpiqe.model.export import export_onnx

        path = self._folder / "mpiqe.onnx"
        if not path.is_file():
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
                export_onnx(self._model.model, self._model.config, self._folder)
        return path


def _obstacle(name: str) -> str | None:
    if name not in RUNTIMES:
        return f"there is no such runtime; known are {', '.join(RUNTIMES)}"
    missing = [package for package in _NEEDS[name.partition("-")[0]] if find_spec(package) is None]
    if missing:
        return f"it needs {' and '.join(missing)}, not installed here"
    return None


def _with_torch(model: Model, exported: _Exported, precision: Any) -> tuple[Predictor, bare.Look]:
    predictor = TorchPredictor(model=model.model, config=model.config, device="cpu", precision=precision)
    return predictor, bare.with_torch(model.model.clip, dtype=predictor.dtype)


def _with_onnx(model: Model, exported: _Exported, precision: Any) -> tuple[Predictor, bare.Look]:
    from mpiqe.scoring.onnx_predictor import OnnxPredictor

    return OnnxPredictor(exported.whole), bare.with_onnxruntime(exported.bare)


def _with_openvino(model: Model, exported: _Exported, precision: Any) -> tuple[Predictor, bare.Look]:
    from mpiqe.scoring.openvino_predictor import OpenVINOPredictor

    predictor = OpenVINOPredictor(exported.whole, precision=precision)
    return predictor, bare.with_openvino(exported.bare, precision=precision)


_BUILDERS: Mapping[str, Callable[[Model, _Exported, Any], tuple[Predictor, bare.Look]]] = {
    "torch": _with_torch,
    "onnx": _with_onnx,
    "openvino": _with_openvino,
}
