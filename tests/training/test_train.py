import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import TINY

import mpiqe
from mpiqe import metrics
from mpiqe.data import choose_split, read_csv
from mpiqe.data.crop_dataset import CropDataset
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError, DatasetError, WeightsError
from mpiqe.model.checkpoint import read_config
from mpiqe.model.compact import create_compact
from mpiqe.training import train as module
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train
from mpiqe.view import View

SMALL = {
    "windows": 3,
    "decoder_layers": 1,
    "crops": 2,
    "batch_size": 4,
    "epochs": 4,
    "warmup_epochs": 1,
    "learning_rate": 1e-2,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
}


def _settings(rated_photos: Path, tiny_folder: Path, **changes: object) -> dict[str, object]:
    return {**SMALL, "data": f"csv:{rated_photos}", "backbone": str(tiny_folder), **changes}


def _train(folder: Path, settings: dict[str, object], **how: bool) -> dict[str, float | None]:
    return train(resolve(settings), RunFolder(folder), reporter=Silent(), **how)


def _command(folder: Path, settings: dict[str, object], *more: str) -> list[str]:
    flags = [text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "mpiqe", "train", "--out", str(folder), *flags, *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """Four epochs straight."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    _train(folder, _settings(rated_photos, tiny_folder))
    return folder


@pytest.fixture(scope="module")
def after_one_epoch(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """A run of one epoch, to be copied by what continues or damages it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    _train(folder, _settings(rated_photos, tiny_folder, epochs=1))
    return folder


def test_a_run_folder_holds_all_that_is_needed_to_repeat_it(finished: Path) -> None:
    config = json.loads((finished / "config.json").read_text())
    assert config["settings"]["seed"] == 0
    assert config["settings"]["learning_rate"] == 1e-2
    assert len(config["data_digest"]) == 64
    assert config["versions"]["torch"] == torch.__version__
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for key in ("loss", "loss_scene", "loss_distortion", "loss_score", "learning_rate", "val_srcc", "val_plcc"):
        assert isinstance(rows[-1][key], float), key
    assert rows[-1]["images_per_second"] > 0
    assert rows[-1]["peak_memory_mb"] > 0


def test_training_lowers_the_loss(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1  # 4.22 to 3.98 when this was written


def test_the_test_figures_can_be_recomputed_from_the_predictions(finished: Path) -> None:
    with (finished / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = json.loads((finished / "test.json").read_text())
    scores, mos = ([float(row[key]) for row in rows] for key in ("score", "mos"))
    assert figures["count"] == len(rows) == 4  # one of the four references is the test side
    assert figures["srcc"] == metrics.srcc(scores, mos)
    assert read_config(finished / "mpiqe.safetensors").metrics["test_srcc"] == figures["srcc"]


def test_a_run_is_a_function_of_its_seed(finished: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    _train(tmp_path / "again", _settings(rated_photos, tiny_folder, workers=1))
    _train(tmp_path / "other", _settings(rated_photos, tiny_folder, seed=1))
    first, again, other = (
        load_file(folder / "mpiqe.safetensors") for folder in (finished, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.slow  # test_sets.py stops a run within this process and continues it to the same bits
def test_a_killed_and_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    settings = _settings(rated_photos, tiny_folder, epochs=20)
    _train(straight, settings)
    process = subprocess.Popen(_command(folder, settings), stderr=subprocess.DEVNULL)
    metrics_file, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not (metrics_file.exists() and metrics_file.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    epochs = metrics_file.read_text().count("\n")
    assert 2 <= epochs < 20, "the kill came too late to mean anything"
    _train(folder, settings, resume=True)
    expected, after = (load_file(run / "mpiqe.safetensors") for run in (straight, folder))
    assert expected.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in expected.items())
    assert [json.loads(line)["epoch"] for line in metrics_file.read_text().splitlines()] == [*range(1, 21)]
    assert (folder / "predictions.csv").read_bytes() == (straight / "predictions.csv").read_bytes()
    assert list(folder.glob("*.part")) == []


@pytest.mark.slow
def test_ctrl_c_leaves_a_whole_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    folder = tmp_path / "run"
    settings = _settings(rated_photos, tiny_folder, epochs=5000)
    process = subprocess.Popen(_command(folder, settings), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    assert read_config(folder / "mpiqe.safetensors").metrics["epoch"] >= 1


def test_a_batch_in_parts_gives_the_whole_batchs_gradient(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "parts", _settings(rated_photos, tiny_folder, accumulation=3, epochs=1))
    parts, whole = (load_file(run / "mpiqe.safetensors") for run in (tmp_path / "parts", after_one_epoch))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1)
    _train(tmp_path / "one", settings)
    arguments = _command(tmp_path / "two", settings)[2:]  # without `python -m`
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, "-m", *arguments], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.count("SRCC") == 1
    assert done.stderr.count("images to train on") == 1
    one, two = (load_file(tmp_path / name / "mpiqe.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        if not name.endswith("key.bias"):  # a softmax does not see it, so its gradient is rounding, which Adam enlarges
            torch.testing.assert_close(two[name], tensor, atol=2e-4, rtol=0, msg=name)
    assert (tmp_path / "two" / "predictions.csv").read_text().count("\n") == 5


@pytest.mark.slow
def test_the_best_validation_epoch_is_kept_when_asked_for(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epoch="val"))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val_srcc"])  # the first of equals
    kept = read_config(tmp_path / "run" / "mpiqe.safetensors").metrics
    assert (kept["epoch"], kept["val_srcc"]) == (best["epoch"], best["val_srcc"])


def test_the_whole_training_side_trains_without_validation(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, validation=False))
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["val_srcc"] is None
    assert json.loads((tmp_path / "run" / "test.json").read_text())["count"] == 4


@pytest.mark.parametrize(
    "change",
    [
        {"scene_prompts": False},
        {"batch_unit": "images", "mix_crops": False},
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                {"distortion_prompts": False},
                {"visual_depth": 0},
                {"target": "raw"},
                {"batch_unit": "images"},
                {"mix_crops": False},
            )
        ),
    ],
)
def test_every_variant_trains(tmp_path: Path, rated_photos: Path, tiny_folder: Path, change: dict[str, object]) -> None:
    figures = _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, **change))
    assert figures["count"] == 4


@pytest.mark.slow
def test_a_run_in_bf16_on_a_cpu_without_it_says_that_it_is_slow(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    notes: list[str] = []
    reporter = Silent()
    monkeypatch.setattr(reporter, "note", notes.append)
    settings = _settings(rated_photos, tiny_folder, precision="bf16", epochs=1, warmup_epochs=0)
    train(resolve(settings), RunFolder(tmp_path), reporter=reporter)
    assert any("no bf16 instructions" in note for note in notes)


def test_raw_targets_start_at_the_mean_rating(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, target="raw", learning_rate=1e-9))
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert scores == pytest.approx([50.5] * 4, abs=8)  # ratings lie around 50 on a scale of 0 to 100


def test_a_folder_with_a_run_is_not_overwritten(finished: Path, rated_photos: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        _train(finished, _settings(rated_photos, tiny_folder))


def test_a_folder_that_no_run_can_begin_in_is_refused_before_anything_is_read(
    finished: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_dataset", lambda *_, **__: pytest.fail("the photos are read"))
    (tmp_path / "file").touch()
    for folder in (finished, tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=r"already holds a run|is no folder"):
            _train(folder, _settings(rated_photos, tiny_folder))


def test_what_is_said_of_an_interrupted_run_is_what_can_be_done(tmp_path: Path, after_one_epoch: Path) -> None:
    assert "the same command begins again" in RunFolder(tmp_path / "run").how_to_go_on("train")
    RunFolder(tmp_path / "run").start({})
    assert "--resume --out" in RunFolder(tmp_path / "run").how_to_go_on("train")
    assert "holds the last whole epoch" in RunFolder(after_one_epoch).how_to_go_on("train")


def test_a_run_is_not_resumed_with_other_settings(finished: Path, rated_photos: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be continued: seed was 0 and is 4 now"):
        _train(finished, _settings(rated_photos, tiny_folder, seed=4), resume=True)


def test_a_run_is_resumed_by_the_names_that_earlier_versions_gave_settings(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings, folder = _settings(rated_photos, tiny_folder, epochs=1), tmp_path / "run"
    shutil.copytree(after_one_epoch, folder)
    config = json.loads((folder / "config.json").read_text())
    for old, new in (("whole", "train_on_all"), ("also", "extra_data")):
        config["settings"][old] = config["settings"].pop(new)
    (folder / "config.json").write_text(json.dumps(config))
    _train(folder, settings, resume=True)
    config["settings"]["whole"] = True
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"cannot be continued: train_on_all was True and is False now"):
        _train(folder, settings, resume=True)


def test_a_damaged_state_is_refused(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1)
    shutil.copytree(after_one_epoch, tmp_path / "run")
    state = tmp_path / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"state.safetensors cannot be resumed from: damaged"):
        _train(tmp_path / "run", settings, resume=True)


@pytest.mark.parametrize(
    "damage",
    ["a bit", *(pytest.param(how, marks=pytest.mark.slow) for how in ("cut", "gone", "a config that is none"))],
)
def test_a_damaged_checkpoint_of_a_finished_run_is_written_anew_from_the_state(
    finished: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path, damage: str
) -> None:
    settings, folder = _settings(rated_photos, tiny_folder), tmp_path / "run"
    shutil.copytree(finished, folder)
    file = folder / "mpiqe.safetensors"
    whole, test = file.read_bytes(), (folder / "test.json").read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "a config that is none":
        file.write_bytes(whole.replace(b"mpiqe-1", b"mpiqe-x"))
    else:
        file.write_bytes(whole[:5000] if damage == "cut" else whole[:-5] + bytes([whole[-5] ^ 16]) + whole[-4:])
    notes: list[str] = []
    reporter = Silent()
    reporter.note = notes.append  # type: ignore[method-assign]
    train(resolve(settings), RunFolder(folder), resume=True, reporter=reporter)
    assert any("mpiqe.safetensors is damaged or missing; it is written anew" in note for note in notes)
    assert file.read_bytes() == whole
    assert (folder / "test.json").read_bytes() == test


@pytest.mark.slow
def test_a_damaged_checkpoint_of_an_epoch_that_the_state_does_not_hold_is_told(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings, folder = _settings(rated_photos, tiny_folder, epoch="val", epochs=2), tmp_path / "run"
    _train(folder, settings)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows[0]["val_srcc"], rows[1]["val_srcc"] = 0.9, 0.1
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mpiqe.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="It held the weights of the best epoch"):
        _train(folder, settings, resume=True)


def test_a_state_with_a_flipped_bit_is_refused(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1)
    shutil.copytree(after_one_epoch, tmp_path / "run")
    state = tmp_path / "run" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-3] ^= 4
    state.write_bytes(content)
    with pytest.raises(WeightsError, match=r"state.safetensors cannot be resumed from: damaged"):
        _train(tmp_path / "run", settings, resume=True)


@pytest.mark.slow
def test_a_run_of_mpiqe_0_1_is_resumed_by_its_digest_of_the_weights_alone(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "backbone")
    settings, folder = _settings(rated_photos, backbone, epochs=1), tmp_path / "run"
    _train(folder, settings)
    config = json.loads((folder / "config.json").read_text())
    new = config["backbone_digest"]
    (folder / "config.json").write_text(json.dumps({**config, "backbone_digest": new.split(":")[1]}))
    _train(folder, settings, resume=True)
    (folder / "config.json").write_text(json.dumps({**config, "backbone_digest": new}))
    values = json.loads((backbone / "config.json").read_text())
    values["text_config"]["layer_norm_eps"] = 0.1
    (backbone / "config.json").write_text(json.dumps(values))
    with pytest.raises(
        ConfigError, match=r"digest was \w{12} and is \w{12} now; the weights are the same, config.json"
    ):
        _train(folder, settings, resume=True)


def test_a_run_is_done_only_when_its_checkpoint_has_the_interval(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(after_one_epoch, tmp_path / "run")
    (folder / "test.json").unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        _train(folder, _settings(rated_photos, tiny_folder, epochs=1), resume=True)
    assert not (folder / "test.json").exists()


def test_ratings_that_are_all_the_same_are_refused(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    rows = rated_photos.read_text().splitlines()
    table = rated_photos.with_name("same.csv")
    table.write_text(
        "\n".join(["image,mos,reference", *(f"{row.split(',')[0]},5,{row.split(',')[-1]}" for row in rows[1:])])
    )
    with pytest.raises(DatasetError, match=r"all 8 training images have the same MOS, 5.0"):
        _train(tmp_path / "run", _settings(table, tiny_folder))


def test_a_start_that_fails_leaves_the_folder_free(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="windows=9"):
        _train(tmp_path / "run", _settings(rated_photos, tiny_folder, windows=9))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_is_said_and_spoils_no_checkpoint(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    with pytest.raises(ConfigError, match=r"the loss of a step in epoch \d is (nan|inf): take a lower learning_rate"):
        _train(tmp_path / "run", _settings(rated_photos, tiny_folder, learning_rate=1e30, warmup_epochs=0))


def test_a_run_is_not_resumed_on_another_backbone(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "backbone")
    settings = _settings(rated_photos, backbone, epochs=1)
    _train(tmp_path / "run", settings)
    create_compact(backbone, words=["blur"], options=TINY, seed=8)
    with pytest.raises(ConfigError, match=r"cannot be continued: the backbone's digest was \w+ and is \w+ now"):
        _train(tmp_path / "run", settings, resume=True)


def test_the_split_does_not_depend_on_the_runs_seed_and_is_recorded(
    finished: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, seed=5))
    tested = [
        {line.split(",")[0] for line in (run / "predictions.csv").read_text().splitlines()}
        for run in (finished, tmp_path / "run")
    ]
    assert tested[0] == tested[1]
    assert read_config(finished / "mpiqe.safetensors").split == "mpiqe's 1"


@pytest.mark.slow
def test_a_test_side_too_small_for_figures_still_gets_its_predictions(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    rows = rated_photos.read_text().splitlines()
    table = rated_photos.with_name("few.csv")
    table.write_text("\n".join(["image,mos", *(",".join(row.split(",")[:2]) for row in rows[1:8])]))
    figures = _train(tmp_path / "run", _settings(table, tiny_folder, epochs=1))
    assert figures == dict.fromkeys(metrics.NAMES) | {"count": 1}
    assert len((tmp_path / "run" / "predictions.csv").read_text().splitlines()) == 2


def test_what_a_kill_left_half_written_is_swept_up_on_resume(
    finished: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    (finished / "state.safetensors.123.part").write_bytes(b"half")
    _train(finished, _settings(rated_photos, tiny_folder), resume=True)
    assert not list(finished.glob("*.part"))


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The photos that the runs of a test train on."""
    photos: list[Record] = []

    def note(given: list[Record], **how: Any) -> CropDataset:
        photos.extend(given)
        return CropDataset(given, **how)

    monkeypatch.setattr(module, "CropDataset", note)
    return photos


def _sides(table: Path) -> list[list[Record]]:
    dataset = read_csv(table)
    split = choose_split(dataset, 1)
    return [[dataset.records[index] for index in side] for side in (split.train, split.val, split.test)]


@pytest.mark.parametrize("whole", [pytest.param(False, marks=pytest.mark.slow), True])
def test_further_sets_are_trained_on_and_test_images_with_whole_alone(
    tmp_path: Path,
    rated_photos: Path,
    further_photos: Path,
    tiny_folder: Path,
    learnt: list[Record],
    whole: bool,
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1, extra_data=[f"csv:{further_photos}"], train_on_all=whole)
    figures = _train(tmp_path / "run", settings)
    expected = []
    for table in (rated_photos, further_photos):
        train_side, _, test = _sides(table)
        expected += sorted(record.image for record in (*train_side, *(test if whole else ())))
    own = len(expected) // 2
    images = [record.image for record in learnt]
    assert [*sorted(images[:own]), *sorted(images[own:])] == expected  # the main set first
    ratings = [[record.mos for record in part] for part in (learnt[:own], learnt[own:])]
    assert statistics.fmean(ratings[1]) == pytest.approx(statistics.fmean(ratings[0]))
    assert statistics.pstdev(ratings[1]) == pytest.approx(statistics.pstdev(ratings[0]))
    assert figures["count"] == (0 if whole else 4)
    assert json.loads((tmp_path / "run" / "test.json").read_text()) == figures
    lines = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {
        record.name for record in _sides(rated_photos)[2] if not whole
    }
    kept = read_config(tmp_path / "run" / "mpiqe.safetensors")
    assert (kept.mos_low, kept.mos_high) == (min(ratings[0]), max(ratings[0]))
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["val_srcc"] is not None


def test_test_images_that_a_further_set_trains_on_are_told(
    tmp_path: Path, rated_photos: Path, further_photos: Path, tiny_folder: Path
) -> None:
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    copies = tmp_path / "copies.csv"
    records = read_csv(rated_photos).records
    for number, record in enumerate(records):
        shutil.copy(record.image, tmp_path / f"{number}.png")
    copies.write_text("\n".join(["image,mos", *(f"{number}.png,{number}" for number in range(len(records)))]))
    held_out = {record.name for side in _sides(rated_photos)[1:] for record in side}
    trained = {int(record.name.removesuffix(".png")) for record in _sides(copies)[0]}
    leaked = [record for number, record in enumerate(records) if number in trained and record.name in held_out]
    assert leaked
    for table, count in ((copies, len(leaked)), (further_photos, 0)):  # the latter is split by the same references
        notes.clear()
        settings = _settings(rated_photos, tiny_folder, epochs=1, extra_data=[f"csv:{table}"])
        train(resolve(settings), RunFolder(tmp_path / f"run-{count}"), reporter=Notes())
        told = [note.split()[1] for note in notes if "trained on as images of another set" in note]
        assert told == ([str(count)] if count else [])


def test_further_sets_change_the_weights(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, further_photos: Path, tiny_folder: Path
) -> None:
    further = [f"csv:{further_photos}"]
    _train(tmp_path / "beside", _settings(rated_photos, tiny_folder, epochs=1, extra_data=further))
    alone, beside = (load_file(run / "mpiqe.safetensors") for run in (after_one_epoch, tmp_path / "beside"))
    assert not all(torch.equal(tensor, beside[name]) for name, tensor in alone.items())


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_further_set(
    tmp_path: Path, rated_photos: Path, further_photos: Path, tiny_folder: Path
) -> None:
    table = tmp_path / "further.csv"
    shutil.copy(further_photos, table)
    settings = _settings(rated_photos, tiny_folder, epochs=1, extra_data=[f"csv:{table}"])
    _train(tmp_path / "run", settings)
    with pytest.raises(ConfigError, match=r"cannot be continued: extra_data was \['csv:.*'\] and is \[\] now"):
        _train(tmp_path / "run", {**settings, "extra_data": []}, resume=True)
    table.write_text(table.read_text().replace(",astronaut", ",spaceman"))
    with pytest.raises(ConfigError, match=r"the data's digest was (\w{12}) and is (?!\1)\w{12} now"):
        _train(tmp_path / "run", settings, resume=True)


@pytest.mark.slow
def test_test_figures_of_every_epoch_pick_nothing(
    finished: Path, rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, test_each_epoch=True))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = json.loads((tmp_path / "run" / "test.json").read_text())
    assert [type(row["test_srcc"]) for row in rows] == [float] * 4
    assert rows[-1]["test_srcc"] == pytest.approx(last["srcc"])
    same = load_file(tmp_path / "run" / "mpiqe.safetensors"), load_file(finished / "mpiqe.safetensors")
    assert all(torch.equal(same[0][key], same[1][key]) for key in same[0])
    assert "test_srcc" not in json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])


def test_what_starts_from_noise_takes_larger_steps_than_the_tuned_backbone(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    changes = {"tune": "all", "epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-2, "backbone_rate": 1e-3}
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, **changes))
    tuned, before = load_file(tmp_path / "run" / "mpiqe.safetensors"), load_file(tiny_folder / "model.safetensors")
    name = "visual_projection.weight"
    moved = (tuned[f"clip.clip.{name}"] - before[name]).abs().max()
    assert 0 < moved < 1e-4  # two steps of at most 1e-2 * 1e-3, and a little
    assert read_config(tmp_path / "run" / "mpiqe.safetensors").options.tune == "all"


def test_clip_iqa_plus_is_trained_by_the_same_loop_and_a_zero_shot_one_is_refused(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, method="clip-iqa", context_length=16)
    figures = _train(tmp_path / "plus", settings)
    assert figures["count"] == 4
    assert set(load_file(tmp_path / "plus" / "mpiqe.safetensors")) == {"prompts.context"}
    config = read_config(tmp_path / "plus" / "mpiqe.safetensors")
    assert config.target_mean == config.mos_low
    assert config.target_std == config.mos_high - config.mos_low
    with pytest.raises(ConfigError, match="zero-shot: there is nothing to train"):
        _train(tmp_path / "zero", {**settings, "context_length": 0})


def test_a_run_trains_and_tests_with_its_view_and_scoring_takes_it_over(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[dict[str, Any]] = []

    def note(given: list[Record], **how: Any) -> CropDataset:
        trained.append(how)
        return CropDataset(given, **how)

    monkeypatch.setattr(module, "CropDataset", note)
    settings = _settings(rated_photos, tiny_folder, epochs=1, view_side=36, crop_mode="grid")
    _train(tmp_path / "run", settings)
    assert [(how["view"], how["crops"]) for how in trained] == [(View("scaled", 36), "training")]
    config = read_config(tmp_path / "run" / "mpiqe.safetensors")
    assert (config.view, config.crop_mode) == (View("scaled", 36), "grid")
    scorer = mpiqe.load(tmp_path / "run")
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            path = rated_photos.parent / row["image"]
            assert scorer(path).score == pytest.approx(float(row["score"]), abs=1e-3)
            assert mpiqe.load(tmp_path / "run", view_side=0)(path).score != pytest.approx(float(row["score"]), abs=1e-3)
    with pytest.raises(ConfigError, match="view_side was 36 and is 0 now"):
        _train(tmp_path / "run", {**settings, "view_side": 0}, resume=True)


def test_a_run_of_a_version_without_views_is_continued_as_native_alone(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1)
    shutil.copytree(after_one_epoch, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    for name in ("view_side", "crop_mode"):
        del config["settings"][name]
    file.write_text(json.dumps(config))
    _train(tmp_path / "run", settings, resume=True)
    with pytest.raises(ConfigError, match="view_side was 0 and is 64 now"):
        _train(tmp_path / "run", {**settings, "view_side": 64}, resume=True)


@pytest.mark.parametrize("side", [-1, 20_000])
def test_a_side_that_cannot_be_meant_is_refused(side: int) -> None:
    with pytest.raises(ConfigError, match=f"view_side = {side}: must be"):
        resolve({"view_side": side})


def test_a_run_goes_on_to_more_epochs_than_it_began_with(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    folder = shutil.copytree(after_one_epoch, tmp_path / "run")
    _train(folder, _settings(rated_photos, tiny_folder, epochs=3), resume=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    config = json.loads((folder / "config.json").read_text())
    assert (config["settings"]["epochs"], config["epochs_before"]) == (3, [1])


def test_a_run_is_not_resumed_to_fewer_epochs_than_it_has(
    after_one_epoch: Path, tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    folder = shutil.copytree(after_one_epoch, tmp_path / "run")
    settings = _settings(rated_photos, tiny_folder, epochs=2)
    _train(folder, settings, resume=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigError, match="has 2 epochs already; epochs = 1 cannot take any back"):
        _train(folder, {**settings, "epochs": 1}, resume=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_may_write_tensorboards_events_from_its_resumption_on(
    finished: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    options = resolve(_settings(rated_photos, tiny_folder, tensorboard=True))
    RunFolder(finished).refuse_other_settings(options.to_mapping())


def test_every_epoch_says_how_far_prompts_and_decoder_went(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for part in ("contexts", "visual_tokens", "decoder"):
        way = [row[f"moved_{part}"] for row in rows]
        assert 0 < way[0] < way[-1], part


@pytest.mark.slow
def test_a_cached_stem_gives_the_figures_of_the_same_crops(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=2)
    draw = CropDataset.__getitem__
    _train(tmp_path / "cached", {**settings, "cache_stem": True})

    def crops_of_a_score(self: CropDataset, key: tuple[int, ...]) -> object:
        self.crops = "seeded"
        return draw(self, (1, *key[1:]))

    monkeypatch.setattr(CropDataset, "__getitem__", crops_of_a_score)
    _train(tmp_path / "plain", settings)
    cached, plain = (load_file(tmp_path / name / "mpiqe.safetensors") for name in ("cached", "plain"))
    for name, tensor in plain.items():
        torch.testing.assert_close(cached[name], tensor, atol=5e-3, rtol=0, msg=name)  # features are kept in float16


def test_a_cache_of_the_stem_and_what_it_cannot_go_with(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="cache_stem keeps the crops in the training process"):
        resolve(_settings(rated_photos, tiny_folder, cache_stem=True, workers=1))
    with pytest.raises(ConfigError, match="cache_stem keeps what a frozen stem makes"):
        _train(tmp_path / "run", _settings(rated_photos, tiny_folder, cache_stem=True, tune="all"))


def test_a_linear_head_is_trained_beside_the_decoder(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, linear_head=True))
    weights = load_file(tmp_path / "run" / "mpiqe.safetensors")
    assert weights["linear.weight"].abs().max() > 0
    assert mpiqe.load(tmp_path / "run")(read_csv(rated_photos).records[0].image).score
