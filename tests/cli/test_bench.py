"""The command on a model of tiny random towers; its figures mean nothing, but all of them have to be there."""

import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console
from tests.tiny import TINY, TINY_OPTIONS
from typer.testing import CliRunner

from mpiqe.bench import floor, measure, processes
from mpiqe.bench.report import Decoding, Pipelines, Report, RuntimeFigures
from mpiqe.bench.timing import Timed
from mpiqe.cli import bench
from mpiqe.cli.main import app
from mpiqe.model.untrained import create_untrained

REPEATS = 2
score_embedded = partial(processes.score_command, weights=None)
RUNTIMES = ["torch-fp32"]
if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
    RUNTIMES += ["onnx-fp32", "onnx-int8"]


def numbers(value) -> list[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict:
    folder = create_untrained(tmp_path_factory.mktemp("tiny"), TINY, options=TINY_OPTIONS)
    chosen = [word for name in RUNTIMES for word in ("--runtime", name)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SECONDS", 0.01)
        patch.setattr(measure, "PIPELINE_SECONDS", 0.01)
        patch.setattr(measure, "LARGEST_BATCH", 2)
        patch.setattr(floor, "SIDE", 64)
        # The processes that are started score with the embedded model, which is there in half a second.
        patch.setattr(processes, "score_command", lambda photos, weights, crops: score_embedded(photos, crops=crops))
        options = ["--weights", str(folder), "--crops", "2", "--repeats", str(REPEATS)]
        done = CliRunner().invoke(app, ["bench", *options, *chosen, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_every_figure_is_there_with_all_its_repeats(measured) -> None:
    assert set(measured["runtimes"]) == set(RUNTIMES)
    figures = [measured["plain"], *measured["floor"]["operations_per_second"].values()]
    figures += [each["images_per_second"] for each in measured["decoding"]]
    for name, runtime in measured["runtimes"].items():
        figures += [runtime["bare_tower"], runtime["model"], *runtime["pipelines"].values()]
        assert set(runtime["pipelines"]) == {"512x384", "1024x768"}
        assert all(rows["share_of_bare_tower"] > 0 for rows in runtime["pipelines"].values())
        assert all(runtime[f"model_{share}"] > 0 for share in ("share_of_bare_tower", "times_plain"))
        if name == "onnx-int8":  # there is no product of eight bits to compare with
            assert runtime["model_share_of_peak"] is None
        else:
            assert runtime["model_share_of_peak"] > 0
    for figure in figures:
        assert len(figure["repeats"]) == REPEATS
        assert figure["lowest"] <= figure["median"] <= figure["highest"]
    assert [len(taken["repeats"]) for taken in measured["start_up_seconds"].values()] == [REPEATS] * 2


@pytest.mark.slow
def test_every_number_is_positive(measured) -> None:
    kept = {key: measured[key] for key in ("runtimes", "plain", "floor", "decoding", "start_up_seconds")}
    assert len(numbers(kept)) > 40
    assert min(numbers(kept)) > 0


@pytest.mark.slow
def test_the_machine_the_model_and_the_settings_are_named(measured) -> None:
    assert measured["machine"]["processor"]
    assert measured["machine"]["cores"] >= 1
    assert {"mpiqe", "torch", "numpy"} <= set(measured["machine"]["versions"])
    assert measured["model"]["shape"]["width"] == TINY.vision_width
    assert measured["model"]["operations"]["tower"] < measured["model"]["operations"]["mpiqe"]
    assert (measured["settings"]["crops"], measured["settings"]["repeats"]) == (2, REPEATS)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system does not tell what a finished process held")
def test_the_memory_is_that_of_the_measured_process_not_of_the_measuring_one(measured) -> None:
    assert 20 < measured["peak_memory_mb"] < 2000


def figures_by_hand(**changes) -> Report:
    timed = Timed((0.5, 0.25, 1.0), amount=4)  # 8, 16 and 4 a second: median 8
    pipelines = Pipelines({(512, 384): Timed((1.0, 2.0, 1.0), 6)}, Timed((1.0, 1.0, 0.5), 8))
    values = {
        "machine": {"processor": "some CPU", "cores": 2, "python": "3.11", "versions": {"mpiqe": "0.2"}},
        "model": {"name": "embedded", "operations": {"tower": 10**9, "mpiqe": 2 * 10**9, "plain": 3 * 10**9}},
        "settings": {"crops": 8, "repeats": 3, "batch": 4, "photos": "made"},
        "floor_by": "torch",
        "floor": {"fp32": Timed((1.0,), 256e9)},
        "decoding": [Decoding((512, 384), 2.4, timed)],
        "runtimes": [RuntimeFigures("onnx-fp32", "fp32", timed, Timed((1.0, 0.5, 1.0), 16), pipelines)],
        "plain": Timed((1.0,), 2),
        "start_up": {"mpiqe score, one photo": Timed((0.5,), 1)},
        "peak_memory_mb": 123.4,
        "left_out": {"openvino-bf16": "openvino is not installed"},
    }
    return Report(**{**values, **changes})


def shown(report: Report, capsys) -> str:
    bench._print(report, Console(width=100, highlight=False))
    return capsys.readouterr().out


def test_the_table_tells_rates_shares_and_what_was_left_out(capsys) -> None:
    text = shown(figures_by_hand(), capsys)
    model = next(line for line in text.splitlines() if line.startswith("model, onnx-fp32"))
    # 8 of the bare tower's 16, turn by turn; 8 x 8 crops x 2 GFLOP of 256 GFLOP/s; 4 times the plain model's 2
    assert model.split() == ["model,", "onnx-fp32", "8.00", "(4.00", "to", "16.00)", "50.0%", "50.0%", "4.00"]
    rows = next(line for line in text.splitlines() if line.startswith("rows 512 x 384"))
    assert rows.split() == ["rows", "512", "x", "384", "6.00", "(3.00", "to", "6.00)", "37.5%", "3.00"]
    assert "left out: openvino-bf16: openvino is not installed" in text
    assert "its largest process: 123 MB" in text


def test_without_torch_the_table_has_no_shares(capsys) -> None:
    light = figures_by_hand(
        plain=None,
        model={"name": "embedded", "operations": None},
        runtimes=[RuntimeFigures("onnx-fp32", "fp32", Timed((1.0,), 5), None, Pipelines({}, None))],
        peak_memory_mb=None,
    )
    model = next(line for line in shown(light, capsys).splitlines() if line.startswith("model, onnx-fp32"))
    assert model.split() == ["model,", "onnx-fp32", "5.00", "(5.00", "to", "5.00)"]
    assert "%" not in json.dumps(light.to_json()["runtimes"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--repeats", "0"], "repeats must be at least 1, not 0"),
        (["--backbone", "vit-b-16"], "random:vit-b-16 say, not 'vit-b-16'"),
        (["--backbone", "random:vit-x"], "no shape 'vit-x' is known"),
        (["--backbone", "random:vit-b-16", "--weights", "w"], "give one of --weights and --backbone"),
        (["--runtime", "tensorrt"], "there is no runtime 'tensorrt' to measure"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(given, words) -> None:
    done = CliRunner().invoke(app, ["bench", *given])
    assert done.exit_code == 2
    assert words in done.output


def test_a_score_that_fails_ends_the_measuring_with_its_words(tmp_path) -> None:
    from mpiqe.bench.processes import run, score_command
    from mpiqe.errors import ConfigError

    command = score_command([Path(tmp_path / "none.jpg")], weights=None, crops=1)
    with pytest.raises(ConfigError, match=r"ended with status [12]"):
        run(command)


@pytest.mark.slow
def test_the_light_install_measures_what_it_can_and_says_what_it_left_out() -> None:
    light = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "from mpiqe.bench import measure, floor\n"
        "measure.SECONDS, measure.PIPELINE_SECONDS, floor.SIDE = 0.01, 0.01, 64\n"
        "from mpiqe.cli.main import main; main()"
    )
    options = ["bench", "--crops", "1", "--repeats", "1", "--json"]
    done = subprocess.run([sys.executable, "-c", light, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["runtimes"]["onnx-fp32"]["pipelines"]["512x384"]["median"] > 0
    assert found["floor"]["by"] == "numpy"
    assert found["plain"] is None
    assert "torch" in found["left_out"]["torch-fp32"]
    assert "torch" in found["left_out"]["bare tower, onnx-fp32"]
    assert "torch" in found["left_out"]["plain eager fp32 model"]


def test_a_model_that_has_to_be_made_names_the_extra_that_makes_it() -> None:
    light = "import sys; sys.modules.update(torch=None); from mpiqe.cli.main import main; main()"
    command = [sys.executable, "-c", light, "bench", "--backbone", "random:vit-b-16"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("mpiqe: to make random:vit-b-16, unlike the embedded model, mpiqe needs torch, ")
    assert "pip install 'mpiqe[train]'" in done.stderr
