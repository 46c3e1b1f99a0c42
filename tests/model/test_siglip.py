import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.full_shape import random_model
from tests.small_siglip import SMALL, siglip_config, small_tokenizer, write_siglip
from torch import Tensor
from transformers import AutoTokenizer, SiglipModel

from mpiqe.errors import WeightsError
from mpiqe.labels import DISTORTIONS
from mpiqe.model.backbone import Backbone
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.liqe import LIQE
from mpiqe.model.options import ModelOptions
from mpiqe.model.prompts import PromptLearner
from mpiqe.runtimes.export import trace

SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of the hub's config.json
    "base-patch16-224": ({}, {}),
    "so400m-patch14-384": ({**SO400M, "image_size": 384, "patch_size": 14}, SO400M),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_siglip(tmp_path_factory.mktemp("backbone") / "small-siglip")


def _ids(names: Sequence[str]) -> Tensor:
    """Texts as SigLIP 2 is given a text: lower case, an end marker, padding up to the last position."""
    tokenizer = small_tokenizer()
    rows = [tokenizer(f"{name.lower()}.", add_special_tokens=False)["input_ids"] for name in names]
    return torch.tensor([[*row, 1, *[0] * (63 - len(row))] for row in rows])


def _compare(theirs: SiglipModel, *, side: int, images: int = 2) -> None:
    """Features, patches and logits of transformers' model, then of ours from the same weights."""
    names = DISTORTIONS[: 5 * images]
    ids = _ids(names)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        prepared = pixels.float() / 127.5 - 1
        answer = theirs(input_ids=ids, pixel_values=prepared)
        pooled, words = answer.vision_model_output.pooler_output, answer.text_model_output.pooler_output
        hidden = answer.vision_model_output.last_hidden_state
        alone = theirs.vision_model.head(hidden[:, 5:6])  # its query can attend to this patch alone
        ours: Backbone = FrozenCLIP(model=theirs, tokenizer=small_tokenizer(), name="siglip")  # takes its weights
        cls, patches = ours.encode_patches(ours.embed(ours.preprocess(pixels)).patches)
        found = ours.encode_text(*PromptLearner(clip=ours, classes=names, length=0)())
        cosines = F.normalize(ours.project(cls), dim=-1) @ F.normalize(found, dim=-1).T
    torch.testing.assert_close(ours.project(cls), pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.project(patches)[:, 5], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, words, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.logit_scale * cosines + ours.logit_bias, answer.logits_per_image, atol=1e-4, rtol=1e-5
    )
    assert pooled.std() > 0.01
    assert words.std() > 0.01


def test_features_equal_transformers_and_logits_have_its_scale_and_bias(folder: Path) -> None:
    _compare(SiglipModel.from_pretrained(folder).eval(), side=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_features_equal_transformers_at_the_full_shape_of(name: str) -> None:
    vision, text = SHAPES[name]
    _compare(random_model(SiglipModel, siglip_config(vision, text)), side=vision.get("image_size", 224), images=1)


def test_texts_are_in_lower_case_and_begin_without_a_marker(folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    assert clip.tokens("Good Photo.") == words("good photo.", add_special_tokens=False)["input_ids"]
    assert words.unk_token_id not in clip.tokens("Good Photo.")
    bank = PromptLearner(clip=clip, classes=["blur"], length=2, class_position="front")
    assert (clip.start_tokens, clip.end_token) == ([], 1)
    assert bank.ids.tolist() == [[*clip.tokens("blur"), 1, 1, *clip.tokens("."), 1]]
    assert bank.slots.tolist() == [[1, 2]]
    assert bank.last.tolist() == [4]


def test_what_stands_behind_an_end_marker_changes_nothing(folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(folder)
    words, last = PromptLearner(clip=clip, classes=["blur", "over-exposure"], length=3)()
    with torch.no_grad():
        alone = clip.encode_text(words, last)
        more = clip.encode_text(F.pad(words, (0, 0, 0, 5), value=3.0), last)
    assert torch.equal(alone, more)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_deep_prompts_enter_its_image_tower_and_are_not_pooled(folder: Path, depth: int, pixels: Tensor) -> None:
    clip = FrozenCLIP.from_pretrained(folder)
    prompts = torch.randn(depth, 3, 64, generator=torch.Generator().manual_seed(0)) if depth else None
    with torch.no_grad():
        plain, prompted = (clip.encode_image(clip.preprocess(pixels), given) for given in (None, prompts))
    assert prompted[1].shape == (3, 16, 64)
    assert torch.equal(plain[0], prompted[0]) == (depth == 0)
    clip.checkpointing = True
    tokens = None if prompts is None else prompts.requires_grad_()
    again = clip.encode_image(clip.preprocess(pixels), tokens)
    torch.testing.assert_close(again[0].detach(), prompted[0])
    if tokens is not None:
        again[0].sum().backward()
        assert tokens.grad is not None
        assert (tokens.grad.abs().sum(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize("method", ["mp-iqe", "liqe", "clip-iqa"])
def test_every_method_stands_on_it_and_its_weights_stay_frozen(folder: Path, method: str, pixels: Tensor) -> None:
    model = build_model(FrozenCLIP.from_pretrained(folder), ModelOptions(method=method, windows=3, decoder_layers=1))  # type: ignore[arg-type]
    output = model(pixels)
    assert output.score.shape == (3,)
    output.score.sum().backward()
    assert not list(model.clip.parameters())
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "visual" in name)
    if isinstance(model, LIQE):
        assert model.fold().shape == (495, 64)


def test_it_is_saved_and_read_again_and_has_one_digest(folder: Path, tmp_path: Path, pixels: Tensor) -> None:
    clip = FrozenCLIP.from_pretrained(folder)
    clip.save(tmp_path / "saved")
    again = FrozenCLIP.from_pretrained(tmp_path / "saved")
    assert again.digest() == clip.digest()
    with torch.no_grad():
        both = [each.encode_image(each.preprocess(pixels))[0] for each in (clip, again)]
    torch.testing.assert_close(*both)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = 2
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
    assert FrozenCLIP.from_pretrained(tmp_path / "saved").digest() != clip.digest()


@pytest.mark.slow
def test_a_graph_of_a_model_on_it_gives_the_same_scores(folder: Path, pixels: Tensor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = build_model(FrozenCLIP.from_pretrained(folder), ModelOptions(windows=3, decoder_layers=1)).eval()
    with torch.no_grad():
        expected = model(pixels).score
    session = onnxruntime.InferenceSession(trace(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["score"], {session.get_inputs()[0].name: pixels.permute(0, 2, 3, 1).numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


def test_naflex_and_what_cannot_compare_images_with_texts_are_refused(folder: Path, tmp_path: Path) -> None:
    for name, change, said in (
        ("naflex", {"model_type": "siglip2"}, "NaFlex kind, whose crops have any shape"),
        ("bare", {"vision_config": {**SMALL, "vision_use_head": False}}, "without its head the image tower has no"),
        ("uneven", {"vision_config": {**SMALL, "hidden_size": 128}}, "texts have features of 64, images of .* = 128"),
        ("heads", {"vision_config": {**SMALL, "num_attention_heads": 5}}, "64 is no multiple of 5 heads"),
    ):
        changed = tmp_path / name
        changed.mkdir()
        for file in folder.iterdir():
            (changed / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (changed / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(WeightsError, match=said):
            FrozenCLIP.from_pretrained(changed)


def test_a_tokenizer_without_padding_is_refused(folder: Path, tmp_path: Path) -> None:
    write_siglip(tmp_path / "siglip")
    file = tmp_path / "siglip" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("pad_token")
    file.write_text(json.dumps(settings))
    (tmp_path / "siglip" / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="pad_token_id = None is no token"):
        FrozenCLIP.from_pretrained(tmp_path / "siglip")
