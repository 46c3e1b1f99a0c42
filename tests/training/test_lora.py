"""``mpiqe train --tune lora``: trained, stopped and resumed, loaded, gone on from and exported."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import mpiqe
from mpiqe.cli.main import app
from mpiqe.errors import ConfigError
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.model.lora import is_change
from mpiqe.runtimes.export import export
from mpiqe.runtimes.onnx import OnnxPredictor
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train

pytest.importorskip("peft", reason="needs peft: pip install -e '.[test]'")
SMALL = {
    "tune": "lora",
    "lora_rank": 4,
    "windows": 3,
    "decoder_layers": 1,
    "crops": 2,
    "batch_size": 8,
    "epochs": 3,
    "warmup_epochs": 1,
    "learning_rate": 1e-2,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
}


class StopsAfter(Silent):
    """Interrupts the run when an epoch has ended, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self._last = epoch

    def epoch(self, row: Mapping[str, Any]) -> None:
        if row["epoch"] == self._last:
            raise KeyboardInterrupt


def _settings(rated_photos: Path, backbone: Path, **changes: object) -> dict[str, Any]:
    return {**SMALL, "data": f"csv:{rated_photos}", "backbone": str(backbone), **changes}


def _train(folder: Path, settings: dict[str, Any], **how: Any) -> dict[str, float | None]:
    return train(resolve(settings), RunFolder(folder), **{"reporter": Silent(), **how})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """Three epochs straight, by the command."""
    folder = tmp_path_factory.mktemp("lora") / "straight"
    settings = _settings(rated_photos, tiny_folder)
    flags = [text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    done = CliRunner().invoke(app, ["train", "--out", str(folder), *flags])
    assert done.exit_code == 0, done.output
    return folder


def test_changes_are_trained_at_the_full_rate_and_kept_with_the_checkpoint_without_the_weights(finished: Path) -> None:
    tensors = load_file(finished / "mpiqe.safetensors")
    changes = {name: tensor for name, tensor in tensors.items() if is_change(name)}
    assert len(changes) == 2 * 6 * 3
    assert all(tensor.abs().max() > 3e-3 for name, tensor in changes.items() if ".lora_B" in name)  # 0 at first
    assert not any("base_layer" in name for name in tensors)
    assert not any(name.startswith("clip.") for name in tensors if name not in changes)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(
    finished: Path, rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "run", settings, reporter=StopsAfter(1))
    with pytest.raises(ConfigError, match=r"lora_rank was 4 and is 8 now"):
        _train(tmp_path / "run", {**settings, "lora_rank": 8}, resume=True)
    _train(tmp_path / "run", settings, resume=True)
    straight, stopped = (load_file(folder / "mpiqe.safetensors") for folder in (finished, tmp_path / "run"))
    assert straight.keys() == stopped.keys()
    assert all(torch.equal(stopped[name], tensor) for name, tensor in straight.items())


def test_a_scorer_gives_what_the_run_found_on_its_test_images(finished: Path, rated_photos: Path) -> None:
    scorer = mpiqe.load(finished)
    with (finished / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            score = scorer(rated_photos.parent / row["image"]).score
            assert score == pytest.approx(float(row["score"]), abs=1e-2)  # of ratings of 20 to 90


@pytest.mark.slow
def test_a_graph_has_the_changes_merged_into_its_weights(finished: Path, tmp_path: Path) -> None:
    found = export(finished, tmp_path / "graph")
    assert found[0].score < 1e-4
    model, _ = load_checkpoint(finished)
    assert model.clip.has_lora
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(crops).permute(0, 3, 1, 2)).score.numpy()
    graph = OnnxPredictor(tmp_path / "graph")
    np.testing.assert_allclose(graph.predict(crops).score, expected, rtol=1e-3)
    initial = (tmp_path / "graph" / "mpiqe.onnx").read_bytes()
    assert b"lora_A" not in initial


@pytest.mark.slow
def test_another_run_goes_on_from_the_changes_and_not_without_them(
    finished: Path, rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(rated_photos, tiny_folder, start=str(finished), epochs=1)
    with pytest.raises(ConfigError, match=r"tune is 'lora' there: its backbone is tuned, so that has to stay"):
        _train(tmp_path / "other", {**settings, "tune": "prompts"})
    with pytest.raises(ConfigError, match=r"lora_rank is 4 there and 8 here"):
        _train(tmp_path / "other", {**settings, "lora_rank": 8})
    _train(tmp_path / "run", {**settings, "learning_rate": 1e-9})
    before, after = (load_file(folder / "mpiqe.safetensors") for folder in (finished, tmp_path / "run"))
    assert all(torch.allclose(after[name], tensor, atol=1e-6) for name, tensor in before.items())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["tune"] == "lora"
