"""Teach a compact CLIP-shaped backbone: one plain loop. What is taught stands in objective.py, on what in views.py."""

import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mpiqe.data import check, choose_split, read_dataset
from mpiqe.data.crop_dataset import CropDataset, EpochSampler, loader
from mpiqe.data.extra_data import Side, read_extra_data, without_folder
from mpiqe.data.item_loader import ItemLoader, killed_workers_named
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import STEM_NETWORK, CompactOptions, create_compact
from mpiqe.model.efficientnet_shape import HEAD_CHANNELS
from mpiqe.model.options import to_mapping
from mpiqe.pretrain.features import FeatureCache, fill
from mpiqe.pretrain.objective import OWN, Statistics, Student, objective
from mpiqe.pretrain.teacher import Teacher
from mpiqe.pretrain.views import MADE, NATURAL, QUALITIES, Rated, ViewDataset, Views, crops_of, rate
from mpiqe.training.device import (
    about_emulation,
    accelerator_for,
    peak_memory_mb,
    quick_attention,
    resolve_precision,
)
from mpiqe.training.evaluate import Prediction, beats, measure
from mpiqe.training.options import PretrainOptions, check_pretrain
from mpiqe.training.reporter import Reporter
from mpiqe.training.run_folder import STATE, RunFolder, as_path, start_or_check
from mpiqe.training.schedule import learning_rate
from mpiqe.view import NATIVE, View

WORDS = frozenset(
    word for name in (*SCENES, *DISTORTIONS) for word in re.findall(r"[a-z]+|[0-9]|[^a-z0-9 ]+", name.lower())
) | {".", ",", "a", "photo", "of", "with", "artifacts", "which", "is", "quality", *QUALITIES}
"""What the compact vocabulary holds whole: the words of labels and captions as CLIP's tokeniser parts them."""
_CROPS = 2  # of each validation photo


@dataclass(frozen=True)
class Photos:
    """What a run learns from and what it validates on."""

    train: list[Rated]
    val: dict[str, list[Record]]
    """By the set's name."""
    digest: str


@killed_workers_named()
def pretrain(options: PretrainOptions, run: RunFolder, *, resume: bool = False, reporter: Reporter) -> Path:
    """Teach a compact backbone and return its folder, ``RUN/backbone``: the last epoch, or the best on validation.

    With ``resume`` a run that was stopped goes on from its last whole epoch.
    """
    check_pretrain(options)
    if not resume:
        run.refuse_taken()
    options = replace(options, precision=resolve_precision(device=options.device, precision=options.precision))
    accelerator = accelerator_for(device=options.device, precision=options.precision)
    if slow := about_emulation(device=options.device, precision=options.precision):
        reporter.note(slow)
    if accelerator.num_processes > 1:
        raise ConfigError("mpiqe pretrain runs in one process; start it without torchrun")
    photos = _photos(options, reporter)
    digests = {"data": photos.digest}
    if options.start is not None:
        start = FrozenCLIP.from_pretrained(options.start)
        if options.mirrored_pooling:
            start.with_mirrored_pooling()  # refused before anything is written
        digests["start"] = start.digest()
    start_or_check(run, to_mapping(options), digests=digests, resume=resume)

    clip = _clip(options, run)
    cache = _teach(options, run, photos, clip, accelerator, reporter)
    taught = {name: array.shape[1] for name, array in cache.arrays.items()} if cache else {}
    standing: Statistics = {}
    if cache:
        standing = {
            name: (mean.to(accelerator.device), deviation.to(accelerator.device))
            for name, (mean, deviation) in cache.statistics().items()
        }
    elif clip.pooled_width:
        taught = {OWN: HEAD_CHANNELS}
    student, average = (_student(_clip(options, run), taught, options, accelerator) for _ in range(2))
    bare = torch.optim.AdamW(_groups(student, options), lr=options.learning_rate)
    optimiser = accelerator.prepare_optimizer(bare)
    average.clip.add_pretraining_data(
        [
            {"data": without_folder(spec), "split": options.split, "train_on_all": options.train_on_all}
            for spec in (options.data, *options.extra_data)
        ]
    )
    both = nn.ModuleDict({"student": student, "average": average})

    steps_per_epoch = -(-len(photos.train) // options.batch_size)
    progress: dict[str, Any] = {"epoch": 0, "best": None}
    if resume and (run.path / STATE).exists():
        progress = run.load_state(both, bare)
        if accelerator.scaler is not None and progress.get("scaler"):
            accelerator.scaler.load_state_dict(progress["scaler"])
    elif student.clip.pooled_width:
        _begin_early((student, average), photos, options, accelerator, reporter)
    if resume:
        run.refuse_fewer_epochs(options.epochs, done=progress["epoch"])
        run.change_epochs(options.epochs)
    run.keep_metrics(progress["epoch"])
    reporter.begin(steps=steps_per_epoch * options.epochs, done=steps_per_epoch * progress["epoch"])

    views = ViewDataset(
        photos.train,
        size=student.image_size,
        seed=options.seed,
        cache=cache,
        smallest=options.smallest,
        made=options.made_views,
        whole=options.square_photos,
    )
    views_each = NATURAL + MADE * options.made_views
    sampler = EpochSampler(len(views), shuffle=True, seed=options.seed)
    batches = ItemLoader(
        views,
        batch_size=options.batch_size,
        sampler=sampler,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    for epoch in range(progress["epoch"] + 1, options.epochs + 1):
        sampler.set_epoch(epoch)
        started, waited, sums = time.monotonic(), [0.0], dict[str, float]()
        for number, batch in enumerate(_timed(batches, waited)):
            step = (epoch - 1) * steps_per_epoch + number
            rate_now = learning_rate(
                step,
                steps_per_epoch=steps_per_epoch,
                epochs=options.epochs,
                warmup_epochs=options.warmup_epochs,
                peak=options.learning_rate,
            )
            for group in bare.param_groups:
                group["lr"] = rate_now * group["share"]
            batch_views = _to(batch, accelerator.device)
            student.renew_contexts(seed=options.seed, step=step)
            with quick_attention(accelerator, tokens=student.clip.grid**2 + 1):
                with accelerator.autocast():
                    output = student.encode(batch_views.crops.flatten(0, 1))
                total, parts = objective(student, output, batch_views, standing, options)
                accelerator.backward(total)
            accelerator.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            follow(average, student, keep=min(options.averaging, (step + 1) / (step + 10)))
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value / steps_per_epoch
            reporter.step(run.finite(total, epoch))
        seconds = time.monotonic() - started
        average.eval()
        agreement = _validate(average, photos.val, accelerator, whole=options.square_photos)
        row = {
            "epoch": epoch,
            "learning_rate": rate_now,
            **{f"loss_{key}": value for key, value in sums.items()},
            **agreement,
            "images_per_second": len(photos.train) / seconds,
            "crops_per_second": len(photos.train) * views_each / seconds,
            "share_waiting_for_data": waited[0] / seconds,
            "seconds_validating": time.monotonic() - started - seconds,
            "peak_memory_mb": peak_memory_mb(accelerator.device),
        }
        if options.epoch == "last" or beats(agreement["val_srcc"], progress["best"]):
            progress["best"] = agreement["val_srcc"]
            average.clip.folded().save(run.path / "backbone", dtype=torch.float16)
        progress["epoch"] = epoch
        if accelerator.scaler is not None:
            progress["scaler"] = accelerator.scaler.state_dict()
        run.add_metrics(row)
        run.save_state(both, bare, progress)
        reporter.epoch(row)
    return run.path / "backbone"


def _photos(options: PretrainOptions, reporter: Reporter) -> Photos:
    """Read and check everything before anything is computed."""
    dataset = read_dataset(
        options.data,
        root=as_path(options.root),
        labels=as_path(options.labels),
        image_column=options.image_column,
        mos_column=options.mos_column,
    )
    for note in dataset.notes:
        reporter.note(f"{dataset.name}: {note}")
    split = choose_split(dataset, options.split)
    trained = (*split.train, *split.test) if options.train_on_all else split.train
    train, val = ([dataset.records[index] for index in sorted(side)] for side in (trained, split.val))
    further = read_extra_data(
        options.extra_data,
        split=options.split,
        train_on_all=options.train_on_all,
        labels=None if options.labels is None else Path(options.labels),
    )
    sides = [Side(dataset, train, val), *further]
    for side in sides:
        used = len(side.train) + len(side.val)
        reporter.note(
            f"{side.dataset.name}: {len(side.train)} photos to learn from, {len(side.val)} to validate on; "
            f"{len(side.dataset.records) - used} are not used"
        )
        check(side.dataset)
    rated = [photo for group, side in enumerate(sides) for photo in rate(side.train, group)]
    named: dict[str, list[Record]] = {}
    for group, side in enumerate(sides):
        name = side.dataset.name  # a CSV's, so two of them may share it
        named[f"{name}-{group}" if name in named else name] = side.val
    return Photos(rated, named, "+".join(side.dataset.digest for side in sides))


def _clip(options: PretrainOptions, run: RunFolder) -> FrozenCLIP:
    begun = _begun(options, run)
    return begun.with_mirrored_pooling() if options.mirrored_pooling else begun


def _begun(options: PretrainOptions, run: RunFolder) -> FrozenCLIP:
    if options.start is not None:
        start = FrozenCLIP.from_pretrained(options.start).with_whole_maps()
        size = options.image_size
        return start if size in (None, start.image_size) else start.for_image_size(size)
    fresh = run.path / "fresh"
    if not (fresh / "model.safetensors").exists():
        create_compact(fresh, words=WORDS, options=_shape(options), seed=options.seed)
    return FrozenCLIP.from_pretrained(fresh)


def _shape(options: PretrainOptions) -> CompactOptions:
    size = 224 if options.image_size is None else options.image_size
    return CompactOptions(stem=options.stem, image_size=size, vision_layers=options.layers)


def _groups(student: Student, options: PretrainOptions) -> list[dict[str, Any]]:
    """Parameters by weight decay and by rate: published layers take smaller steps than what starts from noise.

    The weights of a stem whose rate is 0 are frozen, so that no gradient of them is computed.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        if options.stem_rate == 0 and f".{STEM_NETWORK}." in name:
            parameter.requires_grad_(False)
            continue
        published = bool(student.clip.pooled_width) and (
            f".{STEM_NETWORK}." in name or name.startswith(("early.", "early_classes."))
        )
        groups.setdefault((published, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "share": options.stem_rate if published else 1.0,
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (published, decays), parameters in groups.items()
    ]


_SAMPLED_AT_ONCE = 32  # photos


def _student(clip: FrozenCLIP, taught: dict[str, int], options: PretrainOptions, accelerator: Accelerator) -> Student:
    clip.thaw()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return Student(clip, taught=taught).to(accelerator.device)


def _begin_early(
    students: Sequence[Student],
    photos: Photos,
    options: PretrainOptions,
    accelerator: Accelerator,
    reporter: Reporter,
) -> None:
    """Fit the early probe to what the stem makes of one crop of every photo, before the stem is trained."""
    first, found = students[0], []
    clip = first.clip
    first.eval()
    for start in range(0, len(photos.train), _SAMPLED_AT_ONCE):
        part = photos.train[start : start + _SAMPLED_AT_ONCE]
        crops = [
            crops_of(photo.record, [0], size=clip.image_size, seed=options.seed, whole=options.square_photos)[0]
            for photo in part
        ]
        pixels = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)).to(accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            pooled = clip.stem_maps(clip.preprocess(pixels))[1]
        if pooled is not None:
            found.append(pooled.float())
    first.train()
    targets = torch.tensor([photo.target for photo in photos.train], device=accelerator.device)
    for student in students:
        student.begin_early(torch.cat(found), targets)
    reporter.note(f"the early probe is fitted to one crop of each of {len(photos.train)} photos")


def _teach(
    options: PretrainOptions,
    run: RunFolder,
    photos: Photos,
    clip: FrozenCLIP,
    accelerator: Accelerator,
    reporter: Reporter,
) -> FeatureCache | None:
    """The teacher's features of every training photo's slots."""
    if options.teacher is None:
        return None
    teacher = Teacher.from_pretrained(options.teacher)
    teacher.to(accelerator.device)
    hints = tuple(side for side in clip.stem_sides() if clip.grid < side <= LARGEST_HINT)
    slots = range(options.slots)

    def compute(places: Sequence[int]) -> dict[str, Tensor]:
        crops = [
            crop
            for place in places
            for crop in crops_of(
                photos.train[place].record, slots, size=clip.image_size, seed=options.seed, whole=options.square_photos
            )
        ]
        pixels = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)).to(accelerator.device)
        with accelerator.autocast():
            return teacher.features(pixels, grid=clip.grid, hints=hints)

    def progress(done: int, total: int) -> None:
        if done % 400 == 0 or done == total:
            reporter.note(f"the teacher's features of {done} of {total} photos are computed")

    folder = as_path(options.cache) or run.path / "cache"
    about = {"teacher": options.teacher, "data": photos.digest, "seed": options.seed, "precision": options.precision}
    about |= {"photos_of": options.split, "whole": options.train_on_all}
    about |= {"size": clip.image_size, "grid": clip.grid, "hints": hints}
    about |= {"square_photos": True} if options.square_photos else {}  # as before for crops, so that their caches stay
    return fill(folder, photos=len(photos.train), slots=options.slots, about=about, compute=compute, progress=progress)


LARGEST_HINT = 28
"""Side of the largest map that a teacher's features are kept of: larger ones take more disk than they teach."""


def _timed(batches: ItemLoader[Views], waited: list[float]) -> Iterator[Views]:
    """The batches, adding the seconds that they were waited for to ``waited[0]``."""
    each = iter(batches)
    while True:
        started = time.monotonic()
        batch = next(each, None)
        waited[0] += time.monotonic() - started
        if batch is None:
            return
        yield batch


def _to(views: Views, device: torch.device) -> Views:
    taught = {name: tensor.to(device) for name, tensor in views.taught.items()}
    moved = {name: tensor.to(device) for name, tensor in views._asdict().items() if name != "taught"}
    return Views(**moved, taught=taught)


def _validate(
    student: Student, val: Mapping[str, Sequence[Record]], accelerator: Accelerator, *, whole: bool
) -> dict[str, float | None]:
    """SRCC of every set, and their mean as ``val_srcc``, by which the epoch is chosen."""
    found = {
        name: measure(_predict(student, records, accelerator, whole=whole))["srcc"] for name, records in val.items()
    }
    known = [value for value in found.values() if value is not None]
    mean = statistics.fmean(known) if known else None
    return {
        "val_srcc": mean,
        **({f"val_srcc_{name}": value for name, value in found.items()} if len(found) > 1 else {}),
    }


def _predict(student: Student, records: Sequence[Record], accelerator: Accelerator, *, whole: bool) -> list[Prediction]:
    """The student's mean score over the scorer's crops, or of the whole photo, in standardised MOS."""
    view, count = (View("square", student.image_size), 1) if whole else (NATIVE, _CROPS)
    dataset = CropDataset(records, size=student.image_size, count=count, seed=0, crops="seeded", view=view)
    scores: list[Tensor] = []
    with torch.inference_mode(), accelerator.autocast():
        for batch in loader(dataset, batch_size=8, shuffle=False, workers=0):
            each = student(batch.crops.flatten(0, 1).to(accelerator.device))
            scores.append(each.float().cpu().view(-1, count))
    values = torch.cat(scores) if scores else torch.empty(0, count)
    return [
        Prediction(record.name, record.mos, float(mean), float(spread))
        for record, mean, spread in zip(records, values.mean(dim=1), values.std(dim=1, unbiased=count > 1), strict=True)
    ]


def follow(average: nn.Module, model: nn.Module, *, keep: float) -> None:
    """Move the running mean of the weights a step towards ``model``; running statistics are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        for statistic, latest in zip(average.buffers(), model.buffers(), strict=True):
            statistic.copy_(latest)
