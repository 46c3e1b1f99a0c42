"""What needs a GPU: `pytest -m cuda` on a machine that has one. docs/gpu.md is the checklist."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.model.build import QualityModel, build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.model.untrained import BACKBONE, create_untrained, shape_named
from mpiqe.training.device import accelerator_for
from mpiqe.training.memory import forward, free_memory, measure_needs, synthetic_crops, trial_parts

pytestmark = pytest.mark.cuda

SMALL = ["--windows", "3", "--decoder-layers", "1", "--crops", "2", "--epochs", "2", "--batch-size", "8"]
SMALL += ["--learning-rate", "1e-3"]


def _train(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return str(done.stderr)


@pytest.fixture(scope="module")
def vit_b_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    create_untrained(folder, shape_named("vit-b-16"), crops=8)
    return folder / BACKBONE


def _model(folder: Path) -> QualityModel:
    return build_model(FrozenCLIP.from_pretrained(folder), ModelOptions())


def test_a_run_on_the_gpu_learns_what_one_on_the_cpu_does(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder, "--precision", "fp32", *SMALL]
    _train(*data, "--out", tmp_path / "cpu", "--device", "cpu")
    _train(*data, "--out", tmp_path / "gpu", "--workers", "2")
    cpu, gpu = (load_file(tmp_path / name / "mpiqe.safetensors") for name in ("cpu", "gpu"))
    for name, tensor in cpu.items():
        torch.testing.assert_close(gpu[name], tensor, atol=2e-3, rtol=0, msg=name)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_every_precision_trains(rated_photos: Path, tiny_folder: Path, tmp_path: Path, precision: str) -> None:
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder, "--precision", precision, *SMALL]
    said = _train(*data, "--out", tmp_path / "run", "--micro-batch", "auto", "--gradient-checkpointing")
    assert "are free on cuda" in said
    assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_memory_that_is_foretold_is_what_a_step_takes(vit_b_16: Path, precision: str, checkpointing: bool) -> None:
    model = _model(vit_b_16)
    model.clip.checkpointing = checkpointing
    accelerator = accelerator_for(device="auto", precision=precision)
    model.to(accelerator.device)
    needs = measure_needs(model, accelerator)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    crops = synthetic_crops(model, 64, cached=False).to(accelerator.device)
    with accelerator.autocast():
        output = forward(model, crops, model.fold())
    accelerator.backward(output.prediction.float().sum())  # type: ignore[attr-defined]
    assert 0.6 < torch.cuda.max_memory_allocated() / needs.of(64) < 1.15  # the optimiser's moments are not there yet


def test_parts_are_found_on_a_card_that_is_nearly_full(vit_b_16: Path) -> None:
    model = _model(vit_b_16)
    accelerator = accelerator_for(device="auto", precision="bf16")
    model.to(accelerator.device)
    needs = measure_needs(model, accelerator)
    held = torch.empty(max(0, free_memory(accelerator.device) - needs.of(40)), dtype=torch.uint8, device="cuda")
    try:
        parts = trial_parts(model, accelerator, 128, 1, cached=False)
    finally:
        del held
        torch.cuda.empty_cache()
    assert 4 <= parts <= 16


def test_out_of_memory_ends_in_one_sentence(rated_photos: Path, vit_b_16: Path, tmp_path: Path) -> None:
    held = torch.empty(max(0, free_memory(torch.device("cuda")) - 3 * 2**30), dtype=torch.uint8, device="cuda")
    data = ["--data", f"csv:{rated_photos}", "--backbone", vit_b_16, "--batch-size", "512", "--crops", "64"]
    try:
        done = CliRunner().invoke(app, list(map(str, ["train", *data, "--out", tmp_path / "run"])))
    finally:
        del held
        torch.cuda.empty_cache()
    assert done.exit_code == 2
    assert "out of memory in a step of" in done.stderr
    assert "--micro-batch auto" in done.stderr
    assert "Traceback" not in done.stderr
