import pytest
import torch
import torch.nn.functional as F

from mpiqe.errors import ConfigError
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_iqa import CLIPIQA
from mpiqe.model.options import ModelOptions

ZERO_SHOT = ModelOptions(method="clip-iqa", context_length=0, windows=3)
LEARNED = ModelOptions(method="clip-iqa", context_length=16, windows=3)


def test_the_score_is_the_softmax_over_good_and_bad_photo(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, ZERO_SHOT)
    rows = [
        [tiny_clip.start_token, *tiny_clip.tokens(text), tiny_clip.end_token] for text in ("Good photo.", "Bad photo.")
    ]
    pair = torch.cat(
        [
            tiny_clip.encode_text(tiny_clip.embed_tokens(torch.tensor([row])), torch.tensor([len(row) - 1]))
            for row in rows
        ]
    )
    cls, _ = tiny_clip.encode_image(tiny_clip.preprocess(pixels))
    cosines = F.cosine_similarity(tiny_clip.project(cls)[:, None], pair[None], dim=-1)  # (3, 2)
    by_hand = 1 / (1 + torch.exp(tiny_clip.logit_scale * (cosines[:, 1] - cosines[:, 0])))
    torch.testing.assert_close(model(pixels).score, by_hand, rtol=1e-4, atol=1e-6)


def test_zero_shot_has_nothing_to_train_and_plus_has_its_sixteen_contexts(tiny_clip: FrozenCLIP) -> None:
    assert list(build_model(tiny_clip, ZERO_SHOT).parameters()) == []
    (context,) = build_model(tiny_clip, LEARNED).parameters()
    assert context.shape == (16, tiny_clip.text_width)


def test_contexts_learn_and_the_backbone_does_not(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, LEARNED)
    before = tiny_clip.digest()
    model(pixels).prediction.sum().backward()
    (context,) = model.parameters()
    assert context.grad is not None
    assert context.grad.abs().sum() > 0
    assert tiny_clip.digest() == before


def test_a_probability_is_brought_to_the_range_of_the_ratings(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, ZERO_SHOT)
    plain = model(pixels).score
    assert ((plain > 0) & (plain < 1)).all()
    model.target_mean, model.target_std = 20.0, 60.0
    output = model(pixels)
    torch.testing.assert_close(output.score, 20 + 60 * plain)
    torch.testing.assert_close(output.prediction, plain)
    assert output.scene_logits is None
    assert output.distortion_logits is None


def test_there_is_no_map_of_where(tiny_clip: FrozenCLIP, pixels: torch.Tensor) -> None:
    model = build_model(tiny_clip, ZERO_SHOT)
    assert isinstance(model, CLIPIQA)
    with pytest.raises(ConfigError, match="no map"):
        model.attention_maps(pixels, model.fold())
