from argparse import Namespace

import pytest
import torch
from benchmarks.training_step import ours, plain
from tests.tiny import TINY_OPTIONS

from mpiqe.bench.photos import write_photos
from mpiqe.data.record import Record
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.device import accelerator_for


@pytest.fixture
def records(tmp_path) -> list[Record]:
    paths = write_photos(tmp_path, size=(64, 48), number=4)
    return [
        Record(path, path.name, float(number), (SCENES[number],), DISTORTIONS[number])
        for number, path in enumerate(paths)
    ]


@pytest.mark.parametrize("parts", [1, 3])
def test_both_sides_take_the_same_step(tiny_folder, records, parts) -> None:
    asked = Namespace(crops=2, parts=parts, workers=0, rate=1e-3)
    accelerator = accelerator_for(device="cpu", precision="fp32")
    losses, weights = [], []
    for make in (ours, plain):
        model = build_model(FrozenCLIP.from_pretrained(tiny_folder), TINY_OPTIONS)
        step = make(model, accelerator, records, asked)
        losses.append([step(1), step(2)])
        weights.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != losses[0][1]
    fresh = dict(build_model(FrozenCLIP.from_pretrained(tiny_folder), TINY_OPTIONS).named_parameters())
    moved = [name for name in fresh if not torch.equal(weights[0][name], fresh[name])]
    assert len(moved) > len(fresh) / 2
    # Adam's first steps have the size of the rate whatever the gradient, so tiny differences of sign show at once
    for name in moved:
        assert (weights[0][name] - weights[1][name]).abs().mean() < 2e-4, name
