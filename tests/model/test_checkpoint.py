import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.conftest import TINY, TINY_OPTIONS

from mpiqe.errors import WeightsError
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, load_checkpoint, read_config, save_checkpoint
from mpiqe.model.compact import create_compact
from mpiqe.model.mpiqe import MPIQE
from mpiqe.view import NATIVE, View


@pytest.fixture
def config(tiny_model: MPIQE, tiny_folder: Path) -> CheckpointConfig:
    return CheckpointConfig(
        options=TINY_OPTIONS,
        backbone=str(tiny_folder),
        backbone_digest=tiny_model.clip.digest(),
        target_mean=55.5,
        target_std=20.25,
        dataset="some photos",
        mos_low=3.4,
        mos_high=92.4,
        metrics={"val_srcc": None},
    )


@pytest.fixture
def saved(tmp_path: Path, tiny_model: MPIQE, config: CheckpointConfig) -> Path:
    save_checkpoint(tmp_path / FILE_NAME, tiny_model, config)
    return tmp_path / FILE_NAME


def test_a_checkpoint_comes_back_as_it_was(
    saved: Path, tiny_model: MPIQE, config: CheckpointConfig, pixels: torch.Tensor
) -> None:
    model, read = load_checkpoint(saved)
    assert read == config
    assert not model.training
    tiny_model.target_mean, tiny_model.target_std = 55.5, 20.25
    with torch.no_grad():
        assert torch.equal(model(pixels).score, tiny_model(pixels).score)


def test_a_checkpoint_holds_the_trained_tensors_and_nothing_of_the_backbone(saved: Path, tiny_model: MPIQE) -> None:
    assert set(load_file(saved)) == {name for name, _ in tiny_model.named_parameters()}
    assert saved.stat().st_size < 300_000
    assert [path.name for path in saved.parent.iterdir()] == [FILE_NAME]


def test_a_run_folder_and_a_backbone_beside_the_checkpoint_are_found(
    tmp_path: Path, tiny_model: MPIQE, config: CheckpointConfig
) -> None:
    tiny_model.clip.save(tmp_path / "backbone")
    save_checkpoint(tmp_path / FILE_NAME, tiny_model, replace(config, backbone="backbone"))
    model, _ = load_checkpoint(tmp_path)
    assert model.clip.digest() == config.backbone_digest


def test_a_moved_backbone_can_be_named(
    tmp_path: Path, tiny_model: MPIQE, config: CheckpointConfig, tiny_folder: Path
) -> None:
    save_checkpoint(tmp_path / FILE_NAME, tiny_model, replace(config, backbone="/gone/away"))
    with pytest.raises(WeightsError, match="no backbone folder '/gone/away'"):
        load_checkpoint(tmp_path)
    load_checkpoint(tmp_path, backbone=tiny_folder)


def test_another_backbone_is_refused(saved: Path, tmp_path: Path) -> None:
    create_compact(tmp_path / "other", words=["blur"], options=TINY, seed=99)
    with pytest.raises(WeightsError, match=r"trained on the backbone .* with digest .*: these are other weights"):
        load_checkpoint(saved, backbone=tmp_path / "other")


@pytest.mark.parametrize("keep", [0, 4, 300, -100])
def test_a_damaged_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"mpiqe.safetensors is no readable safetensors file .*damaged"):
        load_checkpoint(saved)


def test_tensors_that_are_not_finite_are_refused(saved: Path, tiny_model: MPIQE, config: CheckpointConfig) -> None:
    with torch.no_grad():
        tiny_model.decoder.norm.weight[0] = float("nan")
    save_checkpoint(saved, tiny_model, config)
    with pytest.raises(WeightsError, match=r"decoder.norm.weight holds values that are not finite"):
        load_checkpoint(saved)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    save_file({"resnet.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"something else, not an mpiqe checkpoint \(1 tensors, resnet.weight"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r"weights.pth is a pickle; mpiqe reads safetensors only"):
        load_checkpoint(tmp_path / "weights.pth")
    (tmp_path / "weights.pth").rename(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        load_checkpoint(tmp_path / "weights.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_tensors_that_do_not_fit_the_config_are_named(saved: Path, tiny_model: MPIQE, config: CheckpointConfig) -> None:
    save_checkpoint(
        saved, tiny_model, replace(config, options=replace(TINY_OPTIONS, context_length=4, decoder_layers=3))
    )
    with pytest.raises(WeightsError, match=r"does not fit its own config: .*layers.2.* is missing.*\(\d+ in all\)"):
        load_checkpoint(saved)


def _rewrite_config(path: Path, change: dict[str, object]) -> None:
    tensors = load_file(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    values = json.loads(header["__metadata__"]["mpiqe"]) | change
    save_file(tensors, path, {"mpiqe": json.dumps(values)})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "mpiqe-9"}, "has the checkpoint format 'mpiqe-9'; this mpiqe reads 'mpiqe-1'"),
        ({"options": {"windows": "seven"}}, "windows = 'seven': expected int"),
        ({"options": {"rotations": 1}}, "unknown key 'rotations'"),
        ({"mood": "good"}, "the config in .* cannot be used: .*mood"),
        ({"target_mean": "a"}, "target_mean = 'a' is no finite number"),
        ({"target_std": 0.0}, "target_std = 0.0 is not above zero"),
        ({"mos_low": None}, "mos_low = None is no finite number"),
        ({"crops": "8"}, "crops = '8' is no number of crops"),
        ({"backbone": 3}, "backbone = 3 is no text"),
        ({"options": {"context_length": 10**13}}, "context_length=10000000000000 is not between 0 and 77"),
        ({"scenes": ["sea"]}, "was trained for other label names: .*sea"),
    ],
)
def test_a_config_of_another_time_or_hand_is_refused(saved: Path, change: dict[str, object], complaint: str) -> None:
    _rewrite_config(saved, change)
    with pytest.raises(WeightsError, match=complaint):
        load_checkpoint(saved)


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"no checkpoint './nothing'"):
        load_checkpoint("./nothing")
    with pytest.raises(WeightsError, match=rf"no {FILE_NAME} in {tmp_path}"):
        load_checkpoint(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing", "nobody/mpiqe-v1.0"):
        with pytest.raises(WeightsError, match=rf"the hub did not give it .*download mpiqe.safetensors .*{name}"):
            load_checkpoint(name)


def test_an_interrupted_write_leaves_the_old_checkpoint(
    saved: Path, tiny_model: MPIQE, config: CheckpointConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(saved, tiny_model, config)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [FILE_NAME]
    assert read_config(saved) == config


def test_a_checkpoint_keeps_the_view_and_one_of_an_earlier_version_means_native_crops(
    tmp_path: Path, tiny_model: MPIQE, config: CheckpointConfig
) -> None:
    viewed = replace(config, view=View("scaled", 384), crop_mode="grid")
    save_checkpoint(tmp_path / FILE_NAME, tiny_model, viewed)
    assert read_config(tmp_path / FILE_NAME) == viewed
    values = _stored(tmp_path / FILE_NAME)
    assert values["view"] == {"kind": "scaled", "side": 384}
    del values["view"], values["crop_mode"]
    _store(tmp_path / FILE_NAME, values)
    earlier = read_config(tmp_path / FILE_NAME)
    assert (earlier.view, earlier.crop_mode) == (NATIVE, "seeded")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"view": {"kind": "scaled", "side": 0}}, "side must be"), ({"crop_mode": "random"}, "crop_mode = 'random'")],
)
def test_a_view_that_no_run_can_have_written_is_refused(saved: Path, change: dict[str, object], said: str) -> None:
    _store(saved, {**_stored(saved), **change})
    with pytest.raises(WeightsError, match=said):
        read_config(saved)


def _stored(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as file:
        values: dict[str, object] = json.loads(file.metadata()["mpiqe"])
    return values


def _store(path: Path, values: dict[str, object]) -> None:
    save_file(load_file(path), path, {"mpiqe": json.dumps(values)})
