"""``mpiqe train --from``: going on from a whole trained model."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import mpiqe
from mpiqe.cli.main import app
from mpiqe.model.checkpoint import read_config

SMALL = ["--windows", "3", "--decoder-layers", "1", "--context-length", "4", "--crops", "2", "--view-side", "40"]
CPU = ["--device", "cpu", "--precision", "fp32", "--workers", "0"]


def _mpiqe(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _train(*arguments: object, last: Sequence[object] = ()) -> str:
    done = _mpiqe("train", *arguments, *CPU, *last)
    assert done.exit_code == 0, done.output
    return str(done.stderr)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """A trained model of unusual shape and view."""
    folder = tmp_path_factory.mktemp("from") / "first"
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder]
    _train(*data, "--out", folder, *SMALL, "--epochs", "4", "--learning-rate", "5e-3")
    return folder


@pytest.fixture(scope="module")
def stars(rated_photos: Path) -> Path:
    """The same photos rated from 1 to 5, as somebody else's set."""
    with rated_photos.open(newline="") as file:
        rows = [(row["image"], f"{1 + float(row['mos']) / 25}", row["reference"]) for row in csv.DictReader(file)]
    table = rated_photos.with_name("stars.csv")
    table.write_text("\n".join(["image,mos,reference", *map(",".join, rows)]))
    return table


def _scores(run: Path) -> dict[str, float]:
    with (run / "predictions.csv").open(newline="") as file:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_run_takes_over_what_the_model_is_and_sees_and_brings_its_scores_to_the_new_scale(
    first: Path, stars: Path, tmp_path: Path
) -> None:
    said = _train("--from", first, "--data", f"csv:{stars}", "--out", tmp_path / "run", "--learning-rate", "1e-12")
    assert "going on from" in said
    assert "its scores are brought to the MOS of the 8 training images" in said
    before, after = (read_config(run / "mpiqe.safetensors") for run in (first, tmp_path / "run"))
    assert after.options == before.options  # labels too: it was taught them before
    assert (after.crops, after.view, after.crop_mode) == (before.crops, before.view, before.crop_mode)
    assert after.training["began_from"]["dataset"] == before.dataset
    tensors = [load_file(run / "mpiqe.safetensors") for run in (first, tmp_path / "run")]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, atol=1e-6, rtol=0, msg=name)
    old, new = _scores(first), _scores(tmp_path / "run")
    line = [(new[name] - after.target_mean) / after.target_std for name in old]
    same = [(old[name] - before.target_mean) / before.target_std for name in old]
    assert line == pytest.approx(same, abs=1e-3)  # the head's numbers are the same, the scale is not
    assert all(1 <= score <= 5 for score in new.values())


@pytest.mark.slow
def test_it_learns_from_where_the_model_was_and_resumes_without_it(first: Path, stars: Path, tmp_path: Path) -> None:
    there = shutil.copytree(first, tmp_path / "there")
    asked = ["--from", there, "--data", f"csv:{stars}", "--learning-rate", "1e-3"]
    _train(*asked, "--out", tmp_path / "straight", "--epochs", "4")
    _train(*asked, "--out", tmp_path / "run", "--epochs", "2")
    shutil.rmtree(there)
    _train("--resume", "--out", tmp_path / "run", "--epochs", "4")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    before, after = (load_file(run / "mpiqe.safetensors") for run in (first, tmp_path / "run"))
    assert not any(torch.equal(after[name], tensor) for name, tensor in before.items() if name.endswith(".context"))
    assert rows[-1]["loss_score"] < 0.2  # standardised; what a start from noise has is several times as much
    resumed, straight = (read_config(tmp_path / name / "mpiqe.safetensors") for name in ("run", "straight"))
    assert (resumed.target_mean, resumed.target_std) == (straight.target_mean, straight.target_std)
    assert resumed.training["began_from"] == straight.training["began_from"]


@pytest.mark.slow
def test_going_on_from_the_embedded_model_gives_a_model_on_the_new_scale(stars: Path, tmp_path: Path) -> None:
    once = ["--out", tmp_path / "run", "--epochs", "1", "--cache-stem"]
    done = _mpiqe(
        "train", "--from", "embedded", "--data", f"csv:{stars}", *once, "--device", "cpu", "--precision", "bf16"
    )
    assert done.exit_code == 0, done.output
    said = done.stderr
    assert "going on from mpiqe-embedded" in said
    config = read_config(tmp_path / "run" / "mpiqe.safetensors")
    assert config.backbone == "embedded"
    assert config.training["began_from"]["source"] == "embedded"
    assert config.options.stem_head_width == 384 + 2
    done = _mpiqe("train", "--resume", "--out", tmp_path / "run", "--epochs", "2")
    assert done.exit_code == 0, done.output
    score = mpiqe.load(tmp_path / "run", device="cpu")(stars.parent / "coffee-0-.png")
    assert 0 < score.score < 6
    assert len(score.scene) == 9


def test_what_does_not_fit_is_refused_with_both_values(first: Path, stars: Path, tmp_path: Path) -> None:
    out = ["--data", f"csv:{stars}", "--out", tmp_path / "run", *CPU]
    done = _mpiqe("train", "--from", first, "--context-length", "8", *out)
    assert done.exit_code == 2
    assert "which is another model: context_length is 4 there and 8 here" in done.stderr
    done = _mpiqe("train", "--from", first, "--backbone", "embedded", *out)
    assert done.exit_code == 2
    assert "these are other weights" in done.stderr
    done = _mpiqe("train", "--from", tmp_path / "nothing", *out)
    assert done.exit_code == 2
    assert "no checkpoint" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_test_images_that_the_model_was_trained_on_are_said(first: Path, rated_photos: Path, tmp_path: Path) -> None:
    data = ["--data", f"csv:{rated_photos}", "--epochs", "1"]
    same = _train("--from", first, *data, "--split", "1", "--out", tmp_path / "same")
    assert "perhaps on some of" not in same
    other = _train("--from", first, *data, "--split", "2", "--out", tmp_path / "other")
    assert "perhaps on some of this split's test images" in other
    grandchild = _train("--from", tmp_path / "other", *data, "--split", "2", "--out", tmp_path / "grandchild")
    assert "(split: mpiqe's 1), perhaps on some of this split's test images" in grandchild
