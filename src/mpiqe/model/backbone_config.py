"""Check a backbone's folder before a model is built from it.

Only the values that a CLIP is computed with go on to transformers, each of its type and within bounds; whatever else a
config.json says (kernels to load, numbers of labels, quantisers) is left out or refused.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_digest import PROMPTED, written
from mpiqe.model.tensor_files import check_safetensors
from mpiqe.parse import parse_json
from mpiqe.printable import printable

SIGLIP = "siglip"
"""The model_type of SigLIP, and of SigLIP 2 but for NaFlex."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_JSON = (  # all that transformers may read of a folder, and the most bytes that each is given
    ("config.json", 1 << 20),
    ("tokenizer_config.json", 16 << 20),
    ("special_tokens_map.json", 1 << 20),
    ("added_tokens.json", 16 << 20),
    ("vocab.json", 64 << 20),
    ("tokenizer.json", 64 << 20),
    (INDEX, 16 << 20),
)
_ADAPTER = "adapter_config.json"
_MOST_NUMBERS = 8_000_000_000  # in both towers; the largest published CLIP has 2.5
_MOST_OF_ANY = 10_000_000  # that a number in another model's config may be
_FAULTS, _LETTERS = 5, 60  # that a message shows, of a value

_OWN_ATTENTION = (None, "eager", "sdpa")
_KNOWN_ATTENTION = (*_OWN_ATTENTION, "flash_attention_2", "flash_attention_3", "flex_attention")
_ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")

ACTIVATIONS = (
    *("quick_gelu", "gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_accurate", "gelu_10"),
    *("relu", "relu2", "relu6", "silu", "swish", "mish", "tanh", "sigmoid", "linear", "leaky_relu"),
)


class _Number(NamedTuple):
    """The least and the most that a number may be."""

    low: float
    high: float
    whole: bool = True


_TOWER: Mapping[str, _Number] = {
    "hidden_size": _Number(1, 8192),
    "intermediate_size": _Number(1, 65_536),
    "num_hidden_layers": _Number(1, 128),
    "num_attention_heads": _Number(1, 256),
    "projection_dim": _Number(1, 8192),
    "layer_norm_eps": _Number(0, 1, whole=False),
    "attention_dropout": _Number(0, 1, whole=False),
    "initializer_range": _Number(0, 1000, whole=False),
    "initializer_factor": _Number(0, 1000, whole=False),
}
_VISION: Mapping[str, _Number] = {
    **_TOWER,
    "image_size": _Number(1, 4096),
    "patch_size": _Number(1, 1024),
    "num_channels": _Number(3, 3),
}
_TEXT: Mapping[str, _Number] = {
    **_TOWER,
    "vocab_size": _Number(1, 2_000_000),
    "max_position_embeddings": _Number(3, 8192),
    "bos_token_id": _Number(0, 2_000_000),
    "eos_token_id": _Number(0, 2_000_000),
    "pad_token_id": _Number(0, 2_000_000),
    "projection_size": _Number(1, 8192),
}
_BOTH: Mapping[str, _Number] = {
    "projection_dim": _Number(1, 8192),
    "logit_scale_init_value": _Number(-1000, 1000, whole=False),
    "initializer_factor": _Number(0, 1000, whole=False),
}
_PARTS = {"vision_config": _VISION, "text_config": _TEXT, "vision_config_dict": _VISION, "text_config_dict": _TEXT}
_OURS = ("stem", "mpiqe_")  # how the keys that transformers does not know begin; who uses them checks them
_DEFAULTS: Mapping[str, Mapping[str, int]] = {  # transformers' own, as far as sizes depend on them
    "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    | {"image_size": 224, "patch_size": 32},
    "text_config": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    | {"vocab_size": 49_408, "max_position_embeddings": 77},
}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_SIGLIP_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "vision_config": {**_BASE, "image_size": 224, "patch_size": 16},
    "text_config": {**_BASE, "vocab_size": 32_000, "max_position_embeddings": 64},
}


def read_config_file(folder: Path) -> dict[str, Any]:
    """Check all files of a folder and return its config.json.

    Raises ``WeightsError`` for one that is none of that.
    """
    if (folder / _ADAPTER).exists():
        raise WeightsError(
            f"the backbone folder {folder} holds {_ADAPTER}, a change to another model that would be fetched; "
            "merge it into the weights first"
        )
    objects = {name: _object(folder / name, most) for name, most in _JSON if (folder / name).is_file()}
    for key in ("vocab_file", "merges_file", "tokenizer_file"):
        named = objects.get("tokenizer_config.json", {}).get(key)
        if named is not None and (not isinstance(named, str) or PurePath(named).name != named):
            raise WeightsError(f"{folder / 'tokenizer_config.json'}: {key} = {_shown(named)} is no file of this folder")
    _check_normalizer(objects.get("tokenizer.json", {}).get("normalizer"), folder / "tokenizer.json")
    for file in weight_files(folder, objects.get(INDEX)):
        try:
            check_safetensors(file)
        except WeightsError as error:
            raise WeightsError(f"cannot load the backbone {str(folder)!r}: {error}") from error
    return objects["config.json"]


def weight_files(folder: Path, index: Mapping[str, Any] | None) -> list[Path]:
    """The files that hold the weights; raises ``WeightsError`` for an index that names none, or others than files."""
    if (folder / WEIGHTS).is_file() or index is None:
        return [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named:
        raise WeightsError(f"{folder / INDEX}: weight_map = {_shown(named)} names no tensor's file")
    files = sorted(set(map(str, named.values())))
    for name in files:
        if PurePath(name).name != name or not (folder / name).is_file():
            raise WeightsError(f"{folder / INDEX}: {_shown(name)} is no file of this folder; copy all parts of it")
    return [folder / name for name in files]


def check_parts(config: object, *, name: str) -> dict[str, Any]:
    """``config`` if it is an object of objects and names no attention that would be fetched; else ``WeightsError``."""
    if not isinstance(config, dict):
        raise _refused(name, [f"config.json holds {_shown(config)}, no object"])
    faults = [
        f"{part} = {_shown(config[part])} is no object"
        for part in _PARTS
        if not isinstance(config.get(part), (dict, type(None)))
    ]
    vision = config.get("vision_config") or config.get("vision_config_dict") or {}
    for key in ("stem_channels", "stem_blocks"):
        value = vision.get(key) if isinstance(vision, dict) else None
        if value is not None and not (
            isinstance(value, list)
            and len(value) <= 8
            and all(type(number) is int and 0 <= number <= 4096 for number in value)
        ):
            faults.append(f"vision_config.{key} = {_shown(value)} is no list of up to eight numbers from 0 to 4096")
    if faults:
        raise _refused(name, faults)
    refuse_fetched_attention(config, name=name, known=_KNOWN_ATTENTION)
    return config


def check_any_model(config: Mapping[str, Any], *, name: str) -> None:
    """Raise ``WeightsError`` for a config of any kind of model that would fetch code, or has a number beyond reason."""
    refuse_fetched_attention(config, name=name)
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    faults = [
        f"{key} = {_shown(value)} is over {_MOST_OF_ANY:,}"
        for part in parts
        for key, value in part.items()
        if isinstance(value, int) and value > _MOST_OF_ANY
    ]
    if faults:
        raise _refused(name, faults)


def refuse_fetched_attention(
    config: Mapping[str, Any], *, name: str, known: tuple[str | None, ...] = _OWN_ATTENTION
) -> None:
    """Raise ``WeightsError`` where a config asks for another attention than ``known``: it may be a kernel of a hub."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for value in (part[key] for part in parts for key in _ATTENTION if key in part):
        if not (value is None or isinstance(value, str)) or value not in known:
            raise _refused(name, [f"attn_implementation = {_shown(value)} is not one of transformers' own"])


def usable_config(config: Mapping[str, Any], *, name: str, folder: Path | None) -> dict[str, Any]:
    """What a CLIP or SigLIP is built from, of its config; raises one ``WeightsError`` for all invalid values.

    ``folder`` is where the weights lie, if that is known: no config asks for more numbers than their files have bytes.
    """
    faults: list[str] = []
    siglip = config.get("model_type") == SIGLIP
    usable: dict[str, Any] = {
        "model_type": SIGLIP if siglip else "clip",
        **_checked(config, _BOTH, "", faults),
    }
    for part, numbers in _PARTS.items():
        if config.get(part) is not None:
            usable[part] = _checked(config[part], numbers, f"{part}.", faults)
    towers = {
        part: {**default, **usable.get(part, {}), **usable.get(f"{part}_dict", {})}
        for part, default in (_SIGLIP_DEFAULTS if siglip else _DEFAULTS).items()
    }
    if siglip and not faults:
        faults += _no_siglip(config.get("vision_config") or {}, towers["vision_config"], towers["text_config"])
    if not faults:
        faults += _do_not_fit(towers["vision_config"], towers["text_config"])
    if not faults:
        number = _numbers_of(towers["vision_config"], towers["text_config"])
        files = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model.bin")] if folder else []
        held = [file.stat().st_size for file in files] if folder else [_MOST_NUMBERS]
        if number > min(_MOST_NUMBERS, sum(held)):
            most = f"{_MOST_NUMBERS:,}" if sum(held) >= _MOST_NUMBERS else f"the {sum(held):,} bytes of its weights"
            faults.append(f"it asks for {number:,} numbers or more, over {most}")
    if faults:
        raise _refused(name, faults)
    return usable


def check_tokenizer(tokenizer: Any, *, name: str, vocabulary: int, siglip: bool = False) -> None:
    """Raise ``WeightsError`` unless prompts become token ids that the text tower's table has."""
    first = "pad_token_id" if siglip else "bos_token_id"  # SigLIP's texts begin without a marker, and are padded
    marks = {key: getattr(tokenizer, key) for key in (first, "eos_token_id")}
    faults = [f"{key} = {_shown(value)} is no token" for key, value in marks.items() if not _is_id(value, vocabulary)]
    for text in PROMPTED:
        ids = tokenizer(written(text, siglip), add_special_tokens=False)["input_ids"]
        if not isinstance(ids, list) or not all(_is_id(each, vocabulary) for each in ids):
            faults.append(f"{text!r} becomes {_shown(ids)}, not ids below the text tower's vocab_size {vocabulary}")
    if faults:
        raise _refused(name, faults, of="its tokenizer")


@contextmanager
def refusing(what: str, advice: str) -> Iterator[None]:
    """Turn whatever a library raises about a foreign file into a ``WeightsError`` of one sentence, and the advice."""
    try:
        yield
    except (WeightsError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # of any class: wrong types, missing keys; a panic of Rust's is no Exception
        said = printable((str(error).strip().splitlines() or [""])[0])[:500] or type(error).__name__
        raise WeightsError(f"{what}: {said}{advice}") from error


def _object(file: Path, most: int) -> dict[str, Any]:
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise WeightsError(f"{file} has more than {most} bytes, which no such file needs")
    try:
        value = parse_json(content)
    except ValueError as error:
        raise WeightsError(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{file} holds {_shown(value)}, no object")
    return value


def _check_normalizer(normalizer: object, file: Path) -> None:
    """Raise ``WeightsError`` for steps that could multiply a text: a few lines of them can make it endless."""
    level, steps = [normalizer], 0
    while level := [part for part in level if isinstance(part, (dict, list))]:
        objects = [part for part in level if isinstance(part, dict) and part.get("type") not in (None, "Sequence")]
        steps += len(objects)
        long = [part for part in objects if len(str(part.get("content", part.get("prepend", "")))) > 16]
        if steps > 8 or long:
            raise WeightsError(f"{file}: its normalizer has over 8 steps, or one that puts in over 16 letters")
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]


def _checked(
    values: Mapping[str, Any], numbers: Mapping[str, _Number], where: str, faults: list[str]
) -> dict[str, Any]:
    usable = {}
    for key, value in values.items():
        if value is None:
            continue
        if key in numbers:
            bound = numbers[key]
            if not _is_number(value, bound):
                kind = "whole number" if bound.whole else "number"
                faults.append(f"{where}{key} = {_shown(value)} is no {kind} from {bound.low:,} to {bound.high:,}")
            usable[key] = value
        elif key == "hidden_act" and where:
            if value not in ACTIVATIONS:
                faults.append(f"{where}{key} = {_shown(value)} is not one of {', '.join(ACTIVATIONS)}")
            usable[key] = value
        elif key.startswith(_OURS):
            usable[key] = value
    return usable


def _is_number(value: object, bound: _Number) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if bound.whole else (int, float)):
        return False
    return bound.low <= value <= bound.high


def _is_id(value: object, vocabulary: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocabulary


def _do_not_fit(vision: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{part}.hidden_size = {tower['hidden_size']} is no multiple of {tower['num_attention_heads']} heads"
        for part, tower in (("vision_config", vision), ("text_config", text))
        if tower["hidden_size"] % tower["num_attention_heads"]
    ]
    if vision["image_size"] < vision["patch_size"]:
        faults.append(f"image_size = {vision['image_size']} is below patch_size = {vision['patch_size']}")
    channels = vision.get("stem_channels")
    if channels is not None:
        if not channels or min(channels) < 1 or channels[-1] != vision["hidden_size"]:
            faults.append(f"stem_channels = {channels} do not end with the hidden_size {vision['hidden_size']}")
        elif vision["patch_size"] % 2 ** (len(channels) - 1):
            faults.append(f"patch_size = {vision['patch_size']} cannot be halved by {len(channels)} stages")
        if max(vision.get("stem_blocks") or [0]) > 64:
            faults.append(f"stem_blocks = {vision['stem_blocks']} are more than 64 in a stage")
    return faults


def _no_siglip(stated: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    """What keeps a SigLIP from comparing images with texts."""
    faults = []
    if stated.get("vision_use_head", True) is not True:
        faults.append("vision_config.vision_use_head is not true: without its head the image tower has no feature")
    if any(key.startswith("stem") for key in stated):
        faults.append("vision_config has a stem, which only a CLIP can have here")
    of_texts = text.get("projection_size", text["hidden_size"])
    if of_texts != vision["hidden_size"]:
        faults.append(
            f"texts have features of {of_texts}, images of vision_config.hidden_size = {vision['hidden_size']}"
        )
    return faults


def _numbers_of(vision: Mapping[str, Any], text: Mapping[str, Any]) -> int:
    """At least how many numbers the towers' weights have."""
    layers = sum(
        tower["num_hidden_layers"]
        * (4 * tower["hidden_size"] ** 2 + 2 * tower["hidden_size"] * tower["intermediate_size"])
        for tower in (vision, text)
    )
    places = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    tables = places * vision["hidden_size"]
    tables += (text["vocab_size"] + text["max_position_embeddings"]) * text["hidden_size"]
    channels, blocks = vision.get("stem_channels"), vision.get("stem_blocks") or []
    if channels is None:
        stem = 3 * vision["patch_size"] ** 2 * vision["hidden_size"]
    else:
        stem = sum(9 * width**2 * count for width, count in zip(channels, blocks, strict=False))
    return int(layers + tables + stem)


def _refused(name: str, faults: list[str], *, of: str = "its config.json") -> WeightsError:
    more = f"; and {len(faults) - _FAULTS} more" if len(faults) > _FAULTS else ""
    return WeightsError(
        f"the backbone {name!r} cannot be used, {of} says what none can: {'; '.join(faults[:_FAULTS])}{more}"
    )


def _shown(value: object) -> str:
    """A value of any size, by the beginning of it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (dict, list)):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    text = repr(value) if isinstance(value, (str, float, bool, type(None))) or abs(value) < 10**20 else "a huge number"  # type: ignore[arg-type]
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}.."
