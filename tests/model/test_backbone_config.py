"""Backbone folders from anywhere: refused in a sentence, or loaded; nothing is built that is out of bounds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_digest import PROMPTED
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_iqa import PAIR
from mpiqe.pretrain.teacher import Teacher

ODD = (None, True, "eight", "\x1b[31m", -1, 0, 10**9, 10**400, 1.5, float("nan"), [], [1], {}, {"a": {}})
NUMBERS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
OF_VISION = (*NUMBERS, "image_size", "patch_size", "num_channels", "layer_norm_eps", "hidden_act", "projection_dim")
OF_TEXT = (*NUMBERS, "vocab_size", "max_position_embeddings", "layer_norm_eps", "hidden_act", "bos_token_id")


@pytest.fixture
def folder(stem_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stem_folder, tmp_path / "copy")


def _change(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def _refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        FrozenCLIP.from_pretrained(folder)
    said = str(caught.value).partition("\nWhat to do:")[0]
    assert said.isprintable(), said
    assert len(said) < 1200, said
    return said


def _fails_only_as_it_should(folder: Path) -> None:
    said = ""
    try:
        FrozenCLIP.from_pretrained(folder)
    except WeightsError as error:
        said = str(error).partition("\nWhat to do:")[0]
    assert said.isprintable()


@pytest.mark.parametrize("part", ["vision_config", "text_config"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_no_value_of_a_config_is_a_traceback(folder: Path, part: str, value: object) -> None:
    whole = json.loads((folder / "config.json").read_text())
    for key in OF_VISION if part == "vision_config" else OF_TEXT:
        (folder / "config.json").write_text(json.dumps({**whole, part: {**whole[part], key: value}}))
        _fails_only_as_it_should(folder)


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_no_part_of_a_config_is_a_traceback(folder: Path, value: object) -> None:
    whole = json.loads((folder / "config.json").read_text())
    for key in (
        "vision_config",
        "text_config",
        "text_config_dict",
        "projection_dim",
        "model_type",
        "mpiqe_pretraining_data",
        "mpiqe_learnt_from",
    ):
        (folder / "config.json").write_text(json.dumps({**whole, key: value}))
        _fails_only_as_it_should(folder)
    for key in ("stem_channels", "stem_blocks"):
        vision = {**whole["vision_config"], key: value}
        (folder / "config.json").write_text(json.dumps({**whole, "vision_config": vision}))
        _fails_only_as_it_should(folder)


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        (
            "vision_config",
            "num_hidden_layers",
            10**9,
            "num_hidden_layers = 1000000000 is no whole number from 1 to 128",
        ),
        ("text_config", "vocab_size", 10**12, "vocab_size = 1000000000000 is no whole number"),
        ("text_config", "num_hidden_layers", 128, r"it asks for [\d,]+ numbers or more, over the [\d,]+ bytes"),
        ("vision_config", "layer_norm_eps", True, "layer_norm_eps = True is no number"),
        ("vision_config", "hidden_act", "os.system", "hidden_act = 'os.system' is not one of quick_gelu"),
        ("vision_config", "num_attention_heads", 7, "hidden_size = 64 is no multiple of 7 heads"),
        (
            "vision_config",
            "stem_channels",
            [8, 16, 32],
            r"stem_channels = \[8, 16, 32\] do not end with the hidden_size",
        ),
        ("vision_config", "stem_blocks", [0, 4000, 0], "are more than 64 in a stage"),
        ("vision_config", "patch_size", 2, "cannot be halved by 3 stages"),
    ],
)
def test_a_value_out_of_bounds_is_named_before_anything_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, key: str, value: object, said: str
) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("it was built")

    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", build)
    _change(folder / "config.json", lambda config: {**config, part: {**config[part], key: value}})
    with pytest.raises(WeightsError, match=said):
        FrozenCLIP.from_pretrained(folder)


def test_more_labels_than_memory_are_not_made(folder: Path) -> None:
    _change(folder / "config.json", lambda config: {**config, "num_labels": 10**9, "quantization_config": {"a": 1}})
    FrozenCLIP.from_pretrained(folder)
    with pytest.raises(WeightsError, match="num_labels = 1000000000 is over 10,000,000"):
        Teacher.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "text", ["", "null", '"clip"', "[]", "7", "{", "[" * 100_000, '{"a":' * 2000 + "1" + "}" * 2000]
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "vocab.json", "special_tokens_map.json"])
def test_a_file_that_is_no_json_object_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert name in _refusal(folder)


@pytest.mark.parametrize("where", ["", "vision_config", "text_config"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["kernels-community/flash-attn2", "evil/kernel@main:run", {"": "evil/kernel"}])
def test_an_attention_from_a_hub_is_never_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str, key: str, value: object
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("it was fetched")

    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", fetch)
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", fetch)
    _change(
        folder / "config.json",
        lambda config: {**config, where: {**config[where], key: value}} if where else {**config, key: value},
    )
    assert "attn_implementation" in _refusal(folder)
    with pytest.raises(WeightsError, match=r"attn_implementation = .* is not one of transformers' own"):
        Teacher.from_pretrained(str(folder))


def test_an_attention_of_transformers_own_changes_nothing(folder: Path, stem_folder: Path) -> None:
    _change(folder / "config.json", lambda config: {**config, "attn_implementation": "flash_attention_2"})
    pixels = torch.rand(1, 3, 32, 32)
    one, other = FrozenCLIP.from_pretrained(folder), FrozenCLIP.from_pretrained(stem_folder)
    assert torch.equal(one.encode_image(pixels)[0], other.encode_image(pixels)[0])
    assert one.digest() == other.digest()


def test_an_adapter_is_not_followed_to_another_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    assert "holds adapter_config.json" in _refusal(folder)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({}, "weight_map = None names no tensor's file"),
        ({"weight_map": {}}, "names no tensor's file"),
        ({"weight_map": {"a": "b.safetensors"}}, "'b.safetensors' is no file of this folder"),
        ({"weight_map": {"a": "../other.safetensors"}}, "'../other.safetensors' is no file of this folder"),
        ({"weight_map": {"a": 7}}, "'7' is no file of this folder"),
    ],
)
def test_an_index_without_its_parts_is_refused(folder: Path, index: dict[str, Any], said: str) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert said in _refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda tokens: {**tokens, "bos_token": None},
        lambda tokens: {**tokens, "eos_token": ["<|endoftext|>"]},
        lambda tokens: {**tokens, "tokenizer_class": "No" * 9},
        lambda tokens: {**tokens, "tokenizer_class": {"a": 1}},
        lambda tokens: {**tokens, "added_tokens_decoder": {"a": 7}},
        lambda tokens: {**tokens, "vocab_file": "/dev/zero"},
        lambda tokens: {**tokens, "extra_special_tokens": 5},
        lambda tokens: {**tokens, "model_max_length": "many"},
    ],
)
def test_odd_settings_of_a_tokenizer_are_no_traceback(folder: Path, change: Callable[[Any], Any]) -> None:
    _change(folder / "tokenizer_config.json", change)
    _fails_only_as_it_should(folder)


def test_ids_that_the_text_tower_has_no_place_for_are_refused(folder: Path) -> None:
    _change(folder / "vocab.json", lambda vocabulary: {word: 5000 + at for at, word in enumerate(vocabulary)})
    assert "not ids below the text tower's vocab_size" in _refusal(folder)


def test_a_tokenizer_file_without_its_parts_is_no_traceback(folder: Path, tmp_path: Path) -> None:
    FrozenCLIP.from_pretrained(folder).save(tmp_path / "saved")
    whole = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    for key in whole:
        for value in (None, 7, "a", {}, []):
            (tmp_path / "saved" / "tokenizer.json").write_text(json.dumps({**whole, key: value}))
            _fails_only_as_it_should(tmp_path / "saved")
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    endless = {**whole, "normalizer": {"type": "Sequence", "normalizers": [double] * 60}}
    (tmp_path / "saved" / "tokenizer.json").write_text(json.dumps(endless))
    assert "its normalizer has over 8 steps" in _refusal(tmp_path / "saved")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_config", "layer_norm_eps", 1e-3),
        ("vision_config", "hidden_act", "relu"),
        ("text_config", "hidden_act", "quick_gelu"),
        ("text_config", "num_attention_heads", 4),
        ("vision_config", "num_attention_heads", 4),
    ],
)
def test_the_digest_is_of_the_settings_too(folder: Path, part: str, key: str, value: object) -> None:
    before = FrozenCLIP.from_pretrained(folder)
    _change(folder / "config.json", lambda config: {**config, part: {**config[part], key: value}})
    after = FrozenCLIP.from_pretrained(folder)
    assert after.digest() != before.digest()
    assert after.digest().split(":")[1] == before.digest().split(":")[1]  # the weights are the same


def test_the_digest_is_of_the_tokenizer_too(folder: Path) -> None:
    before = FrozenCLIP.from_pretrained(folder).digest()
    merges = (folder / "merges.txt").read_text().splitlines()
    (folder / "merges.txt").write_text("\n".join(merges[: len(merges) // 2]) + "\n")
    assert FrozenCLIP.from_pretrained(folder).digest() != before


def test_the_digest_is_not_of_how_settings_are_written_down(folder: Path) -> None:
    before = FrozenCLIP.from_pretrained(folder).digest()
    _change(folder / "config.json", lambda config: {"note": "mine", "transformers_version": "4.45.0", **config})
    assert FrozenCLIP.from_pretrained(folder).digest() == before


def test_every_text_of_a_prompt_is_in_the_digest() -> None:
    assert set(PAIR) <= set(PROMPTED)


def test_a_flipped_bit_of_a_weight_is_seen(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1001] ^= 1
    file.write_bytes(content)
    assert "model.safetensors is damaged: the digest" in _refusal(folder)
    save_file(load_file(file), file, {"format": "pt"})  # as others write it: without a digest
    FrozenCLIP.from_pretrained(folder)
