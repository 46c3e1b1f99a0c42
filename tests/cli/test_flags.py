import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.training import loop
from mpiqe.training.options import PretrainOptions, TrainOptions

pretraining = importlib.import_module("mpiqe.training.pretrain")


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

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    return found


def _mpiqe(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_flag_for_a_list_may_be_repeated(command: str, asked: list[Any], tmp_path: Path) -> None:
    _mpiqe(command, "--out", tmp_path, "--also", "csv:a.csv", "--also", "csv:b.csv", "--whole")
    _mpiqe(command, "--out", tmp_path, "--also", "csv:a.csv", "--no-whole")
    _mpiqe(command, "--out", tmp_path)
    assert [options.also for options in asked] == [("csv:a.csv", "csv:b.csv"), ("csv:a.csv",), ()]
    assert [options.whole for options in asked] == [True, False, False]


def test_a_list_of_the_config_file_stays_unless_the_flag_is_given(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('also = ["csv:a.csv"]\nepochs = 3\n')
    config = ("--config", tmp_path / "run.toml", "--out", tmp_path / "run")
    _mpiqe("train", *config)
    _mpiqe("train", *config, "--also", "csv:b.csv", "--epochs", "4")
    assert [(options.also, options.epochs) for options in asked] == [(("csv:a.csv",), 3), (("csv:b.csv",), 4)]


def test_a_list_of_the_wrong_type_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('also = "csv:a.csv"\n')
    done = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "run.toml: also = 'csv:a.csv': expected a list of str" in done.stderr


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_the_help_of_a_list_shows_no_empty_default(command: str) -> None:
    text = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "--also" in text
    assert "may be repeated" in text
    assert "()" not in text
