"""What does a training step take, and what would a plain loop take? MP-IQE at the paper's settings on ViT-B/16.

    python benchmarks/training_step.py [--images 64] [--parts 16] [--repeats 3] [--device auto]

``ours`` is the package's own step: ``take_step`` on batches of ``step_loader``, precision ``auto``, which is bf16 where
the device multiplies it in hardware. ``plain`` is a loop as one would first write it, below: prompts are real tokens of
the image tower, the text side with all its 77 positions goes through its tower again for every part of the batch, each
crop opens and decodes its photo anew, and all is fp32. Both start from the same random weights, see the same crops and
share the number of parts and of processes that decode; the losses of their first steps are printed, and agree.

Each side has a process of its own, so that its memory can be told apart, and they take turns. A step at the paper's 64
photos of 8 crops takes minutes on two cores: fewer ``--images`` cost the same for a photo, all but the text side.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mpiqe import images
from mpiqe.bench.machine import describe_machine
from mpiqe.bench.photos import SIZES, write_photos
from mpiqe.bench.plain import PlainMPIQE
from mpiqe.data.crop_dataset import CropDataset, scene_vector
from mpiqe.data.record import Record
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.model.loss import Counts, Loss
from mpiqe.model.mpiqe import MPIQE, Folded
from mpiqe.model.options import LossOptions, ModelOptions
from mpiqe.model.untrained import BACKBONE, create_untrained, shape_named
from mpiqe.training.batches import StepSampler, step_loader
from mpiqe.training.device import accelerator_for, peak_memory_mb
from mpiqe.training.options import RunOptions
from mpiqe.training.step import MPIQEObjective
from mpiqe.training.targets import one_hot
from mpiqe.training.train import take_step

SIDES = ("ours", "plain")
PAPERS = RunOptions()
RATE = 1e-5
Step = Callable[[int], float]


def main() -> None:
    """Measure and print, or be one of the two sides."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vit-b-16", help="a shape of mpiqe.model.untrained")
    parser.add_argument("--images", type=int, default=PAPERS.batch_size, help="photos in a step")
    parser.add_argument("--crops", type=int, default=PAPERS.crops)
    parser.add_argument("--parts", type=int, help="that a step is computed in; four photos each if not given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"))
    parser.add_argument("--workers", type=int, default=1, help="processes that decode, for each side")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.parts = asked.parts or -(-asked.images // 4)
    if asked.side:
        serve(asked)
    else:
        compare(asked)


def compare(asked: argparse.Namespace) -> None:
    """Start both sides, let them take turns, print."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        create_untrained(folder / "model", shape_named(asked.backbone), crops=asked.crops)
        (folder / "photos").mkdir()
        write_photos(folder / "photos", size=SIZES[0], number=asked.images)
        sides = {side: stack.enter_context(started(side, folder)) for side in SIDES}
        about = {side: ask(process) for side, process in sides.items()}  # ready, and warm
        answers: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(asked.repeats):
            for side, process in sides.items():
                answers[side].append(ask(process))
    machine = describe_machine()
    print(f"{about['ours']['device']}; {machine['processor']}, {machine['cores']} cores; {machine['versions']}")
    print(
        f"{asked.backbone}, steps of {asked.images} photos x {asked.crops} crops in {asked.parts} parts, medians of "
        f"{asked.repeats} (lowest to highest)"
    )
    rates = {side: [asked.images / answer["seconds"] for answer in given] for side, given in answers.items()}
    for side, given in answers.items():
        spread = f"({min(rates[side]):.2f} to {max(rates[side]):.2f})"
        print(
            f"{side:<6}{about[side]['precision']:<6}{statistics.median(rates[side]):8.2f} photos/s {spread:<18}"
            f"{given[-1]['peak_memory_mb']:8.0f} MB   loss of the first step {given[0]['loss']:.4f}"
        )
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    middle = statistics.median(rates["ours"]) / statistics.median(rates["plain"])
    print(f"ours is {middle:.2f} times as quick (turn by turn {min(ratios):.2f} to {max(ratios):.2f})")


@contextmanager
def started(side: str, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """One side in its own process, with this process's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--folder", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process  # leaving closes its stdin, which ends it


def ask(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The answer to one line."""
    send(process.stdin, {})
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise SystemExit(f"a side ended with status {process.wait()}; its last words are above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def send(stream: IO[str] | None, message: dict[str, Any]) -> None:
    """One line of JSON."""
    assert stream is not None  # noqa: S101  # it is a pipe
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def serve(asked: argparse.Namespace) -> None:
    """Take a step for every line; the first one is answered when a small step has warmed everything up."""
    precision = "auto" if asked.side == "ours" else "fp32"
    accelerator = accelerator_for(device=asked.device, precision=precision)
    model, _ = load_checkpoint(asked.folder / "model", backbone=asked.folder / "model" / BACKBONE)
    model = build_model(model.clip, ModelOptions())
    assert isinstance(model, MPIQE)  # noqa: S101  # it was made here
    model.clip.fuse()
    model.to(accelerator.device)
    paths = sorted((asked.folder / "photos").iterdir())
    records = [
        Record(path, path.name, float(number % 7), (SCENES[number % 9],), DISTORTIONS[number % 11])
        for number, path in enumerate(paths)
    ]
    make = ours if asked.side == "ours" else plain
    make(model, accelerator, records[:1], replaced(asked, parts=1))(0)
    step = make(model, accelerator, records, asked)
    kind = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else "CPU"
    for turn, _ in enumerate(sys.stdin):
        if turn == 0:
            send(sys.stdout, {"precision": kind, "device": device})
            continue
        begun = time.perf_counter()
        loss = step(turn)  # a number, so a GPU has finished
        seconds = time.perf_counter() - begun
        memory = peak_memory_mb(accelerator.device)
        send(sys.stdout, {"seconds": seconds, "loss": loss, "peak_memory_mb": memory})


def replaced(asked: argparse.Namespace, **values: Any) -> argparse.Namespace:
    """``asked`` with other values, and a rate of zero: a warm-up learns nothing."""
    return argparse.Namespace(**{**vars(asked), **values, "rate": 0.0})


def counts_of(records: Sequence[Record], crops: int) -> Counts:
    """Every record has its labels."""
    return Counts(*[len(records) * crops] * 3)


def ours(model: MPIQE, accelerator: Accelerator, records: Sequence[Record], asked: argparse.Namespace) -> Step:
    """The package's own step."""
    optimiser = accelerator.prepare_optimizer(
        torch.optim.Adam(list(model.parameters()), lr=getattr(asked, "rate", RATE))
    )
    sampler = StepSampler(len(records), batch_size=len(records), parts=asked.parts, rank=0, world=1, seed=0)
    crops = CropDataset(records, size=model.image_size, count=asked.crops, seed=0, crops="training")
    loader = step_loader(crops, sampler, workers=asked.workers)
    objective = MPIQEObjective(model, Loss(LossOptions()), counts_of(records, asked.crops))

    def step(epoch: int) -> float:
        sampler.set_epoch(epoch)
        (planned,) = sampler.steps()
        losses = take_step(objective, islice(iter(loader), len(planned.parts)), optimiser, accelerator)
        return float(losses.total.detach())

    return step


class OneCrop(Dataset[tuple[Tensor, int]]):
    """One crop of one photo, which is opened and decoded for it; keys are (epoch, photo, crop)."""

    def __init__(self, records: Sequence[Record], *, size: int, count: int) -> None:
        self.records, self.size, self.count = records, size, count

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Tensor, int]:
        """Pixels (3, S, S) uint8, and which photo they are of."""
        epoch, index, number = key
        name = f"0:{epoch}:{self.records[index].name}"  # as in CropDataset
        photo = images.read(self.records[index].image)
        height, width = photo.shape[:2]
        places = images.seeded_positions(width, height, size=self.size, count=self.count, key=name)
        crop = images.cut(photo, places[number : number + 1], size=self.size)[0]
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))), index


def plain(model: MPIQE, accelerator: Accelerator, records: Sequence[Record], asked: argparse.Namespace) -> Step:
    """The plain loop, in fp32."""
    device, network, loss = accelerator.device, PlainMPIQE(model), Loss(LossOptions())
    optimiser = torch.optim.Adam(list(model.parameters()), lr=getattr(asked, "rate", RATE))
    dataset = OneCrop(records, size=model.image_size, count=asked.crops)
    scenes = torch.stack([scene_vector(record.scenes, "uniform") for record in records]).to(device)
    kinds = torch.tensor([DISTORTIONS.index(str(record.distortion)) for record in records])
    distortions = one_hot(kinds, len(DISTORTIONS)).to(device)
    targets = torch.tensor([record.mos for record in records]).to(device)

    def step(epoch: int) -> float:
        parts = [list(range(first, len(records), asked.parts)) for first in range(asked.parts)]
        keys = [[(epoch, index, crop) for index in part for crop in range(asked.crops)] for part in parts if part]
        total = 0.0
        for pixels, which in DataLoader(dataset, batch_sampler=keys, num_workers=asked.workers):
            scene, distortion = model.text_features(pad_to=model.clip.text_positions)
            assert scene is not None  # noqa: S101  # the paper's settings have both
            assert distortion is not None  # noqa: S101
            folded = Folded(scene, distortion, model.decoder.fold(torch.cat([scene, distortion])))
            losses = loss(
                network(pixels.to(device), folded),
                scene=scenes[which],
                distortion=distortions[which],
                target=targets[which],
                counts=counts_of(records, asked.crops),
            )
            losses.total.backward()
            total += float(losses.total.detach())
        optimiser.step()
        optimiser.zero_grad()
        return total

    return step


if __name__ == "__main__":
    main()
