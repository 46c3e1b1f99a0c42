import sys
from pathlib import Path

import pytest
import torch

from mpiqe.errors import ConfigError
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.lora import LAYERS, is_change
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.options import ModelOptions

pytest.importorskip("peft", reason="needs peft: pip install -e '.[test]'")
SETTINGS = {"windows": 3, "decoder_layers": 1}


def _model(folder: Path, **changes: object) -> MPIQE:
    model = build_model(FrozenCLIP.from_pretrained(folder), ModelOptions(**{**SETTINGS, **changes}), seed=1)
    assert isinstance(model, MPIQE)
    return model.eval()


def _learn(model: MPIQE) -> None:
    """Give every change a value."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_changes_stand_beside_every_product_of_the_image_tower_and_nowhere_else(tiny_folder: Path) -> None:
    model = _model(tiny_folder, tune="lora", lora_rank=3)
    names = dict(model.clip.named_parameters())
    assert len(names) == 2 * len(LAYERS) * model.clip.vision_layers
    assert all(is_change(name) and "vision_model.encoder.layers" in name for name in names)
    width, hidden = 64, model.clip.clip.config.vision_config.intermediate_size
    each = 4 * 3 * (width + width) + 2 * 3 * (width + hidden)
    assert sum(parameter.numel() for parameter in names.values()) == each * model.clip.vision_layers
    assert not any(is_change(name) for name, _ in model.clip.named_buffers())


def test_nothing_changes_until_it_is_trained_and_what_else_is_trained_begins_as_without(
    tiny_folder: Path, pixels: torch.Tensor
) -> None:
    plain, lora = _model(tiny_folder), _model(tiny_folder, tune="lora")
    own = {name: value for name, value in lora.named_parameters() if not is_change(name)}
    assert all(torch.equal(own.pop(name), value) for name, value in plain.named_parameters())
    assert not own
    with torch.no_grad():
        assert torch.equal(lora(pixels).score, plain(pixels).score)
        _learn(lora)
        assert not torch.allclose(lora(pixels).score, plain(pixels).score, atol=1e-4)


def test_merged_changes_give_the_same_scores_and_leave_the_published_layers(
    tiny_folder: Path, pixels: torch.Tensor
) -> None:
    model = _model(tiny_folder, tune="lora", lora_rank=4, lora_alpha=6)
    _learn(model)
    weight = model.clip.clip.vision_model.encoder.layers[0].self_attn.q_proj
    before, change = weight.base_layer.weight.clone(), weight.lora_B["default"].weight @ weight.lora_A["default"].weight
    with torch.no_grad():
        expected = model(pixels)
        assert model.clip.has_lora
        model.clip.fuse()
        torch.testing.assert_close(model(pixels).score, expected.score, rtol=0, atol=1e-5)
    assert not model.clip.has_lora
    merged = model.clip.clip.vision_model.encoder.layers[0].self_attn.q_proj
    assert type(merged) is torch.nn.Linear
    torch.testing.assert_close(merged.weight, before + 6 / 4 * change.detach())
    assert not list(model.clip.parameters())


def test_the_backbone_keeps_its_digest_beside_changes(tiny_folder: Path) -> None:
    plain, lora = FrozenCLIP.from_pretrained(tiny_folder), _model(tiny_folder, tune="lora")
    assert lora.clip.digest() == plain.digest()
    assert set(lora.clip.weights()) == set(plain.weights())


def test_what_lora_needs_is_said(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"lora_rank=0 is not between 1 and 1024; lora_alpha=0.0 must be above zero"):
        _model(tiny_folder, lora_rank=0, lora_alpha=0.0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"comes with the extra \[lora\]: pip install 'mpiqe\[lora\]'"):
        _model(tiny_folder, tune="lora")
