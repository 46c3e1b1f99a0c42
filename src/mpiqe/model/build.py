"""Build a model from options."""

import torch
from torch import nn

from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_iqa import CLIPIQA
from mpiqe.model.decoder import QualityDecoder
from mpiqe.model.liqe import LIQE
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.options import ModelOptions
from mpiqe.model.prompts import DeepVisualPrompts, PromptLearner

QualityModel = MPIQE | CLIPIQA | LIQE
"""What can be trained, kept and scored with: crops in, an ``MPIQEOutput`` out."""


def build_model(clip: FrozenCLIP, options: ModelOptions, *, seed: int = 0) -> QualityModel:
    """Turn options into a fresh model on ``clip``; its initial weights are a function of ``seed``.

    With ``tune="all"`` the weights of ``clip`` itself become parameters; its running statistics and the embeddings of
    the prompts' words stay as they are. With ``tune="lora"`` its image tower is given low-rank changes.
    """
    _check(clip, options)
    if options.tune == "all":
        clip.thaw(steady=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(clip, options)
        if options.tune == "lora":
            clip.add_lora(rank=options.lora_rank, alpha=options.lora_alpha)
    return model


def _build(clip: FrozenCLIP, options: ModelOptions) -> QualityModel:
    if options.method == "clip-iqa":
        return CLIPIQA(clip=clip, length=options.context_length, class_position=options.class_position)
    if options.method == "liqe":
        return _build_liqe(clip, options)
    return _build_mpiqe(clip, options)


def _build_mpiqe(clip: FrozenCLIP, options: ModelOptions) -> MPIQE:
    depth = clip.vision_layers if options.visual_depth is None else options.visual_depth
    banks = [
        PromptLearner(clip=clip, classes=classes, length=options.context_length, class_position=options.class_position)
        if wanted
        else None
        for wanted, classes in ((options.scene_prompts, SCENES), (options.distortion_prompts, DISTORTIONS))
    ]
    return MPIQE(
        clip=clip,
        scene_prompts=banks[0],
        distortion_prompts=banks[1],
        visual_prompts=DeepVisualPrompts(depth=depth, length=options.visual_length, width=clip.vision_width),
        decoder=QualityDecoder(
            width=clip.joint_width,
            layers=options.decoder_layers,
            heads=options.decoder_heads,
            pooling=options.pooling,
        ),
        projection=nn.Linear(clip.vision_width, clip.joint_width) if options.projection == "linear" else None,
        query=None if any(banks) else 0.02 * torch.randn(1, clip.joint_width),
        linear_head=options.linear_head,
        stem_head=options.stem_head,
        stem_head_width=options.stem_head_width,
        stem_head_layers=options.stem_head_layers,
        class_heads=options.class_heads,
        windows=options.windows,
        window_temperature=options.window_temperature,
        scene_labels=options.scene_labels,
        distortion_labels=options.distortion_labels,
        distortion_scale=options.distortion_scale,
    )


def _build_liqe(clip: FrozenCLIP, options: ModelOptions) -> LIQE:
    depth = options.visual_depth
    if depth is None:
        depth = clip.vision_layers if options.tune == "prompts" else 0  # the original tunes towers, without prompts
    return LIQE(
        clip=clip,
        visual_prompts=DeepVisualPrompts(depth=depth, length=options.visual_length, width=clip.vision_width),
        scenes=options.scene_prompts,
        distortions=options.distortion_prompts,
        scene_labels=options.scene_labels,
        distortion_labels=options.distortion_labels,
    )


def _check(clip: FrozenCLIP, options: ModelOptions) -> None:
    faults = []
    if options.visual_depth is not None and not 0 <= options.visual_depth <= clip.vision_layers:
        faults.append(f"visual_depth={options.visual_depth}, but the image tower has {clip.vision_layers} layers")
    if options.method == "mp-iqe" and not 1 <= options.windows <= clip.grid:
        faults.append(f"windows={options.windows}, but the backbone has {clip.grid} x {clip.grid} patches")
    bounds = {
        "context_length": (0, clip.text_positions),
        "visual_length": (0, 1024),
        "decoder_layers": (1, 64),
        "decoder_heads": (1, clip.joint_width),
        "stem_head_width": (0, 65_536),
        "stem_head_layers": (1, 8),
        "stem_head_members": (1, 64),
        "lora_rank": (1, 1024),
    }
    faults += [
        f"{name}={getattr(options, name)} is not between {low} and {high}"
        for name, (low, high) in bounds.items()
        if not low <= getattr(options, name) <= high
    ]
    faults += [
        f"{name} needs a backbone with an EfficientNet stem (mpiqe pretrain --stem), and this has none"
        for name in ("stem_head", "class_heads")
        if getattr(options, name) and not clip.pooled_width
    ]
    if options.stem_head_members > max(1, options.stem_head_width):
        faults.append(
            f"stem_head_members={options.stem_head_members} share the hidden units of stem_head_width, and these are "
            f"{options.stem_head_width}"
        )
    if not 0 < options.lora_alpha <= 65_536:
        faults.append(f"lora_alpha={options.lora_alpha} must be above zero and at most 65536")
    if options.window_temperature <= 0:
        faults.append(f"window_temperature={options.window_temperature} must be above zero")
    if faults:
        raise ConfigError("; ".join(faults))
