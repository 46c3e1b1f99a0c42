"""Runs on few photos, for few epochs, without labels: what people try first."""

import csv
import json
import statistics
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mpiqe
from mpiqe.cli.main import app
from mpiqe.errors import ConfigError
from mpiqe.model.checkpoint import read_config
from mpiqe.training.evaluate import Prediction, nearly_constant
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train

SMALL = ["--windows", "3", "--decoder-layers", "1", "--crops", "2", "--device", "cpu", "--precision", "fp32"]
SMALL += ["--workers", "0"]
HARDLY = "images hardly differ"


def _mpiqe(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _scores(run: Path) -> list[float]:
    with (run / "predictions.csv").open(newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """A run that learned nothing, and said so."""
    folder = tmp_path_factory.mktemp("constant") / "run"
    rate = ["--learning-rate", "1e-9", "--epochs", "1"]
    done = _mpiqe("train", "--data", f"csv:{rated_photos}", "--backbone", tiny_folder, "--out", folder, *SMALL, *rate)
    assert done.exit_code == 0, done.output
    assert HARDLY in done.stderr
    return folder


def test_scores_without_variance_are_said_by_evaluate_too(constant: Path) -> None:
    done = _mpiqe("evaluate", constant, "--part", "all", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    assert "the scores of these 16 images hardly differ" in done.stderr
    assert json.loads(done.stdout)["count"] == 16


@pytest.mark.slow
def test_two_epochs_move_the_scores_apart(
    rated_photos: Path, tiny_folder: Path, constant: Path, tmp_path: Path
) -> None:
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder]
    papers = ["--warmup-epochs", "5", "--learning-rate", "3e-5"]  # as a run of two epochs was until version 0.2
    for name, more in (("now", []), ("before", papers)):
        done = _mpiqe("train", *data, "--out", tmp_path / name, "--epochs", "2", *SMALL, *more)
        assert done.exit_code == 0, done.output
        assert ("warm-up takes all" in done.stderr) == (name == "before")
    rows = {
        name: [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("now", "before")
    }
    for part in ("moved_contexts", "moved_decoder", "moved_visual_tokens"):
        assert rows["now"][-1][part] > 5 * rows["before"][-1][part], part
    assert json.loads((tmp_path / "now" / "config.json").read_text())["settings"]["learning_rate"] == 5e-4


@pytest.mark.slow
def test_the_length_of_a_run_is_no_reason_to_refuse_its_resume(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder, "--out", tmp_path / "run"]
    done = _mpiqe("train", *data, "--epochs", "1", *SMALL)
    assert done.exit_code == 0, done.output
    done = _mpiqe("train", "--resume", "--out", tmp_path / "run", "--epochs", "2", "--accumulation", "2")
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["epoch"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
    ]


def test_a_run_without_labels_tells_none(rated_photos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    rows = [line.split(",")[:2] for line in rated_photos.read_text().splitlines()]
    table = rated_photos.with_name("unlabelled.csv")
    table.write_text("\n".join(map(",".join, rows)))
    data = ["--data", f"csv:{table}", "--backbone", tiny_folder, "--out", tmp_path / "run"]
    done = _mpiqe("train", *data, "--epochs", "1", *SMALL)
    assert done.exit_code == 0, done.output
    assert "no training image has a scene label: the model will tell no scene" in done.stderr
    assert "no training image has a distortion label" in done.stderr
    options = read_config(tmp_path / "run" / "mpiqe.safetensors").options
    assert (options.scene_prompts, options.scene_labels, options.distortion_labels) == (True, False, False)
    score = mpiqe.load(tmp_path / "run", device="cpu")(rated_photos.parent / rows[1][0])
    assert (score.scene, score.distortion) == ({}, {})
    done = _mpiqe("train", "--resume", "--out", tmp_path / "run", "--epochs", "2")
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_one_kind_of_label_is_enough_to_tell_that_kind(rated_photos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with rated_photos.open(newline="") as file:
        rows = [(row["image"], row["mos"], row["scene"]) for row in csv.DictReader(file)]
    table = rated_photos.with_name("scenes.csv")
    table.write_text("\n".join(["image,mos,scene", *map(",".join, rows)]))
    done = _mpiqe(
        *("train", "--data", f"csv:{table}", "--backbone", tiny_folder, "--out", tmp_path / "run", "--epochs", "1"),
        *SMALL,
    )
    assert done.exit_code == 0, done.output
    score = mpiqe.load(tmp_path / "run", device="cpu")(rated_photos.parent / rows[0][0])
    assert len(score.scene) == 9
    assert score.distortion == {}


def test_what_a_run_decided_for_itself_is_no_other_setting(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = {"data": f"csv:{rated_photos}", "backbone": str(tiny_folder), "windows": 3, "epochs": 1, "crops": 2}
    options = resolve({**settings, "device": "cpu", "precision": "fp32", "decoder_layers": 1})
    run = RunFolder(tmp_path / "run")
    train(options, run, reporter=Silent())
    assert (options.run.learning_rate, run.settings()["learning_rate"]) == (None, 5e-4)
    run.refuse_other_settings(options.to_mapping())  # as a study does with the runs that it finds done
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.0005 and is 0\.1 now"):
        run.refuse_other_settings({**options.to_mapping(), "learning_rate": 0.1})


def test_what_counts_as_nearly_constant() -> None:
    mos = [10.0, 30.0, 50.0, 70.0, 90.0]

    def said(scores: list[float], ratings: list[float] = mos) -> bool:
        rows = [Prediction(str(at), *pair, 0.0) for at, pair in enumerate(zip(ratings, scores, strict=True))]
        return nearly_constant(rows, low=0.0, high=100.0) is not None

    assert statistics.pstdev(mos) == pytest.approx(28.3, abs=0.1)
    assert said([50.0, 50.5, 51.0, 50.2, 49.9])  # within 2 % of the mean
    assert not said([45.0, 47.0, 50.0, 53.0, 55.0])  # weak, and no constant
    assert not said([50.0] * 5, [3.0] * 5)  # nothing to tell apart
    assert not said([50.0, 50.1], [1.0, 2.0])  # too few to say
