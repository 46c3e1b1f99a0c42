import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpiqe.cli.main import app

RUN = [
    "--windows",
    "3",
    "--decoder-layers",
    "1",
    "--crops",
    "2",
    "--batch-size",
    "8",
    "--epochs",
    "1",
    "--workers",
    "0",
]
ON_CPU = ["--device", "cpu", "--precision", "fp32"]


def _mpiqe(*arguments: str):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """One epoch, by the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = _mpiqe("train", "--data", f"csv:{rated_photos}", "--backbone", tiny_folder, "--out", folder, *RUN, *ON_CPU)
    assert done.exit_code == 0, done.output
    assert "test images of split 1" in done.stdout
    assert "split mpiqe's 1: " in done.stderr
    assert "SRCC" in done.stdout
    assert "8 images to train on, 4 to validate on, 4 to test on" in done.stderr
    return folder


def test_flags_reach_the_run_and_the_rest_is_the_papers(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["windows"], settings["crops"], settings["epochs"]) == (3, 2, 1)
    assert (settings["learning_rate"], settings["context_length"], settings["scene_prompts"]) == (3e-5, 8, True)


def test_evaluate_gives_the_figures_of_the_run_again(run: Path, rated_photos: Path, tmp_path: Path) -> None:
    csv = tmp_path / "predictions.csv"
    done = _mpiqe("evaluate", run, "--data", f"csv:{rated_photos}", "--json", "--predictions", csv, *ON_CPU)
    assert done.exit_code == 0, done.output
    found, recorded = json.loads(done.stdout), json.loads((run / "test.json").read_text())
    assert found == pytest.approx(recorded, rel=1e-5)
    assert list(found) == ["srcc", "plcc", "plcc_fitted", "krcc", "rmse", "rmse_fitted", "count"]
    assert csv.read_text().splitlines()[0] == "image,mos,score,spread"
    everything = _mpiqe("evaluate", run, "--data", f"csv:{rated_photos}", "--part", "all", *ON_CPU)
    assert everything.stdout.startswith("16 all images\n")


def test_scoring_and_evaluating_agree(run: Path, rated_photos: Path) -> None:
    scored = _mpiqe("score", rated_photos.parent, "--weights", run, "--format", "jsonl")
    by_name = {Path(row["path"]).name: row["score"] for row in map(json.loads, scored.stdout.splitlines())}
    lines = (run / "predictions.csv").read_text().splitlines()[1:]
    assert len(lines) == 4
    for line in lines:
        name, _, score, _ = line.split(",")
        assert by_name[name] == pytest.approx(float(score), abs=1e-4)


def test_resume_needs_only_the_folder(run: Path) -> None:
    before = (run / "mpiqe.safetensors").read_bytes()
    done = _mpiqe("train", "--resume", "--out", run)
    assert done.exit_code == 0, done.output
    assert (run / "mpiqe.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "flickr"], "no dataset is called 'flickr'; known are live, csiq, kadid, livec, bid, koniq"),
        (["--data", "livec"], "livec needs --root DIR"),
        (["--epochs", "0"], "epochs = 0: must be 1 or more"),
        (["--resume"], "no run to resume"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = _mpiqe("train", "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("mpiqe: ")
    assert complaint in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_config_file_is_read_and_its_unknown_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('data = "livec"\nbatchsize = 3\n')
    done = _mpiqe("train", "--out", tmp_path / "run", "--config", tmp_path / "run.toml")
    assert done.exit_code == 2
    assert "run.toml: unknown key 'batchsize'" in done.stderr


def test_the_help_of_train_names_every_setting_with_its_default() -> None:
    text = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output.split())
    for words in ("--learning-rate", "[3e-05]", "--scene-weight", "[1.0]", "--no-class-mean", "mpiqe[tensorboard]"):
        assert words in text


def test_without_images_kept_back_train_says_so_and_evaluate_warns(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = ["--data", f"csv:{rated_photos}"]
    done = _mpiqe("train", *data, "--backbone", tiny_folder, "--out", tmp_path / "run", "--whole", *RUN, *ON_CPU)
    assert done.exit_code == 0, done.output
    assert "12 images to train on, 4 to validate on, 0 to test on" in done.stderr
    assert done.stdout.splitlines() == [
        "no images were kept back to test on (--whole), so there are no figures",
        f"run folder: {tmp_path / 'run'}",
    ]
    assert json.loads((tmp_path / "run" / "test.json").read_text())["count"] == 0
    assert (tmp_path / "run" / "predictions.csv").read_text() == "image,mos,score,spread\n"
    evaluated = _mpiqe("evaluate", tmp_path / "run", *data, *ON_CPU)
    assert "careful: the checkpoint was trained with --whole, on test images too" in evaluated.stderr


def test_evaluate_takes_the_checkpoints_view_or_the_one_that_is_asked_for(
    run: Path, rated_photos: Path, tmp_path: Path
) -> None:
    found = []
    for number, more in enumerate(([], ["--view-side", 0], ["--view-side", 36], ["--crop-mode", "grid"])):
        csv = tmp_path / f"{number}.csv"
        done = _mpiqe("evaluate", run, "--data", f"csv:{rated_photos}", "--predictions", csv, *more, *ON_CPU)
        assert done.exit_code == 0, done.output
        found.append(csv.read_text())
    assert found[0] == found[1]
    assert len(set(found)) == 3
