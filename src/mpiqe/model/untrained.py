"""MP-IQE with random weights, to measure speed and memory.

No weights are downloaded. The vocabulary is the compact one, with the words of the labels; the width of its table is
the only thing in which the towers differ from OpenAI's.
"""

from pathlib import Path

from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import CompactOptions, create_compact
from mpiqe.model.options import ModelOptions

BACKBONE = "backbone"


def _openai(patch_size: int, width: int, layers: int, text_width: int) -> CompactOptions:
    return CompactOptions(
        stem_channels=(),
        patch_size=patch_size,
        vision_width=width,
        vision_layers=layers,
        text_width=text_width,
        text_layers=12,
        joint_width=text_width,
        activation="quick_gelu",
    )


SHAPES = {
    "vit-b-32": _openai(32, 768, 12, 512),
    "vit-b-16": _openai(16, 768, 12, 512),
    "vit-l-14": _openai(14, 1024, 24, 768),
}
"""The towers of OpenAI's CLIPs by name, for crops of 224 pixels."""


def shape_named(name: str) -> CompactOptions:
    """One of ``SHAPES``; raises ``ConfigError`` for another name."""
    if name not in SHAPES:
        raise ConfigError(f"no shape {name!r} is known; take one of {', '.join(SHAPES)}")
    return SHAPES[name]


def create_untrained(
    folder: Path, shape: CompactOptions, *, options: ModelOptions | None = None, crops: int = 8, seed: int = 0
) -> Path:
    """Write random weights to ``folder`` as a run's folder holds trained ones, for ``mpiqe.load``; returns ``folder``.

    ``folder/backbone`` is a CLIP in transformers' format, ``folder/mpiqe.safetensors`` the rest of the model. A score
    of such a model means nothing; its scale says so.
    """
    options = options or ModelOptions()
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    create_compact(folder / BACKBONE, words=words, options=shape, seed=seed)
    clip = FrozenCLIP.from_pretrained(folder / BACKBONE)
    config = CheckpointConfig(
        options=options,
        backbone=BACKBONE,
        backbone_digest=clip.digest(),
        target_mean=0.0,
        target_std=1.0,
        dataset="nothing (random weights)",
        mos_low=-1.0,
        mos_high=1.0,
        crops=crops,
    )
    save_checkpoint(folder / FILE_NAME, build_model(clip, options, seed=seed), config)
    return folder
