import gzip
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.full_shape import random_model
from tests.tiny import STEM
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

from mpiqe.errors import WeightsError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import CLIP_MEAN, CLIP_STD, FrozenCLIP
from mpiqe.model.compact import CompactOptions, create_compact
from mpiqe.model.prompts import PromptLearner


def _features(answer: object) -> torch.Tensor:
    """transformers 5 wraps what transformers 4 returned bare."""
    return getattr(answer, "pooler_output", answer)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def paper_shape(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPModel, FrozenCLIP]:
    """ViT-B/16 with random weights: transformers' own model, and ours from the same values."""
    folder = tmp_path_factory.mktemp("words")
    create_compact(folder, words=["photo"], options=CompactOptions())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(vision_config={"patch_size": 16}, text_config=text, projection_dim=512)
    theirs = CLIPModel(config).eval()
    ours = CLIPModel(config)
    ours.load_state_dict(theirs.state_dict())
    return theirs, FrozenCLIP(model=ours, tokenizer=tokenizer, name="random ViT-B/16")


@pytest.mark.slow
def test_image_features_equal_transformers_at_vit_b_16(paper_shape: tuple[CLIPModel, FrozenCLIP]) -> None:
    theirs, ours = paper_shape
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        prepared = ours.preprocess(pixels)
        expected = _features(theirs.get_image_features(pixel_values=prepared))
        cls, patches = ours.encode_image(prepared)
        hidden = theirs.vision_model(pixel_values=prepared).last_hidden_state
        normed = theirs.vision_model.post_layernorm(hidden)
    assert expected.shape == (2, 512)
    torch.testing.assert_close(ours.project(cls), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(patches, normed[:, 1:], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_text_features_equal_transformers_at_vit_b_16(paper_shape: tuple[CLIPModel, FrozenCLIP]) -> None:
    theirs, ours = paper_shape
    bank = PromptLearner(clip=ours, classes=DISTORTIONS, length=0)
    ids = ours.tokenizer([f"{name}." for name in DISTORTIONS], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = _features(theirs.get_text_features(**ids))
        found = ours.encode_text(*bank())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # of the hub's config.json
    "openai ViT-B/32, MetaCLIP B/32": ({}, {}, 512),
    "OpenCLIP and MetaCLIP with gelu": ({"hidden_act": "gelu"}, {"hidden_act": "gelu"}, 512),
    "openai ViT-L/14": ({**_LARGE, "patch_size": 14}, _LARGE_TEXT, 768),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_features_equal_transformers_at_the_full_shape_of(name: str, tmp_path: Path) -> None:
    vision, text, width = SHAPES[name]
    create_compact(tmp_path, words=["photo"], options=CompactOptions())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    marks = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    theirs = random_model(
        CLIPModel, CLIPConfig(vision_config=vision, text_config={**marks, **text}, projection_dim=width)
    )
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    ids = tokenizer([f"{each}." for each in SCENES], padding="max_length", max_length=77, return_tensors="pt")
    scale, shift = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_STD, CLIP_MEAN))
    with torch.no_grad():
        images = _features(theirs.get_image_features(pixel_values=(pixels / 255 - shift) / scale))
        words = _features(theirs.get_text_features(**ids))
        ours = FrozenCLIP(model=theirs, tokenizer=tokenizer, name=name)  # takes its weights: one copy in memory
        cls, _ = ours.encode_image(ours.preprocess(pixels))
        found = ours.encode_text(*PromptLearner(clip=ours, classes=SCENES, length=0)())
    torch.testing.assert_close(ours.project(cls), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(found, words, atol=1e-5, rtol=0)
    assert images.shape == (1, width)


def test_preprocessing_is_clips_mean_and_deviation(tiny_clip: FrozenCLIP) -> None:
    grey = torch.full((1, 3, 2, 2), 128, dtype=torch.uint8)
    prepared = tiny_clip.preprocess(grey)[0, :, 0, 0]
    by_hand = [
        (128 / 255 - 0.48145466) / 0.26862954,
        (128 / 255 - 0.4578275) / 0.26130258,
        (128 / 255 - 0.40821073) / 0.27577711,
    ]
    torch.testing.assert_close(prepared, torch.tensor(by_hand))


def test_tokens_are_clips_own(shared: Path, tmp_path: Path) -> None:
    packed = (shared / "data/clip_bpe/bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]  # as CLIP's simple_tokenizer.py cuts it
    alphabet = list(_bytes_to_unicode().values())
    entries = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *map("".join, merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    create_compact(tmp_path, words=["photo"], options=CompactOptions())  # for the settings of the tokeniser
    (tmp_path / "vocab.json").write_text(json.dumps({entry: index for index, entry in enumerate(entries)}))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]))
    config = CLIPConfig(
        vision_config={"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1},
        text_config={"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1},
    )
    clip = FrozenCLIP(model=CLIPModel(config), tokenizer=AutoTokenizer.from_pretrained(tmp_path), name="clip's words")
    assert (clip.start_token, clip.end_token) == (49406, 49407)
    assert clip.tokens("a photo of a cat.") == [320, 1125, 539, 320, 2368, 269]  # openai/CLIP's tokenize, 269 is "."
    by_hand = {name: _bpe(name, merges, entries) for name in (*SCENES, *DISTORTIONS)}
    assert {name: clip.tokens(name) for name in by_hand} == by_hand


def _bpe(text: str, merges: list[tuple[str, ...]], entries: list[str]) -> list[int]:
    """Byte-pair encoding written plainly: of all neighbours the earliest merge wins, until none is left."""
    import re

    rank = {pair: index for index, pair in enumerate(merges)}
    ids = []
    for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower()):
        pieces = [*word[:-1], word[-1] + "</w>"]
        while pairs := [pair for pair in pairwise(pieces) if pair in rank]:
            best = min(pairs, key=rank.__getitem__)
            at = next(i for i in range(len(pieces) - 1) if (pieces[i], pieces[i + 1]) == best)
            pieces[at : at + 2] = ["".join(best)]
        ids += [entries.index(piece) for piece in pieces]
    return ids


def _bytes_to_unicode() -> dict[int, str]:
    """CLIP's printable stand-ins for bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def test_nothing_thaws_a_frozen_clip(tiny_clip: FrozenCLIP) -> None:
    tiny_clip.train()
    tiny_clip.requires_grad_(True)
    assert list(tiny_clip.parameters()) == []
    assert not any(module.training for module in tiny_clip.modules())
    assert not any(tensor.requires_grad for tensor in tiny_clip.weights().values())


def test_running_statistics_stay_whoever_calls_train_on_the_inside(tmp_path: Path) -> None:
    create_compact(tmp_path, words=["blur"], options=replace(STEM, stem_blocks=(1, 2, 0)))
    clip = FrozenCLIP.from_pretrained(tmp_path)
    before = clip.digest()
    for module in clip.modules():
        module.train()
    clip.encode_image(torch.rand(4, 3, 32, 32))
    assert clip.digest() == before


@pytest.mark.parametrize(
    ("channels", "blocks", "patch_size", "sides"),
    [
        ((8, 16, 64), (0, 1, 0), 8, {4: 64, 8: 16, 16: 8}),
        ((8, 64), (2, 1), 8, {4: 64, 8: 8}),  # the first convolution shrinks by four
        ((64,), (1,), 8, {4: 64}),
        ((4, 8, 16, 64), (0, 0, 0, 0), 16, {2: 64, 4: 16, 8: 8, 16: 4}),
        ((4, 8, 64), (1, 0, 0), 4, {8: 64, 16: 8, 32: 4}),  # the first does not shrink at all
        ((), (), 8, {4: 64}),  # CLIP's own patch embedding
    ],
)
def test_a_stems_maps_have_the_sides_and_channels_that_it_says(
    tmp_path: Path, channels: tuple[int, ...], blocks: tuple[int, ...], patch_size: int, sides: dict[int, int]
) -> None:
    small = replace(STEM, stem_channels=channels, stem_blocks=blocks, patch_size=patch_size)
    create_compact(tmp_path, words=["blur"], options=small)
    clip = FrozenCLIP.from_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    maps, _ = clip.stem_maps(pixels)
    assert clip.stem_sides() == sides
    assert [tuple(stage.shape) for stage in maps] == [(2, sides[n], n, n) for n in sorted(sides, reverse=True)]
    torch.testing.assert_close(clip.embed(pixels).patches[:, clip.grid], maps[-1][:, :, 1, 0])
    assert sum(name.endswith("norm.weight") for name in clip.weights() if "stages" in name) == sum(blocks)


def test_a_residual_block_of_zeros_passes_its_input_on(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    stage = clip.clip.vision_model.embeddings.patch_embedding.stages[1]
    assert len(stage) == 4  # convolution, normalisation, ReLU, block
    features = torch.rand(2, 16, 8, 8)
    block = stage[3]
    expected = features + block.norm(block.conv(features)).clamp(min=0)
    torch.testing.assert_close(block(features), expected)
    block.conv.weight.zero_()
    torch.testing.assert_close(block(features), features)


def test_a_stem_without_a_number_of_blocks_for_each_stage_is_refused(stem_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stem_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    for blocks in (None, [0, 1]):
        config["vision_config"]["stem_blocks"] = blocks
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=r"stem_channels \[8, 16, 64\] but stem_blocks (None|\[0, 1\])"):
            FrozenCLIP.from_pretrained(folder)


def test_thawing_and_freezing_again_keeps_every_bit(tiny_clip: FrozenCLIP) -> None:
    before, names = tiny_clip.digest(), set(tiny_clip.weights())
    tiny_clip.thaw()
    assert len(list(tiny_clip.parameters())) == len(names)
    tiny_clip.freeze()
    assert (tiny_clip.digest(), set(tiny_clip.weights())) == (before, names)


@pytest.mark.parametrize(
    ("stem", "blocks"), [((), ()), ((8, 16, 64), (0, 0, 0)), ((8, 16, 64), (1, 2, 0)), ((8, 64), (0, 1))]
)
def test_a_saved_backbone_is_the_same_backbone(tmp_path: Path, stem: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    small = replace(STEM, stem_channels=stem, stem_blocks=blocks)
    create_compact(tmp_path / "first", words=["blur"], options=small, seed=3)
    first = FrozenCLIP.from_pretrained(tmp_path / "first")
    first.thaw()
    with torch.no_grad():
        first.encode_image(torch.rand(4, 3, 32, 32))  # so that running statistics are not what a new stem has
    first.freeze()
    first.save(tmp_path / "second")
    second = FrozenCLIP.from_pretrained(tmp_path / "second")
    pixels = torch.rand(2, 3, 32, 32)
    assert second.digest() == first.digest()
    assert torch.equal(second.encode_image(pixels)[0], first.encode_image(pixels)[0])
    assert second.tokens("blur.") == first.tokens("blur.")


def test_the_words_of_the_vocabulary_are_one_token_each(tiny_clip: FrozenCLIP) -> None:
    assert [len(tiny_clip.tokens(name)) for name in ("animal", "landscape", "blur")] == [1, 1, 1]
    assert len(tiny_clip.tokens("zebra")) == 5  # bytes


@pytest.mark.parametrize(
    ("missing", "named"),
    [("config.json", "config.json"), ("model.safetensors", "model.safetensors"), ("vocab.json", "tokenizer.json")],
)
def test_a_missing_file_is_named(tiny_folder: Path, tmp_path: Path, missing: str, named: str) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(WeightsError, match=rf"copy lacks {named}.*\n.*puts config.json, model.safetensors") as error:
        FrozenCLIP.from_pretrained(folder)
    assert "https://huggingface.co/openai/clip-vit-base-patch16" in str(error.value)


def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(WeightsError, match=r"no backbone folder '\./nowhere'"):
        FrozenCLIP.from_pretrained("./nowhere")


def test_without_network_the_error_says_which_files_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsError, match=r"M.from_pretrained\('nobody/no-clip'\).*give that folder in place of the id"
    ):
        FrozenCLIP.from_pretrained("nobody/no-clip")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"model_type": "bert"}, "is a 'bert' model; MP-IQE needs a CLIP"),
        ({"model_type": "clip", "vision_config": {"layers": [3, 4, 6, 3]}}, "has a ResNet image tower"),
    ],
)
def test_another_kind_of_model_is_refused_by_name(
    tiny_folder: Path, tmp_path: Path, config: dict[str, object], complaint: str
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=complaint):
        FrozenCLIP.from_pretrained(folder)


def test_weights_that_do_not_fit_the_config_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"lack 16 tensors.*layers\.3"):
        FrozenCLIP.from_pretrained(folder)


def test_a_damaged_weight_file_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(WeightsError, match="cannot load the backbone"):
        FrozenCLIP.from_pretrained(folder)


def test_a_backbone_keeps_what_it_learned_from(tiny_folder: Path, tmp_path: Path) -> None:
    clip = FrozenCLIP.from_pretrained(tiny_folder)
    assert clip.pretraining_data == []
    clip.add_pretraining_data([{"data": "livec", "split": 2, "train_on_all": False}])
    clip.save(tmp_path / "once")
    again = FrozenCLIP.from_pretrained(tmp_path / "once")
    again.add_pretraining_data([{"data": "csv:more.csv", "split": 2, "train_on_all": True}])
    again.save(tmp_path / "twice")
    assert [entry["data"] for entry in FrozenCLIP.from_pretrained(tmp_path / "twice").pretraining_data] == [
        "livec",
        "csv:more.csv",
    ]
    assert again.digest() == clip.digest()


def test_the_key_of_earlier_versions_is_read_and_replaced_when_saved(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    config["mpiqe_learnt_from"] = [{"data": "livec", "split": 3, "whole": True}]
    (folder / "config.json").write_text(json.dumps(config))
    clip = FrozenCLIP.from_pretrained(folder)
    assert clip.pretraining_data == [{"data": "livec", "split": 3, "train_on_all": True}]
    clip.add_pretraining_data([{"data": "koniq", "split": 1, "train_on_all": False}])
    clip.save(tmp_path / "new")
    written = json.loads((tmp_path / "new" / "config.json").read_text())
    assert [entry["data"] for entry in written["mpiqe_pretraining_data"]] == ["livec", "koniq"]
    assert "mpiqe_learnt_from" not in written
