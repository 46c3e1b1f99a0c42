import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.training.options import PretrainOptions, TrainOptions

pretraining = importlib.import_module("mpiqe.pretrain.loop")
training = importlib.import_module("mpiqe.training.train")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options that a command would have run with."""
    found: list[Any] = []

    def train(options: TrainOptions, run: object, **how: object) -> Mapping[str, float | None]:
        found.append(options.run)
        return {"count": 0}

    def pretrain(options: PretrainOptions, run: object, **how: object) -> Path:
        found.append(options)
        return Path("backbone")

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    return found


def _mpiqe(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_flag_for_a_list_may_be_repeated(command: str, asked: list[Any], tmp_path: Path) -> None:
    _mpiqe(command, "--out", tmp_path, "--extra-data", "csv:a.csv", "--extra-data", "csv:b.csv", "--train-on-all")
    _mpiqe(command, "--out", tmp_path, "--extra-data", "csv:a.csv", "--no-train-on-all")
    _mpiqe(command, "--out", tmp_path)
    assert [options.extra_data for options in asked] == [("csv:a.csv", "csv:b.csv"), ("csv:a.csv",), ()]
    assert [options.train_on_all for options in asked] == [True, False, False]


def test_a_list_of_the_config_file_stays_unless_the_flag_is_given(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('extra_data = ["csv:a.csv"]\nepochs = 3\n')
    config = ("--config", tmp_path / "run.toml", "--out", tmp_path / "run")
    _mpiqe("train", *config)
    _mpiqe("train", *config, "--extra-data", "csv:b.csv", "--epochs", "4")
    assert [(options.extra_data, options.epochs) for options in asked] == [(("csv:a.csv",), 3), (("csv:b.csv",), 4)]


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_flags_old_name_still_works_with_a_warning_and_is_not_in_the_help(
    command: str, asked: list[Any], tmp_path: Path
) -> None:
    old = ["--also", "csv:a.csv", "--extra-data", "csv:b.csv", "--whole"]
    done = CliRunner().invoke(app, [command, "--out", str(tmp_path), *old])
    assert done.exit_code == 0, done.output
    assert set(asked[0].extra_data) == {"csv:a.csv", "csv:b.csv"}
    assert asked[0].train_on_all
    assert "mpiqe: --also is now --extra-data" in done.stderr
    assert "mpiqe: --whole is now --train-on-all" in done.stderr
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert "--train-on-all" in shown
    assert "--also" not in shown
    assert "--whole" not in shown


def test_a_config_file_may_use_the_old_names(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('also = ["csv:a.csv"]\nwhole = true\n')
    _mpiqe("train", "--config", tmp_path / "run.toml", "--out", tmp_path / "run")
    assert (asked[0].extra_data, asked[0].train_on_all) == (("csv:a.csv",), True)


def test_a_list_of_the_wrong_type_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('also = "csv:a.csv"\n')
    done = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "run.toml: extra_data = 'csv:a.csv': expected a list of str" in done.stderr


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_the_help_of_a_list_shows_no_empty_default(command: str) -> None:
    text = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "--extra-data" in text
    assert "may be repeated" in text
    assert "()" not in text
