"""``mpiqe.save_pretrained``: a trained model as a folder that can go to the hub, without paths of this machine."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mpiqe.atomic import write_atomic
from mpiqe.data.extra_data import without_folder
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.extras import needing
from mpiqe.images import Source
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, load_checkpoint, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_files import EMBEDDED, EMBEDDED_FOLDER
from mpiqe.model.options import to_mapping
from mpiqe.model.pretraining_data import PRETRAINING_KEYS
from mpiqe.parse import parse_json
from mpiqe.publish.card import model_card
from mpiqe.runtimes.graph import CARD, ONNX
from mpiqe.training.run_folder import TEST

CONFIG, README, GRAPH_README, BACKBONE = "config.json", "README.md", "GRAPH.md", "backbone"
_BACKBONE_FILES = (
    "config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json",
)  # fmt: skip
_PATH = re.compile(r"(?<![\w:/\\])(?:[A-Za-z]:[\\/]|[\\/~.])[^\s'\"]*[\\/](?=[^\s'\"\\/])")


def save_pretrained(
    weights: str | Path,
    folder: str | Path,
    *,
    license: str,  # noqa: A002 # what the hub calls it
    name: str | None = None,
    backbone: str | Path | None = None,
    datasets: Sequence[str] | None = None,
    graph: bool = True,
    card_text: str | None = None,
    photos: Sequence[Source] = (),
) -> Path:
    """Write a trained model to a new ``folder`` as ``from_pretrained`` and the Hugging Face Hub take it.

    ``weights``: a run folder or a checkpoint, with its ``backbone`` where it lies now. ``license``: of the weights, by
    the hub's identifier (``apache-2.0``). ``name``: ``user/model``, the folder's name if not given. ``datasets``: what
    the card says that it was trained on, by default as the run's settings name them. With ``graph`` the exported ONNX
    graph comes with it, compared with PyTorch on ``photos``. ``card_text``: Markdown that comes first in the card.

    The folder holds ``mpiqe.safetensors``, ``config.json``, ``backbone/`` unless the backbone is on the hub itself,
    ``mpiqe.onnx`` with ``mpiqe.json`` and ``GRAPH.md``, and ``README.md``, the card: its figures are those of the run's
    ``test.json``, or those that the checkpoint carries. No path of this machine is in any of them.

    Raises ``ConfigError`` for a folder that is not empty and a missing extra (``[train]``, ``[hub]``, and ``[export]``
    for a graph), ``WeightsError`` as ``load_checkpoint`` and ``export`` do.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; name a new folder for the model")
    model, config = load_checkpoint(weights, backbone=backbone)
    figures = _figures(Path(weights), config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        made = Path(place) / "model"
        made.mkdir()
        config = _public(config, made, weights=Path(weights), backbone=backbone)
        save_checkpoint(made / FILE_NAME, model, config)
        values = {"library_name": "mpiqe", "model_type": "mp-iqe", **to_mapping(config)}
        write_atomic(made / CONFIG, (json.dumps(values, indent=2) + "\n").encode())
        if graph:
            _export(made, Path(place) / "graph", photos)
        card = model_card(
            config,
            figures,
            name=name or folder.name,
            licence=license,
            datasets=_datasets(config) if datasets is None else datasets,
            has_graph=graph,
            text=card_text,
        )
        write_atomic(made / README, card.encode())
        if folder.exists():
            folder.rmdir()
        made.replace(folder)
    return folder


def _figures(weights: Path, config: CheckpointConfig) -> Mapping[str, Any]:
    """Of the run's test images; none for a model that was trained on all images."""
    if config.training.get("train_on_all"):
        return {}
    path = weights / TEST
    if not path.is_file():
        return {key.removeprefix("test_"): value for key, value in config.metrics.items() if key.startswith("test_")}
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no figures of a run")
    return values


def _public(config: CheckpointConfig, folder: Path, *, weights: Path, backbone: str | Path | None) -> CheckpointConfig:
    """The config without paths of this machine; a backbone of this machine is copied into ``folder``."""
    source = _backbone_folder(config, weights, backbone)
    digest = config.backbone_digest
    if source is not None:
        (folder / BACKBONE).mkdir()
        for pattern in _BACKBONE_FILES:
            for path in sorted(source.glob(pattern)):
                shutil.copyfile(path, folder / BACKBONE / path.name)
        file = folder / BACKBONE / CONFIG
        values = parse_json(file.read_bytes())
        if named := {key: without_paths(values[key]) for key in PRETRAINING_KEYS if key in values}:
            write_atomic(file, (json.dumps({**values, **named}, indent=2) + "\n").encode())
        digest = FrozenCLIP.from_pretrained(folder / BACKBONE).digest()  # that of an earlier version may differ
    name = BACKBONE if source is not None else config.backbone
    training = {**without_paths({**config.training, "backbone": None}), "backbone": name}
    return replace(
        config,
        backbone=name,
        backbone_digest=digest,
        split=_PATH.sub("", config.split),
        dataset=_PATH.sub("", config.dataset),
        training=training,
    )


def _backbone_folder(config: CheckpointConfig, weights: Path, backbone: str | Path | None) -> Path | None:
    """Where the backbone lies on this machine; ``None`` for one that is on the hub."""
    beside = weights if weights.is_dir() else weights.parent
    if str(weights) == EMBEDDED:
        beside = EMBEDDED_FOLDER
    name = str(config.backbone if backbone is None else backbone)
    if name == EMBEDDED:
        return EMBEDDED_FOLDER / BACKBONE
    places = [Path(name)] if backbone is not None else [beside / name, Path(name)]
    return next((place for place in places if place.is_dir()), None)


def without_paths(value: Any) -> Any:
    """JSON values with the last part of a path in place of each path: ``csv:a.csv`` for ``csv:/home/me/a.csv``."""
    if isinstance(value, Mapping):
        return {key: without_paths(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(entry) for entry in value]
    if not isinstance(value, str) or not ("/" in value or "\\" in value):
        return value
    value = value.replace("\\", "/")
    name, equals, path = value.partition("=")
    if equals and re.fullmatch(r"\w+(:[\w,]+)?", name):  # NAME=FOLDER of extra_data
        return f"{name}={PurePosixPath(path).name}"
    kind, colon, path = value.rpartition(":")
    last = PurePosixPath(path).name
    return f"{kind}{colon}{last}" if len(kind) > 1 else last  # a drive's letter is no kind


def _export(folder: Path, place: Path, photos: Sequence[Source]) -> None:
    with needing("to export the graph that comes with a model (graph=False leaves it out)"):
        from mpiqe.runtimes.export import export
    export(folder, place, photos=photos)
    for name, kept in ((CARD, CARD), (ONNX, ONNX), ("README.md", GRAPH_README)):
        (place / name).replace(folder / kept)


def _datasets(config: CheckpointConfig) -> list[str]:
    """What the model was trained on, as its settings say."""
    extra = [without_folder(str(name)) for name in config.training.get("extra_data") or ()]
    names = [
        name.partition(":")[2].removesuffix(".csv") if name.startswith("csv:") else name.partition(":")[0]
        for name in extra
    ]
    return list(dict.fromkeys([config.dataset, *names]))
