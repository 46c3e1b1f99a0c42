"""A runtime that one loader and one row of the table add (``made_runtime.py``), seen from outside."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.made_runtime import MADE, with_row

import mpiqe
from mpiqe.bench.runtimes import Source, build
from mpiqe.runtimes import registry

ROOT = Path(__file__).parents[2]


def _mpiqe(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.made_runtime", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RUNTIMES", with_row())


@pytest.mark.parametrize("command", ["score", "explain"])
def test_its_name_and_its_devices_are_in_the_help(command: str) -> None:
    text = " ".join(_mpiqe(command, "--help").stdout.replace("│", " ").split())
    assert "torch (every device, in bf16 on CUDA), made (the brightness of crops), or auto: by the weights." in text
    assert "auto, cpu, cuda, mps or npu." in text


def test_it_is_in_the_help_of_the_benchmark() -> None:
    text = " ".join(_mpiqe("bench", "--help").stdout.replace("│", " ").split())
    assert "torch-fp32, torch-bf16, onnx-fp32, onnx-int8, openvino-fp32, openvino-bf16 or made-fp32; may be" in text


def test_an_unknown_name_is_answered_with_it_too(made: None) -> None:
    with pytest.raises(
        mpiqe.ConfigError, match="runtime must be one of auto, onnx, openvino, torch, made, not 'tensorrt'"
    ):
        mpiqe.load(runtime="tensorrt")
    done = _mpiqe("score", "examples", "--runtime", "tensorrt")
    assert done.returncode == 2
    assert "'made'" in done.stderr
    done = _mpiqe("bench", "--runtime", "tensorrt")
    assert "there is no runtime 'tensorrt' to measure; known are torch-fp32" in done.stderr
    assert "openvino-bf16, made-fp32" in done.stderr


def test_it_scores(tmp_path: Path) -> None:
    for name, level in (("a.png", 50), ("b.png", 200)):
        Image.new("RGB", (60, 40), (level, level, level)).save(tmp_path / name)
    done = _mpiqe("score", tmp_path, "--runtime", "made", "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert [float(row["score"]) for row in csv.DictReader(done.stdout.splitlines())] == [50, 200]


def test_its_row_says_what_it_can_do(made: None, tmp_path: Path) -> None:
    assert mpiqe.load(runtime="made", device="npu").predictor.computes == "made fp32 npu"
    assert mpiqe.load(device="npu").predictor.computes == "made fp32 npu"  # the only one that has the device
    assert mpiqe.load().predictor.computes == "onnx fp32 cpu"  # the first that can
    with pytest.raises(mpiqe.ConfigError, match="Made Runtime computes in fp32 here; for bf16 take the runtime openv"):
        mpiqe.load(runtime="made", precision="bf16")
    with pytest.raises(mpiqe.ConfigError, match="made computes on the CPU and npu; take the runtime torch for other"):
        mpiqe.load(runtime="made", device="cuda")
    with pytest.raises(mpiqe.ConfigError, match="made runs exported models; write one with mpiqe export DIR"):
        mpiqe.load(tmp_path, runtime="made")
    with pytest.raises(mpiqe.ConfigError, match="no runtime runs these weights on npu in bf16"):
        mpiqe.load(device="npu", precision="bf16")


def test_the_benchmark_measures_it_without_a_bare_tower(made: None, tmp_path: Path) -> None:
    subjects, _ = build(Source(None, folder=tmp_path), ["made-fp32"])
    assert [(subject.name, subject.predictor.computes, subject.bare) for subject in subjects] == [
        ("made-fp32", "made fp32 cpu", None)
    ]


def test_a_package_that_it_lacks_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = replace(MADE, loader="made_package.runtime:load", packages=("made_package",), extra="made")
    monkeypatch.setattr(registry, "RUNTIMES", with_row(lacking))
    with pytest.raises(
        mpiqe.ConfigError, match=r"to run a model with Made Runtime mpiqe needs made_package.*'mpiqe\[made\]'"
    ):
        mpiqe.load(runtime="made")


def test_the_docs_table_needs_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = (ROOT / "docs" / "score.md").read_text(encoding="utf-8")
    assert registry.markdown_table() in docs
    monkeypatch.setattr(registry, "RUNTIMES", with_row())
    assert "| `made` | Made Runtime | the brightness of crops | exported graphs |" in registry.markdown_table()
    assert registry.markdown_table() not in docs
