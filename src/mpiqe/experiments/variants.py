"""The model variants of the paper's tables, each as settings that differ from the full model's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mpiqe.data.registry import DATASETS
from mpiqe.model.options import LossOptions, to_mapping

FULL = "mp-iqe"
LIQE = "liqe"
PROBE = "linear-probe"


@dataclass(frozen=True)
class Variant:
    """One line of a table; ``settings`` are keys of ``TrainOptions`` over those of the whole study."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    by: Literal["training", "zero-shot", "probe"] = "training"
    """How it comes to its scores: trained, as it is, or by a ridge regression on the frozen towers' features."""
    leaves_out: str | None = None
    """A dataset that is tested on alone: all others are trained on together, as ``MIXTURE`` says."""

    @property
    def trains(self) -> bool:
        """Whether it takes optimiser steps."""
        return self.by == "training"


# LIQE has losses of its own, which what a study sets for MP-IQE's does not reach
_LIQE = {"method": "liqe", **to_mapping(LossOptions())}
# what a study's cache_stem keeps is of no use where the stem is trained
_TUNE_ALL = {"tune": "all", "cache_stem": False}
_NO_TEXT = {"scene_prompts": False, "distortion_prompts": False}
_CLIP_IQA = {"method": "clip-iqa", **_NO_TEXT, "score_weight": 1.0}

MIXTURE: Mapping[str, Any] = {
    "sampling": "sets",
    "set_lines": "learned",
    "ranking_weight": 1.0,
    "plcc_weight": 1.0,
}
"""How several datasets are trained on together (D18)."""


def without(name: str) -> str:
    """The variant that is trained on every dataset but ``name``."""
    return f"without-{name}"


VARIANTS: Mapping[str, Variant] = {
    FULL: Variant("MP-IQE"),
    "no-scene": Variant("w/o scene prompts", {"scene_prompts": False}),
    "no-distortion": Variant("w/o distortion prompts", {"distortion_prompts": False}),
    "no-visual": Variant("w/o deep visual prompts", {"visual_depth": 0}),
    "shallow-visual": Variant("shallow visual prompts", {"visual_depth": 1}),
    **{
        f"fraction-{round(100 * share)}": Variant(f"MP-IQE, {share:.0%} of the training images", {"fraction": share})
        for share in (0.2, 0.4, 0.6)
    },
    **{f"text-{length}": Variant(f"{length} text contexts", {"context_length": length}) for length in (2, 4, 16)},
    **{f"visual-{length}": Variant(f"{length} visual prompts", {"visual_length": length}) for length in (1, 2, 8)},
    "clip-iqa": Variant("CLIP-IQA", {**_CLIP_IQA, "context_length": 0}, by="zero-shot"),
    # 16 contexts and this rate are the original's; see docs/decisions.md
    "clip-iqa-plus": Variant("CLIP-IQA+", {**_CLIP_IQA, "context_length": 16, "learning_rate": 2e-3}),
    "visual-only": Variant("visual-only", {**_NO_TEXT, "decoder_layers": 1}),
    # both towers at this rate, as the original
    LIQE: Variant("LIQE", {**_LIQE, **_TUNE_ALL, "learning_rate": 5e-6, "backbone_rate": 1.0}),
    "liqe-frozen": Variant("LIQE on frozen towers", _LIQE),
    "tune-all": Variant("full fine-tuning", _TUNE_ALL),
    PROBE: Variant("linear probe", {**_NO_TEXT, "visual_depth": 0}, by="probe"),
    **{without(name): Variant(f"MP-IQE, all datasets but {name}", leaves_out=name) for name in DATASETS},
    "eq10-literal": Variant("Eq. 10 as printed, without CLIP's temperature", {"distortion_scale": "none"}),
    "class-mean": Variant("Eqs. 9 and 11 as printed, divided by the number of classes", {"class_mean": True}),
    "linear-projection": Variant("a new linear projection of image tokens", {"projection": "linear"}),
    "max-pooling": Variant("answers pooled by their maximum", {"pooling": "max"}),
    "l1-loss": Variant("L1 as Eq. 16 prints it", {"score_loss": "l1"}),
    "class-in-the-middle": Variant("the class in the middle of its context", {"class_position": "middle"}),
    "first-scene": Variant("the first scene alone as target", {"scene_target": "first"}),
    "whole-images": Variant("batches of whole images", {"batch_unit": "images", "mix_crops": False}),
}
"""By name, which is also the folder of its runs. 8 text contexts and 4 visual prompts are ``FULL``'s own."""

READINGS: Mapping[str, str] = {
    name: VARIANTS[name].label
    for name in (
        *("eq10-literal", "class-mean", "linear-projection", "max-pooling", "l1-loss", "class-in-the-middle"),
        *("first-scene", "whole-images"),
    )
}
"""Other readings of the paper (docs/decisions.md), one at a time, by variant."""
