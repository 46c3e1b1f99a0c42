from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data as photos
from tests.model.test_decoder import unfolded
from tests.tiny import TINY_OPTIONS
from transformers import CLIPConfig, CLIPModel

from mpiqe import images
from mpiqe.errors import ConfigError
from mpiqe.model.alignment import scene_logits
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.options import ModelOptions


def test_sizes_at_vit_b_16(tiny_clip: FrozenCLIP) -> None:
    config = CLIPConfig(vision_config={"patch_size": 16}, text_config={}, projection_dim=512)
    with torch.device("meta"):
        shape = CLIPModel(config)
    clip = FrozenCLIP(model=shape.to_empty(device="cpu"), tokenizer=tiny_clip.tokenizer, name="ViT-B/16")
    built = build_model(clip, ModelOptions())
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in built.named_children()}
    assert sizes["scene_prompts"] + sizes["distortion_prompts"] == 8_192
    assert sizes["visual_prompts"] == 36_864
    assert sizes["decoder"] == 12_678_913
    assert sizes["clip"] == 0


@pytest.mark.slow
def test_at_vit_b_16_every_layer_of_the_prompts_gets_a_gradient(tiny_clip: FrozenCLIP) -> None:
    torch.manual_seed(0)
    config = CLIPConfig(vision_config={"patch_size": 16}, text_config={}, projection_dim=512)
    clip = FrozenCLIP(model=CLIPModel(config), tokenizer=tiny_clip.tokenizer, name="ViT-B/16")
    model = build_model(clip, ModelOptions())
    _loss(model, torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)).backward()
    assert (model.visual_prompts.tokens.grad.abs().amax(dim=(1, 2)) > 0).sum() == 12
    assert (model.scene_prompts.context.grad.abs().amax(dim=1) > 0).sum() == 8
    assert (model.distortion_prompts.context.grad.abs().amax(dim=1) > 0).sum() == 8
    assert not any(tensor.requires_grad for tensor in clip.weights().values())


def _loss(model: MPIQE, pixels: torch.Tensor) -> torch.Tensor:
    output = model(pixels)
    return output.prediction.square().sum() + output.scene_logits[:, 0].sum() + output.distortion_logits[:, 0].sum()


def test_exactly_the_intended_parameters_get_gradients_at_every_layer(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    assert {name.split(".")[0] for name, _ in tiny_model.named_parameters()} == {
        "scene_prompts",
        "distortion_prompts",
        "visual_prompts",
        "decoder",
    }
    _loss(tiny_model, pixels).backward()
    for name, parameter in tiny_model.named_parameters():
        if not name.endswith("key.bias"):  # a softmax does not see what is added to all keys alike
            assert parameter.grad.abs().sum() > 0, name
    by_layer = tiny_model.visual_prompts.tokens.grad.abs().sum(dim=(1, 2))
    assert by_layer.shape == (3,)
    assert (by_layer > 0).all()


def test_no_frozen_weight_changes_by_a_bit_in_ten_steps(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model.clip.weights().items()}
    tiny_model.train()
    tiny_model.requires_grad_(True)
    optimiser = torch.optim.Adam(tiny_model.parameters(), lr=0.1)
    start = {name: parameter.clone() for name, parameter in tiny_model.named_parameters()}
    for _ in range(10):
        optimiser.zero_grad()
        _loss(tiny_model, pixels).backward()
        optimiser.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.clip.weights().items())
    assert all(not torch.equal(parameter, start[name]) for name, parameter in tiny_model.named_parameters())


def test_what_is_folded_equals_the_model_written_out(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    folded = tiny_model.fold()
    output = tiny_model(pixels, folded)
    clip = tiny_model.clip
    features = []
    for bank in (tiny_model.scene_prompts, tiny_model.distortion_prompts):
        words, last = bank()
        features.append(
            torch.cat([clip.encode_text(words[row : row + 1], last[row : row + 1]) for row in range(len(last))])
        )
    cls, patches = (
        clip.project(tokens) for tokens in clip.encode_image(clip.preprocess(pixels), tiny_model.visual_prompts())
    )
    expected = unfolded(tiny_model.decoder, torch.cat(features), torch.cat([cls[:, None], patches], dim=1))
    torch.testing.assert_close(output.prediction, expected, atol=1e-5, rtol=0)
    cosines = torch.nn.functional.cosine_similarity(cls[:, None], features[0][None], dim=-1)
    torch.testing.assert_close(output.scene_logits, cosines * clip.logit_scale, atol=1e-4, rtol=0)
    assert folded.queries.states.shape == (1, 20, 32)


def test_logits_and_scores_are_fp32_under_autocast(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            image = tiny_model.encode_image(pixels)
            folded = tiny_model.fold()
            half = tiny_model.decode(folded, image)
        exact = scene_logits(image.cls.float(), folded.scene.float(), tiny_model.clip.logit_scale)
    assert half.scene_logits.dtype == half.distortion_logits.dtype == half.score.dtype == torch.float32
    assert torch.equal(half.scene_logits, exact)


def test_scores_are_brought_back_to_the_units_of_the_ratings(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    tiny_model.target_mean, tiny_model.target_std = 50.0, 20.0
    output = tiny_model(pixels)
    torch.testing.assert_close(output.score, 50 + 20 * output.prediction)


@pytest.mark.parametrize(
    ("change", "queries"),
    [
        ({"scene_prompts": False}, 11),
        ({"distortion_prompts": False}, 9),
        ({"visual_depth": 0}, 20),
        ({"visual_depth": 1}, 20),
    ],
)
def test_each_variant_of_table_4_is_one_switch(
    tiny_clip: FrozenCLIP, pixels: torch.Tensor, change: dict[str, object], queries: int
) -> None:
    model = build_model(tiny_clip, replace(TINY_OPTIONS, **change))
    output = model(pixels)
    assert output.score.shape == (3,)
    assert model.fold().queries.states.shape[1] == queries
    assert (output.scene_logits is None) == ("scene_prompts" in change)
    assert (output.distortion_logits is None) == ("distortion_prompts" in change)


def test_a_linear_projection_is_trained_and_used(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, replace(TINY_OPTIONS, projection="linear"))
    _loss(model, pixels).backward()
    assert model.projection.weight.grad.abs().sum() > 0
    assert model.projection.weight.shape == (32, 64)


def test_the_seed_alone_decides_the_initial_weights(tiny_clip: FrozenCLIP) -> None:
    torch.manual_seed(5)
    first = build_model(tiny_clip, TINY_OPTIONS, seed=1).state_dict()
    state = torch.random.get_rng_state()
    again = build_model(tiny_clip, TINY_OPTIONS, seed=1).state_dict()
    other = build_model(tiny_clip, TINY_OPTIONS, seed=2).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["visual_prompts.tokens"], other["visual_prompts.tokens"])


def test_options_that_cannot_be_meant_are_refused_together(tiny_clip: FrozenCLIP) -> None:
    options = ModelOptions(scene_prompts=False, distortion_prompts=False, visual_depth=12, windows=7, decoder_heads=0)
    with pytest.raises(ConfigError, match=r"visual_depth=12, but .* 3 layers; windows=7, but .* 4 x 4 patches"):
        build_model(tiny_clip, options)


@pytest.mark.slow
def test_the_model_can_fit_eight_real_photos(tiny_clip: FrozenCLIP) -> None:
    names = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "moon", "brick")
    crops = [
        images.cut(images.read(_rgb(getattr(photos, name)())), np.array([[200, 120]]), size=32)[0] for name in names
    ]
    pixels = torch.stack([torch.tensor(crop).permute(2, 0, 1) for crop in crops])
    target = torch.linspace(-1.5, 1.5, 8)[torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])]
    model = build_model(tiny_clip, TINY_OPTIONS)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(500):
        optimiser.zero_grad()
        error = model(pixels).prediction - target
        error.square().mean().backward()
        optimiser.step()
        if error.abs().max() < 0.02:
            break
    assert error.abs().max() < 0.02


def test_the_gaze_is_what_the_forward_pass_weighs_by(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        folded = tiny_model.fold()
        output, gaze = tiny_model(pixels, folded), tiny_model.attention_maps(pixels, folded)
    weights = (gaze.similarity / tiny_model.window_temperature).softmax(dim=1)
    torch.testing.assert_close(weights, output.window_weights)
    assert gaze.attention.shape == (3, 2, 8, 20, 17)  # layers, heads, queries, CLS and 4 x 4 patches
    torch.testing.assert_close(gaze.attention.sum(dim=-1), torch.ones(3, 2, 8, 20))


def test_the_gaze_of_a_model_without_distortions_is_the_decoders_alone(
    tiny_clip: FrozenCLIP, pixels: torch.Tensor
) -> None:
    model = build_model(tiny_clip, replace(TINY_OPTIONS, distortion_prompts=False))
    gaze = model.attention_maps(pixels, model.fold())
    assert gaze.similarity is None
    assert gaze.attention.shape == (3, 2, 8, 9, 17)


def _rgb(photo):
    return photo if photo.ndim == 3 else photo[..., None].repeat(3, axis=2)
