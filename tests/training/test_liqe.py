"""``mpiqe train --method liqe``: trained, killed and resumed, tested, loaded and scored with."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.first_step import assert_same_gradients, first_gradients
from typer.testing import CliRunner

import mpiqe
from mpiqe.cli.main import app
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.checkpoint import load_checkpoint, read_config
from mpiqe.model.liqe import LIQE
from mpiqe.training import train as module
from mpiqe.training.liqe_loss import dynamic_weights
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.set_losses import sets_of
from mpiqe.training.train import train

SMALL = {
    "method": "liqe",
    "windows": 3,
    "crops": 2,
    "batch_size": 8,
    "epochs": 8,
    "learning_rate": 3e-2,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
}


def _settings(rated_photos: Path, tiny_folder: Path, **changes: object) -> dict[str, object]:
    return {**SMALL, "data": f"csv:{rated_photos}", "backbone": str(tiny_folder), **changes}


def _train(folder: Path, settings: dict[str, object], **how: bool) -> dict[str, float | None]:
    return train(resolve(settings), RunFolder(folder), reporter=Silent(), **how)


def _rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "mpiqe.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """Eight epochs straight, by the command."""
    folder = tmp_path_factory.mktemp("liqe") / "straight"
    settings = _settings(rated_photos, tiny_folder)
    flags = [text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    done = CliRunner().invoke(app, ["train", "--out", str(folder), *flags])
    assert done.exit_code == 0, done.output
    return folder


def test_the_command_trains_the_prompts_of_a_frozen_backbone_and_lowers_the_losses(finished: Path) -> None:
    assert set(_weights(finished)) == {"visual_prompts.tokens"}
    rows = _rows(finished)
    assert all(row[key] > 0 for row in rows for key in ("loss_scene", "loss_distortion", "loss_score"))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.015  # 0.464 to 0.438 when this was written
    config = read_config(finished / "mpiqe.safetensors")
    assert config.target_mean + config.target_std == pytest.approx(config.mos_low)  # 1, "bad"
    assert config.target_mean + 5 * config.target_std == pytest.approx(config.mos_high)  # 5, "perfect"


def test_the_dynamic_weights_are_those_of_the_epochs_before(finished: Path) -> None:
    rows = _rows(finished)
    means = [[row[f"loss_{term}"] for term in ("scene", "distortion", "score")] for row in rows]
    for number, (row, each) in enumerate(zip(rows, means, strict=True)):
        weights = dynamic_weights(means[:number])
        assert (weights == (1, 1, 1)) == (number < 2)
        assert row["loss"] == pytest.approx(np.dot(weights, each), rel=1e-5)


def test_a_checkpoint_scores_and_names_by_the_marginals_of_the_joint_probabilities(
    finished: Path, rated_photos: Path
) -> None:
    scorer = mpiqe.load(finished)
    with (finished / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    config = read_config(finished / "mpiqe.safetensors")
    for row in rows:
        score = scorer(rated_photos.parent / row["image"])
        assert score.score == pytest.approx(float(row["score"]), abs=1e-3)
        assert config.mos_low <= score.score <= config.mos_high
    assert (scorer.predictor.scenes, scorer.predictor.distortions) == (SCENES, DISTORTIONS)
    model, _ = load_checkpoint(finished)
    assert isinstance(model, LIQE)
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    said = scorer.predictor.predict(crops)
    with torch.no_grad():
        logits = model.joint_logits(torch.from_numpy(crops).permute(0, 3, 1, 2), model.fold())
    joint = logits.double().softmax(dim=1).view(3, 5, 9, 11).numpy()
    np.testing.assert_allclose(said.scene, joint.sum(axis=(1, 3)), atol=1e-5)
    np.testing.assert_allclose(said.distortion, joint.sum(axis=(1, 2)), atol=1e-5)
    quality = joint.sum(axis=(2, 3)) @ np.arange(1, 6)
    np.testing.assert_allclose(said.score, config.target_mean + config.target_std * quality, rtol=1e-4)


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    settings = _settings(rated_photos, tiny_folder, epochs=20)
    _train(straight, settings)
    flags = [text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "mpiqe", "train", "--out", str(folder), *flags], stderr=subprocess.DEVNULL
    )
    metrics_file, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not (metrics_file.exists() and metrics_file.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= metrics_file.read_text().count("\n") < 20, "the kill came too late to mean anything"
    _train(folder, settings, resume=True)
    assert torch.equal(*(_weights(run)["visual_prompts.tokens"] for run in (straight, folder)))
    assert (folder / "predictions.csv").read_bytes() == (straight / "predictions.csv").read_bytes()
    assert [row["loss"] for row in _rows(folder)] == [row["loss"] for row in _rows(straight)]


@pytest.mark.parametrize(
    "more",
    [{}, pytest.param({"tune": "all", "learning_rate": 1e-3}, marks=pytest.mark.slow)],
    ids=["frozen", "tuned"],
)
def test_a_batch_in_parts_takes_the_step_of_the_whole(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, more: dict[str, object]
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1, **more)
    with first_gradients() as whole:
        _train(tmp_path / "whole", settings)
    with first_gradients() as parts:
        _train(tmp_path / "parts", {**settings, "accumulation": 3})
    assert_same_gradients(parts, whole)
    first, second = (_rows(tmp_path / name)[0] for name in ("whole", "parts"))
    for key in ("loss", "loss_scene", "loss_distortion", "loss_score"):
        assert second[key] == pytest.approx(first[key], rel=1e-4), key
    before = load_file(tiny_folder / "model.safetensors")
    if more:
        tuned = _weights(tmp_path / "whole")
        for name in ("visual_projection.weight", "text_projection.weight"):
            assert not torch.equal(tuned[f"clip.clip.{name}"], before[name]), name
        assert torch.equal(tuned["clip.clip.logit_scale"], before["logit_scale"])
        assert mpiqe.load(tmp_path / "whole")(rated_photos.parent / "coffee-0-.png").score > 0


def test_crops_that_come_together_are_averaged_before_the_softmax_and_a_cached_stem_trains_too(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, epochs=1, mix_crops=False, batch_unit="images", batch_size=4)
    together = _train(tmp_path / "together", settings)
    cached = _train(tmp_path / "cached", {**settings, "cache_stem": True})
    assert together["count"] == cached["count"] == 4
    losses = [_rows(tmp_path / name)[0]["loss_scene"] for name in ("together", "cached")]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)  # other crops of the same photos


def test_pairs_are_taken_within_each_of_several_sets(
    tmp_path: Path, rated_photos: Path, further_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[int], int]] = []
    take = module.take_step

    def note(objective, batches, *how):  # type: ignore[no-untyped-def]
        kept = list(batches)
        seen.append((objective.ends, max(int(index) for batch in kept for index in batch.index)))
        return take(objective, kept, *how)

    monkeypatch.setattr(module, "take_step", note)
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1, extra_data=(f"csv:{further_photos}",)))
    assert sets_of(torch.tensor([0, 2, 3, 4, 5, 9]), [3, 5, 10]).tolist() == [0, 0, 1, 1, 2, 2]
    (ends,) = {tuple(ends) for ends, _ in seen}
    assert len(ends) == 2
    assert ends[0] * 2 == ends[1] == max(last for _, last in seen) + 1


def test_a_set_without_labels_trains_on_pairs_alone_and_names_nothing(
    tmp_path: Path, further_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "run", _settings(further_photos, tiny_folder, epochs=3))
    for row in _rows(tmp_path / "run"):
        assert row["loss_scene"] == row["loss_distortion"] == 0
        assert row["loss"] == row["loss_score"] > 0
    predictor = mpiqe.load(tmp_path / "run").predictor
    assert predictor.scenes == predictor.distortions == ()


def test_going_on_from_a_run_brings_its_scores_to_the_new_ratings(
    finished: Path, tmp_path: Path, further_photos: Path, tiny_folder: Path
) -> None:
    _train(tmp_path / "on", _settings(further_photos, tiny_folder, start=str(finished), epochs=1))
    config = read_config(tmp_path / "on" / "mpiqe.safetensors")
    assert config.training["began_from"]["source"] == str(finished)
    with (tmp_path / "on" / "predictions.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert 0 < np.mean(scores) < 6  # rated from 1 to 5; the first set from 20 to 90


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual_depth": 0}, "liqe with visual_depth = 0 is zero-shot: there is nothing to train"),
        ({"score_weight": 1.0}, "score_weight = 1.0: liqe has losses of its own, with dynamic weights"),
    ],
)
def test_settings_without_effect_are_refused(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _train(tmp_path / "run", _settings(rated_photos, tiny_folder, **changes))
