"""What a step needs, in how many parts it fits, and what is said where it does not."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.data.crop_dataset import Batch
from mpiqe.errors import ConfigError
from mpiqe.labels import SCENES
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.loss import Counts, Loss
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.options import LossOptions, ModelOptions
from mpiqe.training import train as module
from mpiqe.training.device import accelerator_for
from mpiqe.training.memory import GIGABYTE, Needs, free_memory, measure_needs
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.step import MPIQEObjective
from mpiqe.training.train import take_step, train

SMALL = ["--windows", "3", "--decoder-layers", "1", "--crops", "2", "--epochs", "1", "--workers", "0"]
SMALL += ["--device", "cpu", "--precision", "fp32", "--batch-size", "8"]


def _mpiqe(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _gradients(model: MPIQE) -> dict[str, torch.Tensor]:
    """Of one step, which is not taken."""
    torch.manual_seed(0)
    size = model.image_size
    batch = Batch(
        crops=torch.randint(0, 256, (6, 1, 3, size, size), dtype=torch.uint8),
        mos=torch.randn(6),
        scene=torch.nn.functional.one_hot(torch.arange(6) % 9, len(SCENES)).float(),
        distortion=torch.arange(6),
        index=torch.arange(6),
    )
    kept: dict[str, torch.Tensor] = {}

    class Keep(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            kept.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    take_step(
        MPIQEObjective(model, Loss(LossOptions()), Counts(6, 6, 6)),
        [batch],
        Keep(model.parameters(), lr=0.1),
        accelerator_for(device="cpu", precision="fp32"),
    )
    return kept


@pytest.mark.parametrize("tune", ["prompts", "all"])
def test_checkpointing_gives_the_same_gradients_and_keeps_less(tiny_folder: Path, tune: str) -> None:
    model = build_model(FrozenCLIP.from_pretrained(tiny_folder), ModelOptions(windows=3, decoder_layers=1, tune=tune))
    assert isinstance(model, MPIQE)
    accelerator = accelerator_for(device="cpu", precision="fp32")
    plain, needs = _gradients(model), measure_needs(model, accelerator)
    model.clip.checkpointing = True
    again, less = _gradients(model), measure_needs(model, accelerator)
    assert plain.keys() == again.keys()
    assert any(name.startswith("visual_prompts") for name in plain)
    for name, gradient in plain.items():
        assert torch.equal(again[name], gradient), name
    assert 0 < less.per_crop < 0.9 * needs.per_crop  # of three layers, one is counted whole
    assert model.clip.checkpointing


def test_what_a_step_keeps_grows_with_its_crops_alone(tiny_folder: Path) -> None:
    model = build_model(FrozenCLIP.from_pretrained(tiny_folder), ModelOptions(windows=3, decoder_layers=1))
    needs = measure_needs(model, accelerator_for(device="cpu", precision="fp32"))
    trained = sum(p.numel() for p in model.parameters()) * 4
    assert needs.fixed > 4 * trained
    # fp32: 17 tokens of 64 numbers, 3 layers, some 16 such maps a layer
    assert 0.5 < needs.per_crop / (3 * 16 * 17 * 64 * 4) < 4
    assert needs.of(20) - needs.of(10) == 10 * needs.per_crop


@pytest.mark.parametrize(("free", "parts"), [(10.0, 1), (5.1, 1), (2.0, 3), (0.35, 86), (0.32, 256)])
def test_parts_are_the_fewest_that_fit(free: float, parts: int) -> None:
    needs = Needs(fixed=GIGABYTE // 4, per_crop=GIGABYTE // 64)  # 256 crops are 4.25 GB
    found = needs.parts(256, free=int(free * GIGABYTE))
    assert found == parts
    assert needs.of(-(-256 // found)) <= 0.85 * free * GIGABYTE


def test_where_not_one_crop_fits_the_message_says_what_helps() -> None:
    with pytest.raises(ConfigError, match=r"needs 2 GB for a single crop and 1 GB are free; take --gradient-check"):
        Needs(fixed=GIGABYTE, per_crop=GIGABYTE).parts(8, free=GIGABYTE)


def test_the_plan_says_what_a_run_needs_and_auto_gives_the_same_weights(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder]
    whole = _mpiqe("train", *data, "--out", tmp_path / "whole", *SMALL)
    assert whole.exit_code == 0, whole.output
    assert "memory: a step of 8 crops needs about 0.0" in whole.stderr
    assert "are free on cpu\n" in whole.stderr
    seen: list[Needs] = []

    def little(device: torch.device) -> int:
        return seen[-1].of(3) * 100 // 85 + 1000 if seen else 2**40

    def measured(*arguments: object, **how: object) -> Needs:
        seen.append(measure_needs(*arguments, **how))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(module, "measure_needs", measured)
    monkeypatch.setattr(module, "free_memory", little)
    parts = _mpiqe("train", *data, "--out", tmp_path / "parts", *SMALL, "--micro-batch", "auto")
    assert parts.exit_code == 0, parts.output
    assert "a step of 8 crops in 3 parts needs about" in parts.stderr
    tensors = [load_file(tmp_path / name / "mpiqe.safetensors") for name in ("whole", "parts")]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, atol=2e-4, rtol=0, msg=name)


def test_a_step_that_is_too_large_is_said_before_it_is_tried(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder]
    assert "--micro-batch auto finds parts" in _mpiqe("train", *data, "--out", tmp_path / "run", *SMALL).stderr


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), marks=pytest.mark.slow),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        pytest.param(MemoryError(), marks=pytest.mark.slow),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_out_of_memory_is_one_sentence_with_the_flag_and_the_run_goes_on(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def step(*arguments: object, **how: object) -> None:
        raise error

    data = ["--data", f"csv:{rated_photos}", "--backbone", tiny_folder]
    with monkeypatch.context() as patch:
        patch.setattr(module, "take_step", step)
        done = _mpiqe("train", *data, "--out", tmp_path / "run", *SMALL)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mpiqe: ")]
    assert "out of memory in a step of 8 crops at once: --micro-batch auto" in line
    assert "--micro-batch 4 say" in line
    done = _mpiqe("train", "--resume", "--out", tmp_path / "run", "--micro-batch", "4")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "test.json").read_text())["count"] == 4


def test_other_errors_stay_what_they_are(
    rated_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*arguments: object, **how: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(module, "take_step", step)
    settings = {"data": f"csv:{rated_photos}", "backbone": str(tiny_folder), "windows": 3, "device": "cpu"}
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(resolve(settings), RunFolder(tmp_path / "run"), reporter=Silent())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"micro_batch": 0}, "micro_batch = 0: must be 'auto' or a number of crops"),
        ({"micro_batch": "some"}, "micro_batch = 'some'"),
        ({"micro_batch": "8", "accumulation": 2}, "micro_batch and accumulation both say"),
    ],
)
def test_a_size_that_cannot_be_meant_is_refused(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve(given)


def test_free_memory_of_the_machine_is_a_number_of_bytes() -> None:
    assert free_memory(torch.device("cpu")) > 2**20
