import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from mpiqe.errors import WeightsError
from mpiqe.model.clip import CLIP_MEAN, CLIP_STD
from mpiqe.pretrain.teacher import Teacher

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def crops() -> Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _save(folder: Path, make: Callable[[], Any]) -> Any:
    """A model of random weights, in a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
    model.save_pretrained(folder)
    return model


def _vit() -> Any:
    return transformers.ViTModel(transformers.ViTConfig(**SMALL))


def _normalised(crops: Tensor, mean: Any, std: Any) -> Tensor:
    return (crops.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


PLAIN = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.slow
def test_a_convolutional_network_gives_its_pooled_feature_its_map_and_the_deepest_map_of_each_side(
    tmp_path: Path, crops: Tensor
) -> None:
    config = transformers.MobileNetV2Config(depth_multiplier=0.1, image_size=32)
    theirs = _save(tmp_path, lambda: transformers.MobileNetV2Model(config))
    with torch.no_grad():
        seen = theirs(_normalised(crops, *PLAIN), output_hidden_states=True)
    teacher = Teacher.from_pretrained(str(tmp_path))
    found = teacher.features(crops, grid=1, hints=(8, 4, 5))
    assert set(found) == {"cls", "patches", "hint4", "hint8"}  # no map has side 5
    torch.testing.assert_close(found["cls"], seen.pooler_output)
    torch.testing.assert_close(found["patches"], seen.last_hidden_state)
    for side in (8, 4):
        maps = [state for state in seen.hidden_states if state.shape[-1] == side]
        assert len(maps) > 1
        torch.testing.assert_close(found[f"hint{side}"], maps[-1])
    assert set(teacher.features(crops, grid=1)) == {"cls", "patches"}
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_a_map_of_another_side_is_averaged_or_repeated_to_the_grid(tmp_path: Path, crops: Tensor) -> None:
    _save(tmp_path, _vit)
    teacher = Teacher.from_pretrained(str(tmp_path))
    four, two, eight = (teacher.features(crops, grid=grid)["patches"] for grid in (4, 2, 8))
    assert (four.shape, two.shape, eight.shape) == ((2, 16, 4, 4), (2, 16, 2, 2), (2, 16, 8, 8))
    torch.testing.assert_close(two[:, :, 0, 1], four[:, :, :2, 2:].mean(dim=(2, 3)))
    torch.testing.assert_close(eight[:, :, 4:6, 2:4], four[:, :, 2:3, 1:2].expand(-1, -1, 2, 2))


def test_a_vits_patches_stand_in_rows_and_columns(tmp_path: Path, crops: Tensor) -> None:
    theirs = _save(tmp_path, _vit)
    with torch.no_grad():
        seen = theirs(pixel_values=_normalised(crops, *PLAIN))
    found = Teacher.from_pretrained(str(tmp_path)).features(crops, grid=4, hints=(8,))
    assert set(found) == {"cls", "patches"}  # tokens are no earlier maps
    torch.testing.assert_close(found["cls"], seen.pooler_output)
    for row in range(4):
        for column in range(4):
            token = 1 + 4 * row + column
            torch.testing.assert_close(found["patches"][:, :, row, column], seen.last_hidden_state[:, token])


@pytest.mark.parametrize("registers", [0, 3])
def test_dinos_registers_are_no_patches(tmp_path: Path, crops: Tensor, registers: int) -> None:
    if registers:
        if not hasattr(transformers, "Dinov2WithRegistersModel"):
            pytest.skip(f"transformers {transformers.__version__} has no DINOv2 with registers")
        config = transformers.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=registers)
        theirs = _save(tmp_path, lambda: transformers.Dinov2WithRegistersModel(config))
    else:
        theirs = _save(tmp_path, lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SMALL)))
    with torch.no_grad():
        seen = theirs(_normalised(crops, *PLAIN))
    found = Teacher.from_pretrained(str(tmp_path)).features(crops, grid=4)
    assert seen.last_hidden_state.shape[1] == 1 + registers + 16
    torch.testing.assert_close(found["cls"], seen.last_hidden_state[:, 0])
    expected = seen.last_hidden_state[:, 1 + registers :].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(found["patches"], expected)


@pytest.mark.parametrize("towers", ["both", "image"])
def test_of_a_clip_the_image_tower_teaches_with_clips_mean_and_deviation(
    tmp_path: Path, crops: Tensor, towers: str
) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    both = transformers.CLIPConfig(vision_config=SMALL, text_config={**text, "vocab_size": 50}, projection_dim=8)
    image = transformers.CLIPVisionConfig(**SMALL)
    theirs = _save(
        tmp_path,
        lambda: transformers.CLIPModel(both) if towers == "both" else transformers.CLIPVisionModel(image),
    )
    tower = getattr(theirs, "vision_model", theirs)
    with torch.no_grad():
        seen = tower(pixel_values=_normalised(crops, CLIP_MEAN, CLIP_STD))
    teacher = Teacher.from_pretrained(str(tmp_path))
    found = teacher.features(crops, grid=4)
    assert not any("text" in name for name, _ in teacher.model.named_parameters())
    torch.testing.assert_close(found["cls"], seen.pooler_output)
    torch.testing.assert_close(found["patches"].flatten(2).transpose(1, 2), seen.last_hidden_state[:, 1:])


def test_a_preprocessor_file_says_mean_and_deviation(tmp_path: Path, crops: Tensor) -> None:
    theirs = _save(tmp_path, _vit)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with torch.no_grad():
        seen = theirs(_normalised(crops, said["image_mean"], said["image_std"]))
    found = Teacher.from_pretrained(str(tmp_path)).features(crops, grid=4)
    torch.testing.assert_close(found["cls"], seen.pooler_output)


def test_crops_of_another_size_than_the_models_are_resampled(tmp_path: Path, crops: Tensor) -> None:
    theirs = _save(tmp_path, _vit)
    large = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    resampled = F.interpolate(_normalised(large, *PLAIN), size=32, mode="bicubic", antialias=True)
    with torch.no_grad():
        seen = theirs(resampled)
    found = Teacher.from_pretrained(str(tmp_path)).features(large, grid=4)
    torch.testing.assert_close(found["cls"], seen.pooler_output)
    assert found["patches"].shape == (2, 16, 4, 4)


def test_a_pooler_that_the_file_lacks_is_not_made_up(tmp_path: Path, crops: Tensor) -> None:
    theirs = _save(tmp_path, lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)))
    with torch.no_grad():
        seen = theirs.vit(_normalised(crops, *PLAIN))
    found = Teacher.from_pretrained(str(tmp_path)).features(crops, grid=4)
    torch.testing.assert_close(found["cls"], seen.last_hidden_state[:, 0])


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    _save(tmp_path, _vit)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"lack 16 tensors.*layers?\.2\..*damaged or belongs to another config"):
        Teacher.from_pretrained(str(tmp_path))


def test_a_model_that_sees_nothing_is_refused_by_its_kind(tmp_path: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key not in ("image_size", "patch_size")}
    _save(tmp_path, lambda: transformers.BertModel(transformers.BertConfig(**small, vocab_size=20)))
    with pytest.raises(WeightsError, match=r"is a 'bert' model; give the hub id or the folder"):
        Teacher.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_damaged_file_is_refused_with_the_next_step(tmp_path: Path, damage: str) -> None:
    _save(tmp_path, _vit)
    (tmp_path / damage).write_text('{"half')
    with pytest.raises(WeightsError, match=r"cannot load the teacher .*; give the hub id or the folder"):
        Teacher.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "nobody/no-model"])
def test_what_is_not_there_is_refused_with_the_next_step(source: str) -> None:
    with pytest.raises(WeightsError, match=rf"cannot load the teacher '{source}': .*; give the hub id or the folder"):
        Teacher.from_pretrained(source)


@pytest.mark.slow
def test_hub_ids_are_read_from_the_cache_without_network(tmp_path: Path) -> None:
    for name, said in (("plain", None), ("told", [0.1, 0.2, 0.3])):
        repository = tmp_path / "hub" / f"models--nobody--{name}"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        _save(snapshot, _vit)
        if said:
            (snapshot / "preprocessor_config.json").write_text(json.dumps({"image_mean": said}))
    code = (
        "from mpiqe.pretrain.teacher import Teacher;"
        "print([Teacher.from_pretrained(f'nobody/{name}')._mean.flatten().tolist() for name in ('plain', 'told')])"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment = {
        key: value for key, value in environment.items() if key not in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE")
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    plain, told = json.loads(done.stdout)
    assert plain == [0.5, 0.5, 0.5]
    assert told == pytest.approx([0.1, 0.2, 0.3])


def test_the_projects_own_teacher_fits_the_compact_backbones_maps(shared: Path) -> None:
    folder = shared / "data" / "mobilenet_v2_teacher"
    if not folder.is_dir():
        pytest.skip(f"needs the published weights in {folder}")
    crops = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = Teacher.from_pretrained(str(folder)).features(crops, grid=7, hints=(14, 28))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "cls": (1, 1280),
        "patches": (1, 1280, 7, 7),
        "hint14": (1, 96, 14, 14),
        "hint28": (1, 32, 28, 28),
    }
