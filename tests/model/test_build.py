import math
from dataclasses import replace
from pathlib import Path

import torch
from tests.tiny import TINY_OPTIONS
from torch import nn

from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from mpiqe.model.clip import FrozenCLIP

VISUAL_ONLY = replace(TINY_OPTIONS, scene_prompts=False, distortion_prompts=False, decoder_layers=1)


def _config(clip: FrozenCLIP, options, digest: str) -> CheckpointConfig:
    return CheckpointConfig(options, clip.name, digest, 50.0, 10.0, "made", 20.0, 80.0)


def test_the_distortion_scale_is_clips_or_none(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    scaled, plain = (build_model(tiny_clip, replace(TINY_OPTIONS, distortion_scale=kind)) for kind in ("clip", "none"))
    with torch.no_grad():
        ours, printed = scaled(pixels), plain(pixels)
    torch.testing.assert_close(ours.distortion_logits, tiny_clip.logit_scale * printed.distortion_logits)
    assert printed.distortion_logits.abs().max() <= 1  # a mean of cosines
    highest = printed.distortion_logits.softmax(dim=1).max()
    assert highest <= math.e / (math.e + 10 / math.e)  # the most that docs/decisions.md states
    assert torch.equal(ours.score, printed.score)


def test_without_any_text_one_learned_query_takes_its_place(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, VISUAL_ONLY)
    assert dict(model.named_parameters())["query"].shape == (1, tiny_clip.joint_width)
    assert model.fold().queries.states.shape == (1, 1, tiny_clip.joint_width)
    assert model.text_features() == (None, None)
    output = model(pixels)
    assert output.scene_logits is None
    assert output.distortion_logits is None
    output.prediction.sum().backward()
    assert model.query.grad.abs().sum() > 0
    assert model.visual_prompts.tokens.grad.abs().sum() > 0


def test_with_text_there_is_no_learned_query(tiny_clip: FrozenCLIP) -> None:
    assert "query" not in dict(build_model(tiny_clip, replace(TINY_OPTIONS, scene_prompts=False)).named_parameters())


def test_tuning_all_reaches_both_towers_and_leaves_running_statistics(stem_folder: Path, pixels: torch.Tensor) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    model = build_model(clip, replace(TINY_OPTIONS, tune="all"))
    model.train()
    stem = clip.clip.vision_model.embeddings.patch_embedding
    norm = next(module for module in stem.modules() if isinstance(module, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    output = model(pixels)
    (output.prediction.sum() + output.scene_logits.sum()).backward()
    torch.testing.assert_close(norm.running_mean, before, rtol=0, atol=0)
    graded = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert "clip.clip.visual_projection.weight" in graded
    assert "clip.clip.text_projection.weight" in graded
    assert any(name.startswith("clip.clip.vision_model.embeddings.patch_embedding") for name in graded)


def test_a_model_that_was_tuned_whole_comes_back_from_its_checkpoint(
    stem_folder: Path, tmp_path: Path, pixels: torch.Tensor
) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    digest = clip.digest()
    options = replace(TINY_OPTIONS, tune="all")
    model = build_model(clip, options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    save_checkpoint(tmp_path / "mpiqe.safetensors", model, _config(clip, options, digest))
    with torch.inference_mode():
        wanted = model.eval()(pixels).prediction
        again, _ = load_checkpoint(tmp_path)
        torch.testing.assert_close(again(pixels).prediction, wanted)
        again.clip.fuse()
        torch.testing.assert_close(again(pixels).prediction, wanted, rtol=1e-3, atol=1e-4)


def test_a_visual_only_model_comes_back_from_its_checkpoint(
    tiny_clip: FrozenCLIP, tmp_path: Path, pixels: torch.Tensor
) -> None:
    model = build_model(tiny_clip, VISUAL_ONLY)
    save_checkpoint(tmp_path / "mpiqe.safetensors", model, _config(tiny_clip, VISUAL_ONLY, tiny_clip.digest()))
    again, _ = load_checkpoint(tmp_path)
    torch.testing.assert_close(again.eval()(pixels).prediction, model.eval()(pixels).prediction)
