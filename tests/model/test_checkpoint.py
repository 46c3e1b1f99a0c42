import json
import pickle
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.tiny import TINY, TINY_OPTIONS

from mpiqe.errors import WeightsError
from mpiqe.intervals import IntervalModel
from mpiqe.model.checkpoint import (
    FILE_NAME,
    CheckpointConfig,
    load_checkpoint,
    load_tensors,
    read_config,
    save_checkpoint,
)
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


def test_settings_are_read_by_the_names_that_earlier_versions_gave_them(
    tmp_path: Path, tiny_model: MPIQE, config: CheckpointConfig
) -> None:
    old, new = ({"seed": 3, names[0]: True, names[1]: ["csv:a.csv"]} for names in _NAMES)
    save_checkpoint(tmp_path / FILE_NAME, tiny_model, replace(config, training=old))
    assert read_config(tmp_path / FILE_NAME).training == new


_NAMES = (("whole", "also"), ("train_on_all", "extra_data"))


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
        ({"crops": True}, "crops = True is no number of crops"),
        ({"mos_low": 93.0}, "mos_low = 93.0 is above mos_high = 92.4"),
        ({"mos_high": 10**400}, "the config in .* cannot be used"),
        ({"training": 3}, "training = 3 is no object"),
        ({"options": {"window_temperature": 10**400}}, "window_temperature = "),
        ({"\x1b[31mmood": 1}, r"cannot be used: .*\\x1b\[31mmood"),
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


def test_a_config_that_is_nested_too_deeply_is_refused(saved: Path) -> None:
    for levels in (100, 100_000):
        save_file(
            load_file(saved), saved, {"mpiqe": '{"format":"mpiqe-1","training":' + "[" * levels + "]" * levels + "}"}
        )
        with pytest.raises(WeightsError, match="nested more than 64 levels deep"):
            read_config(saved)


def test_no_flipped_bit_of_a_checkpoint_changes_what_it_computes(
    saved: Path, config: CheckpointConfig, tiny_model: MPIQE
) -> None:
    whole = saved.read_bytes()
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    # every 53rd byte of the header, where config and shapes stand, and some of the tensors
    for place in (*range(8, start, 53), *range(start, len(whole), (len(whole) - start) // 60)):
        content = bytearray(whole)
        content[place] ^= 1 << (place % 7)
        saved.write_bytes(content)
        try:
            read = read_config(saved)
            load_tensors(tiny_model, saved)
        except WeightsError:
            continue
        assert (read, place < start) == (config, True)  # a letter of the digest's own key


def test_a_checkpoint_without_a_digest_is_read_as_before(saved: Path, config: CheckpointConfig) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    assert set(metadata) == {"mpiqe", "mpiqe_digest"}
    save_file(load_file(saved), saved, {"mpiqe": metadata["mpiqe"]})
    assert load_checkpoint(saved)[1] == config


@pytest.mark.slow
def test_the_same_checkpoint_has_the_same_bytes(saved: Path, tiny_model: MPIQE, config: CheckpointConfig) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from mpiqe.model.tensor_files import write_safetensors; "
        "write_safetensors(Path(sys.argv[1]), {'b': torch.ones(2), 'a': torch.ones(3)}, {'c': 'd', 'e': 'f'})"
    )
    written = []
    for name in "xy":
        subprocess.run([sys.executable, "-c", code, str(saved.with_name(name))], check=True)
        written.append(saved.with_name(name).read_bytes())
    assert written[0] == written[1]


def test_a_checkpoint_with_the_digest_of_mpiqe_0_1_is_read_by_the_rule_of_then(
    saved: Path, tiny_model: MPIQE, config: CheckpointConfig, tmp_path: Path, tiny_folder: Path
) -> None:
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    values = json.loads((moved / "config.json").read_text())
    values["vision_config"]["layer_norm_eps"] = 1e-2
    (moved / "config.json").write_text(json.dumps(values))
    with pytest.raises(
        WeightsError, match=r"the same weights, but config.json or the tokenizer computes something else"
    ):
        load_checkpoint(saved, backbone=moved)
    save_checkpoint(saved, tiny_model, replace(config, backbone_digest=config.backbone_digest.split(":")[1]))
    load_checkpoint(saved)
    load_checkpoint(saved, backbone=moved)  # that digest is of the weights alone


def test_control_sequences_in_a_checkpoint_are_escaped(saved: Path) -> None:
    _rewrite_config(saved, {"dataset": "\x1b]0;owned\x07", "split": "\x1b[2J"})
    config = read_config(saved)
    assert config.dataset.isprintable()
    assert config.split.isprintable()
    save_file({"\x1b[31mred": torch.zeros(2)}, saved)
    with pytest.raises(WeightsError) as caught:
        read_config(saved)
    assert str(caught.value).isprintable()


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
