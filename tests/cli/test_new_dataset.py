"""A dataset that one reader and one row of the registry add (``made_dataset.py``), seen from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from tests.cli.made_dataset import MADE
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.data import registry

ROOT = Path(__file__).parents[2]
FAST = ["--windows", "3", "--decoder-layers", "1", "--crops", "2", "--epochs", "1", "--workers", "0"]


def _mpiqe(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.made_dataset", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )


def _in_this_process(*arguments: object) -> Result:
    """For all but the help, which is of the moment when the command line was imported."""
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = registry.DATASETS, {**registry.DATASETS, "made": MADE}
    for name, module in list(sys.modules.items()):  # other tests have imported it by name
        if name.startswith("mpiqe") and getattr(module, "DATASETS", None) is before:
            monkeypatch.setattr(module, "DATASETS", after)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("reproduce",),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in [("data",), ("data", "check"), ("pretrain",), ("evaluate",)]
        ),
    ],
    ids=" ".join,
)
def test_its_name_is_in_the_help_of_every_command_that_takes_a_dataset(arguments: tuple[str, ...]) -> None:
    text = " ".join(_mpiqe(*arguments, "--help").stdout.split())
    assert "koniq, made" in text
    assert ("made:first" in text) == (arguments not in [("data",), ("reproduce",)])


def test_an_unknown_name_is_answered_with_it_too(made: None, tmp_path: Path) -> None:
    for arguments in (("data", "check", "flickr"), ("train", "--data", "flickr", "--out", tmp_path / "run")):
        done = _in_this_process(*arguments)
        assert done.exit_code == 2
        assert "known are live, csiq, kadid, livec, bid, koniq, made, koniq:512x384, koniq:zscore, made:first" in (
            done.stderr
        )
    (tmp_path / "roots.toml").write_text('flickr = "."\n')
    done = _in_this_process("reproduce", "table4", "--roots", tmp_path / "roots.toml", "--out", tmp_path / "out")
    assert "known are live, csiq, kadid, livec, bid, koniq, made, csv:FILE, and labels" in done.stderr
    done = _in_this_process("data", "check", "made:last", "--root", tmp_path)
    assert "no dataset is called 'made:last'; after made: comes all or first\n" in done.stderr


def test_a_model_is_trained_and_evaluated_on_it_with_its_own_settings(
    made: None, rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(rated_photos.parent, tmp_path / "made_release")
    run = tmp_path / "run"
    data = ["--data", "made", "--root", tmp_path, "--backbone", tiny_folder, "--device", "cpu", "--precision", "fp32"]
    done = _in_this_process("train", *data, "--out", run, *FAST)
    assert done.exit_code == 0, done.output
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["data"], settings["batch_size"], settings["score_weight"]) == ("made", 4, 0.25)
    done = _in_this_process("evaluate", run, "--json", "--device", "cpu")
    assert json.loads(done.stdout) == json.loads((run / "test.json").read_text())
    description = json.loads(_in_this_process("data", "describe", "made:first", "--root", tmp_path, "--json").stdout)
    assert (description["title"], description["rated"], description["images"]["released"]) == ("Made-2k", 8, 16)


def test_the_docs_table_needs_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert registry.markdown_table() in docs
    before, after = registry.DATASETS, {**registry.DATASETS, "made": MADE}
    for name, module in list(sys.modules.items()):  # other tests have imported it by name
        if name.startswith("mpiqe") and getattr(module, "DATASETS", None) is before:
            monkeypatch.setattr(module, "DATASETS", after)
    assert "| `made`, `made:first` | [Made-2k](https://example.org/made) | 16 |" in registry.markdown_table()
    assert registry.markdown_table() not in docs
