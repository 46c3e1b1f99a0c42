"""Every reading of the paper that can be chosen, by name: decisions D1 - D12, D16, D17 and their defaults.

The classes hold plain values; ``build_model`` and ``Loss`` are what turn them into behaviour.
"""

import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

from mpiqe.errors import ConfigError
from mpiqe.option_types import ClassPosition, DistortionScale, Method, Pooling, Projection, ScoreLoss, Tune

PAPERS_BACKBONE = "openai/clip-vit-base-patch16"


def option(default: Any, text: str) -> Any:
    """A dataclass field with the one line that explains it on the command line."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ModelOptions:
    """Options of the network. ``None`` for ``visual_depth`` prompts every layer, as the paper does.

    Without scene and without distortion prompts one learned query takes the text's place: the visual-only model.
    """

    method: Method = option(
        "mp-iqe",
        "mp-iqe, or to compare with: clip-iqa, a pair of opposite prompts about CLS (Table 2), or liqe, "
        "texts of quality, scene and distortion at once (Table 1)",
    )
    tune: Tune = option(
        "prompts",
        "what is trained: prompts and decoder, CLIP's own weights as well (all), or low-rank changes of its image "
        "tower as well (lora; needs mpiqe[lora])",
    )
    lora_rank: int = option(8, "D19: rank of each change, with tune = lora")
    lora_alpha: float = option(16.0, "D19: a change counts lora_alpha / lora_rank times, with tune = lora")
    scene_prompts: bool = option(True, "use the scene prompts (Table 4)")
    distortion_prompts: bool = option(True, "use the distortion prompts (Table 4)")
    scene_labels: bool = option(True, "tell the scene; off by itself where no training image has one")
    distortion_labels: bool = option(True, "tell the distortion; off by itself where no training image has one")
    context_length: int = option(8, "context tokens per text prompt (Table 6)")
    class_position: ClassPosition = option("end", "D1: where the class stands among the context tokens")
    visual_depth: int | None = option(None, "layers with visual prompts: 0 none, 1 shallow; default all (Table 4)")
    visual_length: int = option(4, "visual prompt tokens per layer (Table 6)")
    projection: Projection = option("clip", "D2: CLIP's own projection of image tokens, or a new linear one")
    windows: int = option(7, "D4: windows per side that the patches are pooled to")
    window_temperature: float = option(0.05, "D5: temperature of the softmax over windows")
    distortion_scale: DistortionScale = option(
        "clip", "D17: multiply the distortion cosines by CLIP's inverse temperature, or, as Eq. 10 is printed, not"
    )
    decoder_layers: int = option(3, "D7: layers of the decoder")
    decoder_heads: int = option(8, "attention heads of the decoder")
    pooling: Pooling = option("mean", "D8: how the 20 answers become one")
    linear_head: bool = option(False, "D16: add a linear map of CLS and the mean patch to the decoder's number")
    stem_head: bool = option(
        False, "D16: add a ridge regression on the pooled features of an EfficientNet stem to the decoder's number"
    )
    stem_head_width: int = option(0, "D16: hidden units of stem_head and class_heads, in place of linear maps")
    stem_head_layers: int = option(1, "D16: hidden layers of stem_head and class_heads, of stem_head_width units each")
    stem_head_members: int = option(
        1,
        "D16: MLPs that share the hidden units of stem_head and class_heads, fitted one by one; their mean is the head",
    )
    class_heads: bool = option(
        False, "D16: name scene and distortion by maps of an EfficientNet stem's pooled features, not by the alignment"
    )

    @property
    def names_scenes(self) -> bool:
        """Whether such a model tells the scene."""
        return self.method != "clip-iqa" and self.scene_prompts and self.scene_labels

    @property
    def names_distortions(self) -> bool:
        """Whether such a model tells the distortion."""
        return self.method != "clip-iqa" and self.distortion_prompts and self.distortion_labels


@dataclass(frozen=True)
class LossOptions:
    """Options of the loss (Eqs. 9, 11, 15, 16, and D18)."""

    scene_weight: float = option(1.0, "weight of the scene loss")
    distortion_weight: float = option(1.0, "lambda_1 of Eq. 15, weight of the distortion loss")
    score_weight: float = option(0.5, "lambda_2 of Eq. 15, weight of the score loss")
    class_mean: bool = option(False, "D6: divide both cross entropies by the number of classes, as printed")
    score_loss: ScoreLoss = option("smooth_l1", "D9: smooth L1 (the text) or L1 (Eq. 16)")
    ranking_weight: float = option(0.0, "D18: weight of the fidelity loss of pairs of images within a rated set")
    plcc_weight: float = option(0.0, "D18: weight of 1 - PLCC within a rated set")


RENAMED: Mapping[str, str] = {"whole": "train_on_all", "also": "extra_data"}
"""Old names of settings, by which files of earlier versions have them, and the names that they have now."""


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every setting under its name of now, whichever version wrote them."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


T = TypeVar("T")
_HIGHEST = sys.float_info.max  # a whole number above it is no float


def from_mapping(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """``kind(**values)`` for a flat dataclass of plain values; all faults of ``values`` in one ``ConfigError``.

    ``values`` may have old names of settings (``RENAMED``).
    """
    values = current_names(values)
    known = typing.get_type_hints(kind)
    faults = [f"unknown key {key!r}; known are {', '.join(known)}" for key in values if key not in known]
    for key, value in values.items():
        if key in known and not fits(value, known[key]):
            faults.append(f"{key} = {value!r}: expected {_describe(known[key])}")
    if faults:
        raise ConfigError(f"{where}: " + "; ".join(faults))
    return kind(**{key: _as(known[key], value) for key, value in values.items()})


def to_mapping(options: Any) -> dict[str, Any]:
    """The fields of a dataclass of plain values, for JSON."""
    return {field.name: asdict(options)[field.name] for field in fields(options)}


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value from TOML or JSON fits a field's type."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (types.UnionType, typing.Union):
        return any(fits(value, option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, (list, tuple)) and all(fits(each, get_args(hint)[0]) for each in value)
    if hint is float:
        return (isinstance(value, float) and math.isfinite(value)) or (fits(value, int) and abs(value) <= _HIGHEST)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _as(hint: Any, value: Any) -> Any:
    """A whole number for a float, or JSON's list for a tuple, as what it is meant to be."""
    if hint is float:
        return float(value)
    return tuple(value) if get_origin(hint) is tuple else value


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list of {_describe(get_args(hint)[0])}"
    return {type(None): "nothing", float: "a finite number"}.get(hint) or str(hint.__name__)
