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
    assert "not as in the paper: validation = on (the paper's: off)" in done.stderr
    return folder


def test_flags_reach_the_run_and_the_rest_is_the_papers_or_follows_its_length(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["windows"], settings["crops"], settings["epochs"]) == (3, 2, 1)
    assert (settings["learning_rate"], settings["context_length"], settings["scene_prompts"]) == (5e-4, 8, True)


def test_evaluate_gives_the_figures_of_the_run_again(run: Path, rated_photos: Path, tmp_path: Path) -> None:
    csv = tmp_path / "predictions.csv"
    done = _mpiqe("evaluate", run, "--data", f"csv:{rated_photos}", "--json", "--predictions", csv, *ON_CPU)
    assert done.exit_code == 0, done.output
    found, recorded = json.loads(done.stdout), json.loads((run / "test.json").read_text())
    assert found == recorded
    assert list(found) == ["srcc", "plcc", "plcc_fitted", "krcc", "rmse", "rmse_fitted", "count"]
    assert csv.read_text().splitlines()[0] == "image,mos,score,spread"
    everything = _mpiqe("evaluate", run, "--data", f"csv:{rated_photos}", "--part", "all", *ON_CPU)
    assert everything.stdout.startswith("16 all images\n")


def test_evaluate_needs_only_the_run(run: Path, tmp_path: Path) -> None:
    csv = tmp_path / "predictions.csv"
    done = _mpiqe("evaluate", run, "--json", "--device", "cpu", "--predictions", csv)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((run / "test.json").read_text())
    assert csv.read_text() == (run / "predictions.csv").read_text()


@pytest.fixture(scope="module")
def bf16_run(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path, tiny_folder: Path) -> Path:
    """A run in bf16 on a table of other column names, its images in another folder."""
    home = tmp_path_factory.mktemp("bf16")
    (home / "ratings.csv").write_text(rated_photos.read_text().replace("image,mos,", "photo,Stars,", 1))
    columns = ["--image-column", "photo", "--mos-column", "Stars", "--root", rated_photos.parent]
    data = ["--data", f"csv:{home / 'ratings.csv'}", *columns]
    where = ["--backbone", tiny_folder, "--out", home / "run"]
    done = _mpiqe("train", *data, *where, *RUN, "--device", "cpu", "--precision", "bf16")
    assert done.exit_code == 0, done.output
    assert "columns: image is 'photo', mos is 'Stars'" in done.stderr
    return home / "run"


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--crops", "0"], "--crops 0: must be 1 or more, and 4096 or less"),
        (["--crops", "-3"], "--crops -3: must be 1 or more, and 4096 or less"),
        (["--predictions", "missing/p.csv"], "--predictions missing/p.csv: there is no folder missing"),
        (["--predictions", "."], "--predictions .: a folder, not a file"),
    ],
)
def test_evaluate_refuses_at_once_what_it_could_not_do_in_the_end(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _mpiqe("evaluate", run, *more)
    assert (done.exit_code, done.stderr) == (2, f"mpiqe: {complaint}\n")


@pytest.mark.slow
def test_evaluate_gives_a_bf16_runs_figures_again_and_fp32_rounds_otherwise(bf16_run: Path, tmp_path: Path) -> None:
    found = []
    for number, precision in enumerate(([], ["--precision", "fp32"])):
        csv = tmp_path / f"{number}.csv"
        done = _mpiqe("evaluate", bf16_run, "--device", "cpu", *precision, "--predictions", csv)
        assert done.exit_code == 0, done.output
        found.append(csv.read_text())
    assert found[0] == (bf16_run / "predictions.csv").read_text()
    assert found[1] != found[0]


def test_evaluate_says_what_is_missing_where_the_runs_data_has_gone(bf16_run: Path, tmp_path: Path) -> None:
    settings = json.loads((bf16_run / "config.json").read_text())["settings"]
    table = Path(settings["data"].removeprefix("csv:"))
    table.rename(tmp_path / "moved.csv")
    try:
        done = _mpiqe("evaluate", bf16_run, "--device", "cpu")
    finally:
        (tmp_path / "moved.csv").rename(table)
    assert done.exit_code == 2
    assert f"was trained on csv:{table}, and {table} is not there" in done.stderr
    assert "give --data" in done.stderr


def test_rmse_is_left_out_across_unlike_scales_and_stays_across_like_ones(
    run: Path, rated_photos: Path, tmp_path: Path
) -> None:
    rows = [line.split(",") for line in rated_photos.read_text().splitlines()]
    figures = {}
    for name, factor in (("stars", 0.05), ("points", 0.9)):
        table = tmp_path / f"{name}.csv"
        made = [[f"{rated_photos.parent / file}", f"{float(mos) * factor}", *rest] for file, mos, *rest in rows[1:]]
        table.write_text("\n".join(map(",".join, [rows[0], *made])))
        done = _mpiqe("evaluate", run, "--data", f"csv:{table}", "--part", "all", "--json", *ON_CPU)
        assert done.exit_code == 0, done.output
        assert ("RMSE is left out" in done.stderr) == (name == "stars")
        figures[name] = json.loads(done.stdout)
    assert figures["stars"]["rmse"] is None
    assert figures["stars"]["rmse_fitted"] > 0
    assert figures["points"]["rmse"] > 0
    shown = _mpiqe("evaluate", run, "--data", f"csv:{tmp_path / 'stars.csv'}", "--part", "all", *ON_CPU)
    assert "RMSE, after the logistic fit" in shown.stdout
    assert "RMSE, in MOS units" not in shown.stdout


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
    for words in (
        "--learning-rate",
        "--from",
        "[0.05]",
        "--scene-weight",
        "[1.0]",
        "--no-class-mean",
        "mpiqe[tensorboard]",
    ):
        assert words in text


@pytest.mark.slow
def test_without_images_kept_back_train_says_so_and_evaluate_warns(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = ["--data", f"csv:{rated_photos}"]
    done = _mpiqe("train", *data, "--backbone", tiny_folder, "--out", tmp_path / "run", "--train-on-all", *RUN, *ON_CPU)
    assert done.exit_code == 0, done.output
    assert "12 images to train on, 4 to validate on, 0 to test on" in done.stderr
    assert done.stdout.splitlines() == [
        "no images were kept back to test on (--train-on-all), so there are no figures",
        f"run folder: {tmp_path / 'run'}",
    ]
    assert json.loads((tmp_path / "run" / "test.json").read_text())["count"] == 0
    assert (tmp_path / "run" / "predictions.csv").read_text() == "image,mos,score,spread\n"
    evaluated = _mpiqe("evaluate", tmp_path / "run", *data, *ON_CPU)
    assert "careful: the checkpoint was trained with --train-on-all, on test images too" in evaluated.stderr


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
