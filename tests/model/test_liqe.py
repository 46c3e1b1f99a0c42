"""LIQE's texts, joint probabilities and scores, against its formulae in numpy."""

from itertools import product

import numpy as np
import pytest
import torch

from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.liqe import DISTORTION_WORDS, LIQE, SCENE_WORDS, texts, tokenise
from mpiqe.model.options import ModelOptions

PROMPTED = ModelOptions(method="liqe", windows=3)
ZERO_SHOT = ModelOptions(method="liqe", windows=3, visual_depth=0)


def _build(clip: FrozenCLIP, options: ModelOptions) -> LIQE:
    model = build_model(clip, options)
    assert isinstance(model, LIQE)
    return model


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_there_are_495_texts_by_quality_then_scene_then_distortion() -> None:
    found = texts()
    assert len(found) == len(set(found)) == 495
    assert found[0] == "a photo of a animal with blur artifacts, which is of bad quality"
    assert found[1] == "a photo of a animal with color artifacts, which is of bad quality"
    assert found[11] == "a photo of a cityscape with blur artifacts, which is of bad quality"
    assert found[99] == "a photo of a animal with blur artifacts, which is of poor quality"
    assert found[-1] == "a photo of a others with other artifacts, which is of perfect quality"


def test_the_originals_variants_leave_scene_or_distortion_out() -> None:
    assert texts(distortions=False)[0] == "a photo of a animal, which is of bad quality"
    assert texts(scenes=False)[0] == "a photo with blur artifacts, which is of bad quality"
    assert texts(scenes=False, distortions=False)[-1] == "a photo with perfect quality"
    assert [len(texts(scenes=s, distortions=d)) for s, d in product((True, False), repeat=2)] == [495, 45, 55, 5]


def test_liqes_words_stand_in_the_order_of_the_labels() -> None:
    pairs = [*zip(SCENES, SCENE_WORDS, strict=True), *zip(DISTORTIONS, DISTORTION_WORDS, strict=True)]
    for label, word in pairs:
        own = label.casefold().replace("-", "")[:5]
        assert word.replace("_", "").startswith(own), (label, word)


def test_expected_quality_and_marginals_by_hand(tiny_clip: FrozenCLIP) -> None:
    model = _build(tiny_clip, ZERO_SHOT)
    joint = torch.full((2, 5, 9, 11), 1e-30)
    joint[0, 4, 2, 3] = 0.75  # perfect, human, JPEG compression
    joint[0, 1, 2, 5] = 0.25  # poor, human, noise
    joint[1] = 1 / 495
    quality, scene, distortion = model.marginals(joint.log().view(2, 495))
    torch.testing.assert_close(quality, torch.tensor([0.75 * 5 + 0.25 * 2, 3.0]))
    assert scene is not None
    assert distortion is not None
    torch.testing.assert_close(scene[0], torch.eye(9)[2])
    torch.testing.assert_close(distortion[0], 0.75 * torch.eye(11)[3] + 0.25 * torch.eye(11)[5])
    torch.testing.assert_close(scene[1], torch.full((9,), 1 / 9))


def test_random_logits_are_read_as_by_the_published_formulae(tiny_clip: FrozenCLIP) -> None:
    logits = 3 * np.random.default_rng(0).standard_normal((7, 495))
    found = _build(tiny_clip, ZERO_SHOT).marginals(torch.from_numpy(logits).float())
    joint = _softmax(logits)
    quality, scene, distortion = np.zeros(7), np.zeros((7, 9)), np.zeros((7, 11))
    for column, (q, s, d) in enumerate(product(range(5), range(9), range(11))):
        quality += (q + 1) * joint[:, column]
        scene[:, s] += joint[:, column]
        distortion[:, d] += joint[:, column]
    for ours, theirs in zip(found, (quality, scene, distortion), strict=True):
        assert ours is not None
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5)


def test_the_score_is_that_of_cosines_with_every_text_alone(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = _build(tiny_clip, ZERO_SHOT)
    features = []
    for text in texts():  # one by one, nothing padded
        row = [tiny_clip.start_token, *tiny_clip.tokens(text), tiny_clip.end_token]
        words = tiny_clip.embed_tokens(torch.tensor([row]))
        features.append(tiny_clip.encode_text(words, torch.tensor([len(row) - 1]))[0].double().numpy())
    cls = tiny_clip.project(tiny_clip.encode_image(tiny_clip.preprocess(pixels))[0]).double().numpy()
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (cls, np.stack(features))]
    joint = _softmax(float(tiny_clip.logit_scale) * unit[0] @ unit[1].T)
    expected = (joint.reshape(3, 5, -1).sum(axis=2) * np.arange(1, 6)).sum(axis=1)
    output = model(pixels)
    np.testing.assert_allclose(output.prediction.numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(output.score, output.prediction)
    assert expected.std() > 1e-4, "the same for every photo: it would prove nothing"
    model.target_mean, model.target_std = 10.0, 20.0
    torch.testing.assert_close(model(pixels).score, 10 + 20 * output.prediction)


def test_a_frozen_backbone_has_visual_prompts_to_train_and_encodes_the_texts_once(
    tiny_clip: FrozenCLIP, pixels: torch.Tensor
) -> None:
    model = _build(tiny_clip, PROMPTED)
    assert [name for name, _ in model.named_parameters()] == ["visual_prompts.tokens"]
    assert model.fold() is model.fold()
    before = tiny_clip.digest()
    model(pixels).prediction.sum().backward()
    (tokens,) = model.parameters()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum() > 0
    assert tiny_clip.digest() == before
    assert list(_build(tiny_clip, ZERO_SHOT).parameters()) == []


def test_a_tuned_backbone_has_no_prompts_and_learns_on_both_sides_but_not_its_temperature(
    tiny_clip: FrozenCLIP, pixels: torch.Tensor
) -> None:
    model = _build(tiny_clip, ModelOptions(method="liqe", windows=3, tune="all"))
    assert all(name.startswith("clip.") for name, _ in model.named_parameters())
    model(pixels).prediction.sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients["clip.clip.logit_scale"] is None
    for name in ("visual_projection.weight", "text_projection.weight", "text_model.embeddings.token_embedding.weight"):
        gradient = gradients[f"clip.clip.{name}"]
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name


def test_what_no_label_taught_is_not_told(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    whole = _build(tiny_clip, ZERO_SHOT)(pixels)
    assert whole.scene_probabilities is not None
    untaught = _build(tiny_clip, ModelOptions(method="liqe", windows=3, visual_depth=0, scene_labels=False))(pixels)
    assert untaught.scene_probabilities is None
    torch.testing.assert_close(untaught.prediction, whole.prediction)
    left_out = _build(tiny_clip, ModelOptions(method="liqe", windows=3, visual_depth=0, distortion_prompts=False))
    assert left_out(pixels).distortion_probabilities is None
    assert left_out.fold().shape == (45, 32)


def test_windows_that_it_has_not_are_not_checked(tiny_clip: FrozenCLIP) -> None:
    _build(tiny_clip, ModelOptions(method="liqe", windows=100))


def test_texts_that_do_not_fit_and_maps_are_refused(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no map"):
        _build(tiny_clip, ZERO_SHOT).attention_maps(pixels, torch.zeros(1))
    with pytest.raises(ConfigError, match=r"has \d+ tokens and the text tower has 77 positions"):
        tokenise(tiny_clip, ["a photo of " * 40])
