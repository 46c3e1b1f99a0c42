import inspect

import pytest
import torch

from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.prompts import ClassPosition, DeepVisualPrompts, PromptLearner


@pytest.mark.parametrize(
    ("position", "order"),
    [
        ("end", "SOS V0 V1 V2 V3 night scene . EOS"),
        ("middle", "SOS V0 V1 night scene V2 V3 . EOS"),
        ("front", "SOS night scene V0 V1 V2 V3 . EOS"),
    ],
)
def test_the_class_stands_where_it_was_put(tiny_clip: FrozenCLIP, position: ClassPosition, order: str) -> None:
    bank = PromptLearner(clip=tiny_clip, classes=["animal", "night scene"], length=4, class_position=position)
    words, last = bank()
    marks = {"SOS": tiny_clip.start_token, "EOS": tiny_clip.end_token}
    for place, word in enumerate(order.split()):
        if word[0] == "V" and word[1:].isdigit():
            expected = bank.context[int(word[1:])]
        else:
            token = marks.get(word, (tiny_clip.tokens(word) or [0])[0])
            expected = tiny_clip.embed_tokens(torch.tensor(token))
        assert torch.equal(words[1, place], expected), word
    assert last.tolist() == [7, 8]


def test_prompts_cut_to_the_longest_equal_prompts_padded_to_77(tiny_model) -> None:
    cut = tiny_model.text_features()
    padded = tiny_model.text_features(pad_to=77)
    for short, long in zip(cut, padded, strict=True):
        torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_both_banks_in_one_pass_equal_each_bank_alone(tiny_model) -> None:
    together = tiny_model.text_features()
    for bank, features in zip((tiny_model.scene_prompts, tiny_model.distortion_prompts), together, strict=True):
        torch.testing.assert_close(tiny_model.clip.encode_text(*bank()), features, atol=1e-5, rtol=0)
    assert [len(features) for features in together] == [len(SCENES), len(DISTORTIONS)] == [9, 11]


def test_the_contexts_of_a_bank_are_shared_by_its_classes(tiny_clip: FrozenCLIP) -> None:
    bank = PromptLearner(clip=tiny_clip, classes=SCENES, length=8)
    words, _ = bank()
    assert bank.context.shape == (8, tiny_clip.text_width)
    assert all(torch.equal(words[row, 1:9], bank.context) for row in range(9))


def test_contexts_too_long_for_the_text_tower_are_refused(tiny_clip: FrozenCLIP) -> None:
    with pytest.raises(
        ConfigError, match=r"a prompt of 78 tokens \(74 of them contexts\) does not fit the 77 positions"
    ):
        PromptLearner(clip=tiny_clip, classes=["blur"], length=74)


def _as_printed(clip: FrozenCLIP, prompts: DeepVisualPrompts, pixels: torch.Tensor) -> torch.Tensor:
    """Eq. 7 word for word, with transformers' own layers: prompts are tokens like all others, renewed each layer."""
    tower = clip.clip.vision_model
    patches = clip.embed(pixels).patches
    cls = tower.embeddings.class_embedding.expand(len(patches), 1, -1)
    tokens = torch.cat([cls, patches], dim=1) + tower.embeddings.position_embedding.weight
    tokens = tower.pre_layrnorm(tokens)
    for index, layer in enumerate(tower.encoder.layers):
        if index < prompts.depth:
            fresh = prompts.tokens[index].expand(len(tokens), -1, -1)
            kept = tokens[:, 1:] if index == 0 else tokens[:, 1 + prompts.length :]
            tokens = torch.cat([tokens[:, :1], fresh, kept], dim=1)
        masks = {"attention_mask", "causal_attention_mask"} & set(inspect.signature(layer.forward).parameters)
        found = layer(tokens, **dict.fromkeys(masks))  # which of them there are depends on the version
        tokens = found if isinstance(found, torch.Tensor) else found[0]  # a tuple in transformers 4
    tokens = torch.cat([tokens[:, :1], tokens[:, -patches.shape[1] :]], dim=1)
    return tower.post_layernorm(tokens)


@pytest.mark.parametrize("depth", [1, 2, 3])  # the tower has three layers: shallow, in between, the paper's
def test_deep_prompts_are_those_of_the_paper(tiny_clip: FrozenCLIP, depth: int) -> None:
    torch.manual_seed(0)
    prompts = DeepVisualPrompts(depth=depth, length=2, width=tiny_clip.vision_width)
    torch.nn.init.normal_(prompts.tokens)
    pixels = torch.rand(2, 3, 32, 32)
    expected = _as_printed(tiny_clip, prompts, pixels)
    wanted = torch.autograd.grad(expected.square().sum(), prompts.tokens)[0]
    found = torch.cat([part.view(2, -1, 64) for part in tiny_clip.encode_image(pixels, prompts())], dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), prompts.tokens)[0], wanted)
    assert (found - torch.cat([p.view(2, -1, 64) for p in tiny_clip.encode_image(pixels)], dim=1)).abs().max() > 0.01


def test_zero_depth_leaves_clip_untouched(tiny_clip: FrozenCLIP) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    none = DeepVisualPrompts(depth=0, length=4, width=tiny_clip.vision_width)
    for found, expected in zip(tiny_clip.encode_image(pixels, none()), tiny_clip.encode_image(pixels), strict=True):
        assert torch.equal(found, expected)
    assert list(none.parameters()) == []
