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
from mpiqe.intervals import IntervalModel
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, load_checkpoint, read_config, save_checkpoint
from mpiqe.model.compact import create_compact
from mpiqe.model.mpiqe import MPIQE


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


def test_the_interval_and_the_version_come_back_as_they_were(
    saved: Path, tiny_model: MPIQE, config: CheckpointConfig
) -> None:
    interval = IntervalModel(0.9, 1.5, {"constant": 2.0, "score": 0.25}, (3.5, 80.0), 1.0, 6.0, photos={"livec": 40})
    save_checkpoint(saved, tiny_model, replace(config, version="mpiqe-embedded 3", interval=interval))
    assert read_config(saved).interval == interval
    assert read_config(saved).version == "mpiqe-embedded 3"


def _rewrite(saved: Path, change: dict[str, object], *, without: tuple[str, ...] = ()) -> None:
    with safe_open(saved, framework="pt") as file:
        values = json.loads(file.metadata()["mpiqe"]) | change
    values = {key: value for key, value in values.items() if key not in without}
    save_file(load_file(saved), saved, {"mpiqe": json.dumps(values)})


def test_a_checkpoint_from_before_there_were_intervals_has_none(saved: Path) -> None:
    _rewrite(saved, {}, without=("interval", "version"))
    _, config = load_checkpoint(saved)
    assert config.interval is None
    assert config.version == ""


GOOD = {"level": 0.9, "quantile": 1.0, "score_range": [0.0, 1.0]}


@pytest.mark.parametrize(
    "interval",
    [
        "wide",
        {"level": 0.9},
        {**GOOD, "quantile": -1.0},
        {**GOOD, "quantile": float("nan")},
        {**GOOD, "level": 0.5},
        {**GOOD, "score_range": [1.0, 0.0]},
        {**GOOD, "coefficients": {"weather": 1.0}},
        {**GOOD, "crops": 0},
        {**GOOD, "colour": 1},
    ],
)
def test_an_interval_that_no_calibration_makes_is_refused(saved: Path, interval: object) -> None:
    _rewrite(saved, {"interval": GOOD})
    assert read_config(saved).interval is not None
    _rewrite(saved, {"interval": interval})
    with pytest.raises(WeightsError, match="interval = "):
        read_config(saved)
