"""Estimate the time that a study takes from one measured training step."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from accelerate import Accelerator

from mpiqe.data.crop_dataset import Batch
from mpiqe.data.record import Dataset
from mpiqe.data.splits import choose_split, fraction, without_val
from mpiqe.experiments.run_files import cross_tests_left, is_tested
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.variants import VARIANTS
from mpiqe.labels import SCENES
from mpiqe.model.build import QualityModel, build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.loss import Counts, Loss
from mpiqe.training.device import accelerator_for
from mpiqe.training.memory import free_memory, in_gigabytes, measure_needs
from mpiqe.training.options import TrainOptions
from mpiqe.training.step import MPIQEObjective
from mpiqe.training.train import take_step

REPEATS = 3
IMAGES = 4
"""Images in the measured step: enough that a crop costs what it costs in a whole batch, or nearly."""


class Speed(NamedTuple):
    """Seconds a crop."""

    learning: float
    answering: float


def expected_seconds(
    study: Study, runs: Iterable[Run], datasets: Mapping[str, Dataset], speeds: Mapping[str, Speed]
) -> float:
    """What ``runs`` will take one after another, reading and starting apart; ``speeds`` by ``kind_of``."""
    total = 0.0
    for run in runs:
        settings, dataset, speed = study.options(run).run, datasets[run.dataset], speeds[kind_of(study, run)]
        split = choose_split(dataset, run.split, source=settings.splits)
        side = split if settings.validation else without_val(split)
        learnt = len(fraction(side, settings.fraction, seed=settings.seed).train)
        for name in study.trained_on(run)[1:]:
            beside = choose_split(datasets[name], run.split, source=settings.splits)
            learnt += len((beside if settings.validation else without_val(beside)).train)
        learnt *= settings.epochs
        looks = sum(len(datasets[name].records) for name in cross_tests_left(study, run))
        if is_tested(study, run):
            learnt = 0
        elif VARIANTS[run.variant].trains:
            looks += len(split.test) * (settings.epochs if settings.test_each_epoch else 1)
            looks += len(side.val) * settings.epochs
        else:
            looks += len(split.test)
            looks += len(split.train) + len(split.val) if VARIANTS[run.variant].by == "probe" else 0
        total += settings.crops * (looks * speed.answering + VARIANTS[run.variant].trains * learnt * speed.learning)
    return total


def kind_of(study: Study, run: Run) -> str:
    """Runs of one kind are expected to take the same time a crop."""
    model = study.options(run).model
    text = model.scene_prompts or model.distortion_prompts
    tuned = model.tune if VARIANTS[run.variant].trains else "nothing"
    return f"{model.method}, {'text' if text else 'no text'}, tuned: {tuned}"


def measure_speeds(study: Study, runs: Iterable[Run]) -> dict[str, Speed]:
    """One measured step for each kind of run that there is."""
    speeds: dict[str, Speed] = {}
    for run in runs:
        kind = kind_of(study, run)
        if kind not in speeds:
            speeds[kind] = _measure(study.options(run), learns=VARIANTS[run.variant].trains)
    return speeds


def memory_of_a_step(study: Study, runs: Iterable[Run]) -> str:
    """What a step of the first run that learns needs, and what the device has; empty where none does."""
    learning = next((run for run in runs if VARIANTS[run.variant].trains), None)
    if learning is None:
        return ""
    options = study.options(learning)
    accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
    model = build_model(FrozenCLIP.from_pretrained(options.run.backbone), options.model)
    model.clip.checkpointing = options.run.gradient_checkpointing
    needs = measure_needs(model.to(accelerator.device), accelerator)
    each = options.run.crops if options.run.batch_unit == "images" else 1
    crops = -(-options.run.batch_size * each // options.run.accumulation)
    free = in_gigabytes(free_memory(accelerator.device))
    return f"{in_gigabytes(needs.of(crops))} for {crops} crops at once, {free} are free on {accelerator.device.type}"


def _measure(options: TrainOptions, *, learns: bool) -> Speed:
    accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
    clip = FrozenCLIP.from_pretrained(options.run.backbone)
    model = build_model(clip, options.model)
    if options.model.tune == "prompts":
        clip.fuse()
    model.to(accelerator.device)
    crops = IMAGES * options.run.crops
    pixels = torch.randint(256, (crops, 3, model.image_size, model.image_size), dtype=torch.uint8)

    def answer() -> None:
        with torch.inference_mode(), accelerator.autocast():
            model(pixels.to(accelerator.device))
        _wait(accelerator)

    learning = _median(_step(model, options, pixels, accelerator)) if learns else 0.0
    return Speed(learning / crops, _median(answer) / crops)


def _step(
    model: QualityModel, options: TrainOptions, pixels: torch.Tensor, accelerator: Accelerator
) -> Callable[[], None]:
    optimiser = accelerator.prepare_optimizer(torch.optim.Adam(model.parameters(), lr=0.0))
    scene = torch.zeros(IMAGES, len(SCENES))
    scene[:, 0] = 1
    batch = Batch(
        crops=pixels.view(IMAGES, -1, *pixels.shape[1:]),
        mos=torch.zeros(IMAGES),
        scene=scene,
        distortion=torch.zeros(IMAGES, dtype=torch.int64),
        index=torch.arange(IMAGES),
    )

    objective = MPIQEObjective(model, Loss(options.loss), Counts(len(pixels), len(pixels), len(pixels)))

    def step() -> None:
        take_step(objective, [batch], optimiser, accelerator)
        _wait(accelerator)

    return step


def _wait(accelerator: Accelerator) -> None:
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def _median(work: Callable[[], None]) -> float:
    """Of ``REPEATS``, after one to warm up."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
