"""Checkpoints: one safetensors file with the trained weights; its header has the config as JSON.

The tensors are the trained ones alone; the backbone is named with its digest and loaded from where it lies. Nothing
is unpickled.
"""

import hashlib
import json
import math
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.hub import fetch, parse_hub_id
from mpiqe.intervals import IntervalModel, interval_from_values
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.backbone_digest import same_backbone, what_differs
from mpiqe.model.build import QualityModel, build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_files import EMBEDDED, EMBEDDED_FOLDER
from mpiqe.model.options import ModelOptions, current_names, from_mapping, to_mapping
from mpiqe.model.tensor_files import check_safetensors, write_safetensors
from mpiqe.option_types import ModelCropMode
from mpiqe.parse import parse_json
from mpiqe.printable import printable
from mpiqe.view import NATIVE, View

FILE_NAME = "mpiqe.safetensors"
FORMAT = "mpiqe-1"
_KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


@dataclass(frozen=True)
class CheckpointConfig:
    """Everything about a checkpoint that is not a tensor."""

    options: ModelOptions
    backbone: str
    """Hub id, or a folder; a relative folder is looked for beside the checkpoint first."""
    backbone_digest: str
    target_mean: float
    target_std: float
    dataset: str
    mos_low: float
    """Lowest and highest MOS of the training set: the range of a score, in the dataset's units."""
    mos_high: float
    crops: int = 8
    view: View = NATIVE
    """What crops are cut from; checkpoints of earlier versions do not name it."""
    crop_mode: ModelCropMode = "seeded"
    """Where they are cut for a score (D12), likewise."""
    scenes: tuple[str, ...] = SCENES
    distortions: tuple[str, ...] = DISTORTIONS
    split: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    """The run's whole configuration, seed and data digest included."""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    version: str = ""
    """Name and version of a released model, as "mpiqe-embedded 3"; empty for a run."""
    interval: IntervalModel | None = None
    """How wide the interval around a score is; ``None`` for a model without validation photos."""


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    return {"python": platform.python_version()} | {
        name: version(name)
        for name in ("mpiqe", "torch", "transformers", "accelerate", "safetensors", "numpy", "scipy", "pillow")
    }


def save_checkpoint(path: Path, model: QualityModel, config: CheckpointConfig) -> None:
    """Write the trained tensors of ``model`` and ``config`` to one file with their digest, atomically."""
    text = json.dumps({"format": FORMAT, **to_mapping(config)})
    write_safetensors(path, dict(model.named_parameters()), {"mpiqe": text})


def read_config(path: Path) -> CheckpointConfig:
    """The config of a checkpoint file; raises ``WeightsError`` for a damaged or foreign one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}): damaged, or of another format"
        ) from error
    if "mpiqe" not in metadata:
        raise WeightsError(
            f"{path} is a safetensors file of something else, not an mpiqe checkpoint "
            f"({len(names)} tensors, {printable(', '.join(names[:3]))} ..)"
        )
    try:
        values = parse_json(metadata["mpiqe"])
        stated = values.pop("format")
        if stated != FORMAT:
            raise WeightsError(f"{path} has the checkpoint format {stated!r}; this mpiqe reads {FORMAT!r}")
        options = from_mapping(ModelOptions, values.pop("options"), where=f"{path}: options")
        for key in ("scenes", "distortions"):
            values[key] = tuple(values[key])
        for key in ("dataset", "split"):  # a file's name can hold anything, and these reach terminals
            if isinstance(values.get(key), str):
                values[key] = printable(values[key])
        if isinstance(values.get("training"), dict):
            values["training"] = current_names(values["training"])
        if "view" in values:
            values["view"] = View.from_json(values["view"])
        values["interval"] = interval_from_values(values.get("interval"))
        config = CheckpointConfig(options=options, **values)
        _check_values(config)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, ConfigError) as error:
        raise WeightsError(f"the config in {path} cannot be used: {printable(str(error))}") from error
    if (config.scenes, config.distortions) != (SCENES, DISTORTIONS):
        raise WeightsError(f"{path} was trained for other label names: {config.scenes + config.distortions!r}")
    return config


def _check_values(config: CheckpointConfig) -> None:
    """Raise ``ValueError`` for fields that no run can have written."""
    numbers = {name: getattr(config, name) for name in ("target_mean", "target_std", "mos_low", "mos_high")}
    faults = [
        f"{name} = {value!r} is no finite number"
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
    ]
    texts = {name: getattr(config, name) for name in ("backbone", "backbone_digest", "dataset", "split", "version")}
    faults += [f"{name} = {value!r} is no text" for name, value in texts.items() if not isinstance(value, str)]
    whole = isinstance(config.crops, int) and not isinstance(config.crops, bool)
    if not whole or not 1 <= config.crops <= 10_000:
        faults.append(f"crops = {config.crops!r} is no number of crops")
    objects = {name: getattr(config, name) for name in ("training", "versions", "metrics")}
    faults += [f"{name} = {value!r} is no object" for name, value in objects.items() if not isinstance(value, dict)]
    if config.crop_mode not in get_args(ModelCropMode):
        faults.append(f"crop_mode = {config.crop_mode!r} is none of {', '.join(get_args(ModelCropMode))}")
    if not faults and config.target_std <= 0:
        faults.append(f"target_std = {config.target_std} is not above zero")
    if not faults and config.mos_low > config.mos_high:
        faults.append(f"mos_low = {config.mos_low} is above mos_high = {config.mos_high}")
    if faults:
        raise ValueError("; ".join(faults))


def load_checkpoint(source: str | Path, *, backbone: str | Path | None = None) -> tuple[QualityModel, CheckpointConfig]:
    """The model of a run folder, a checkpoint file or a hub id, in eval mode on the CPU, and its config.

    ``backbone`` says where the backbone lies now, if it is elsewhere than when the model was trained.
    Raises ``WeightsError`` that says which: missing, damaged, foreign, or mismatched (another backbone, other shapes).
    """
    path = locate(source)
    config = read_config(path)
    clip = FrozenCLIP.from_pretrained(backbone or backbone_of(config, path))
    check_backbone(config, path, clip)
    try:
        model = build_model(clip, config.options)
    except ConfigError as error:
        raise WeightsError(f"the config in {path} cannot be used: {error}") from error
    load_tensors(model, path)
    model.target_mean, model.target_std = config.target_mean, config.target_std
    return model.eval(), config


def check_backbone(config: CheckpointConfig, path: Path, clip: FrozenCLIP) -> None:
    """Raise ``WeightsError`` unless ``clip`` computes what the checkpoint ``path`` was trained on."""
    digest = clip.digest()
    if not same_backbone(config.backbone_digest, digest):
        what, was, now = what_differs(config.backbone_digest, digest)
        other = "other weights"
        if what == "settings":
            other = "the same weights, but config.json or the tokenizer computes something else with them"
        raise WeightsError(
            f"{path} was trained on the backbone {config.backbone!r} with digest {was!r}, "
            f"but {clip.name!r} has {now!r}: these are {other}"
        )


def fingerprint(model: QualityModel, config: CheckpointConfig) -> str:
    """SHA-256 (hex) over everything that a score depends on: the backbone, what was trained, and the target's units."""
    digest = hashlib.sha256(f"{config.backbone_digest} {config.target_mean!r} {config.target_std!r}".encode())
    for key, parameter in sorted(model.named_parameters()):
        digest.update(f"{key}{tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    if config.options.method == "liqe":  # its texts are no parameters
        digest.update(f"{config.options.scene_prompts} {config.options.distortion_prompts}".encode())
    return digest.hexdigest()


def load_tensors(model: QualityModel, path: Path, *, beside: str | None = None) -> None:
    """Copy the tensors of a file into the parameters of ``model``; every one must be there with its shape.

    Parameters whose name begins with ``beside`` stay as they are where the file has none of them.
    Raises ``WeightsError`` for a file that is not as it was written, by its digest if it has one.
    """
    check_safetensors(path)
    parameters = dict(model.named_parameters())
    with safe_open(path, framework="pt") as file:
        if beside is not None and not any(key.startswith(beside) for key in file.keys()):  # noqa: SIM118
            parameters = {key: value for key, value in parameters.items() if not key.startswith(beside)}
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if key in parameters}  # noqa: SIM118
        surplus = [key for key in file.keys() if key not in parameters]  # noqa: SIM118
        wanted = {key: tuple(parameter.shape) for key, parameter in parameters.items()}
        faults = [f"{key} is missing" for key in wanted if key not in found]
        faults += [f"{key} is {found[key]}, not {wanted[key]}" for key in found if found[key] != wanted[key]]
        faults += [f"{key} has no place" for key in surplus]
        if faults:
            said = printable("; ".join(faults[:5]))
            raise WeightsError(f"{path} does not fit its own config: {said} ({len(faults)} in all)")
        with torch.no_grad():
            for key, parameter in parameters.items():
                tensor = file.get_tensor(key)
                if tensor.dtype not in _KINDS:
                    raise WeightsError(f"{path}: {key} holds {tensor.dtype}, no floating-point numbers that torch sums")
                if not torch.isfinite(tensor).all():
                    raise WeightsError(f"{path}: {key} holds values that are not finite; the file is damaged")
                parameter.copy_(tensor)


def locate(source: str | Path) -> Path:
    """The file of a run folder, a checkpoint file, ``embedded`` or a hub id; raises ``WeightsError`` for none."""
    source = os.fspath(source)
    path = EMBEDDED_FOLDER if source == EMBEDDED else Path(source)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise WeightsError(f"no {FILE_NAME} in {path}; a run folder holds one after its first epoch")
        return path / FILE_NAME
    if path.is_file():
        if path.suffix in PICKLES:
            raise WeightsError(f"{path} is a pickle; mpiqe reads safetensors only and never unpickles")
        return path
    hub_id = parse_hub_id(source)
    if hub_id is None:
        raise WeightsError(f"no checkpoint {source!r}; give a run folder, a .safetensors file or a hub id (owner/name)")
    folder = fetch(hub_id, [FILE_NAME, "backbone/*"])
    if not (folder / FILE_NAME).is_file():
        raise WeightsError(f"the hub's {source!r} holds no {FILE_NAME}")
    return folder / FILE_NAME


def backbone_of(config: CheckpointConfig, path: Path) -> str:
    """Where the backbone of the checkpoint ``path`` is looked for: beside it, if there is a folder of that name."""
    local = path.parent / config.backbone
    return str(local) if local.is_dir() else config.backbone
