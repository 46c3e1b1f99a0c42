"""Train MP-IQE: one plain loop, to be read from top to bottom."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from mpiqe.data import Dataset, Split, check, choose_split, describe_split, fraction, read_dataset, without_val
from mpiqe.data.crop_dataset import Batch, CropDataset
from mpiqe.data.extra_data import brought_to, read_extra_data, target_statistics
from mpiqe.data.inspection import held_out_and_trained
from mpiqe.data.item_loader import killed_workers_named
from mpiqe.data.photo_cache import PhotoCache, room_for_photos
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.model.build import QualityModel, build_model
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, load_tensors, read_config, save_checkpoint, versions
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_files import EMBEDDED
from mpiqe.model.clip_iqa import CLIPIQA
from mpiqe.model.liqe import LIQE, QUALITIES
from mpiqe.model.lora import is_change
from mpiqe.model.loss import Counts, Loss, Losses
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.tensor_files import check_safetensors
from mpiqe.training.batches import StepSampler, step_loader
from mpiqe.training.device import (
    about_emulation,
    accelerator_for,
    peak_memory_mb,
    quick_attention,
    resolve_precision,
    workers_for,
)
from mpiqe.training.evaluate import (
    Prediction,
    beats,
    calibrate_on,
    measure,
    measure_interval,
    nearly_constant,
    predict,
    to_csv,
)
from mpiqe.training.liqe_loss import LIQELoss, dynamic_weights
from mpiqe.training.liqe_step import LIQEObjective
from mpiqe.training.memory import free_memory, in_gigabytes, measure_needs, out_of_memory_named, trial_parts
from mpiqe.training.movement import initial, movement
from mpiqe.training.options import RunOptions, TrainOptions, compares_images, without_effect
from mpiqe.training.paper import not_the_papers
from mpiqe.training.reporter import Reporter
from mpiqe.training.run_folder import PREDICTIONS, SHIFTS, STATE, TEST, RunFolder, as_path, start_or_check
from mpiqe.training.schedule import schedule_for
from mpiqe.training.set_lines import RATE, SetLines, on_common_scale
from mpiqe.training.set_losses import SetLosses, sets_of
from mpiqe.training.start import Start, align, load_start, make_room, read_start, what_it_may_have_seen
from mpiqe.training.stem_cache import StemCache, Stored
from mpiqe.training.stem_head import ShiftedTargets, fit_heads, pairs_of
from mpiqe.training.step import MPIQEObjective, Objective, TextSide, add_up
from mpiqe.training.tensorboard import event_writer


@dataclass(frozen=True)
class Sides:
    """The records of one split, and those of further sets that are trained on beside them."""

    train: list[Record]
    val: list[Record]
    test: list[Record]
    further: list[Record]
    """Their MOS brought to the mean and deviation of ``train``."""
    further_val: dict[str, list[Record]]
    """Each further set's validation images by its name, their MOS brought to the same scale by the same line."""
    digest: str
    """Of all sets."""
    sizes: tuple[int, ...]
    """How many of ``trained`` each dataset has, in order; those of ``ranked`` together are the last."""
    ranked: list[Record]
    """Images whose MOS only ranks those of one reference."""

    @property
    def trained(self) -> list[Record]:
        """Every record that is trained on."""
        return [*self.train, *self.further, *self.ranked]


@killed_workers_named()
def train(
    options: TrainOptions,
    run: RunFolder,
    *,
    resume: bool = False,
    checked: bool = False,
    stored: Stored | None = None,
    reporter: Reporter,
) -> dict[str, float | None]:
    """Train, keep a checkpoint an epoch, score the test images once at the end; returns the test figures.

    ``checked`` says that the images were checked already, as when many runs share them. ``stored`` is what the frozen
    stem makes of the images, for ``cache_stem`` and for scores.

    The run's folder then holds ``mpiqe.safetensors`` (what ``mpiqe.load`` takes), ``config.json``, ``metrics.jsonl``,
    ``predictions.csv``, ``test.json`` and the state that ``resume`` continues from. The weights are a function of the
    settings, the data and the machine's arithmetic; a run that was killed and resumed ends with the same ones.
    """
    precision = resolve_precision(device=options.run.device, precision=options.run.precision)
    options = replace(options, run=replace(options.run, precision=precision))  # what a resumed run has to keep to
    settings = options.run
    accelerator = accelerator_for(device=settings.device, precision=settings.precision)
    if accelerator.is_main_process and not resume:
        run.refuse_taken()
    if slow := about_emulation(device=settings.device, precision=precision):
        reporter.note(slow)
    dataset, sides = _data(settings, reporter, decode=accelerator.is_main_process and not checked)
    begun = resume and (run.path / STATE).exists()
    start = read_start(settings.start) if settings.start and not begun else None
    if not settings.start:
        options = _without_unknown_labels(options, sides.trained, reporter)
    clip = FrozenCLIP.from_pretrained(settings.backbone)
    backbone_digest = clip.digest()
    model = build_model(clip, options.model, seed=settings.seed)
    if not list(model.parameters()):
        key = "visual_depth" if isinstance(model, LIQE) else "context_length"
        raise ConfigError(f"{options.model.method} with {key} = 0 is zero-shot: there is nothing to train")
    if isinstance(model, LIQE) and accelerator.num_processes > 1:
        raise ConfigError("liqe compares all images of a batch: train it in one process; --micro-batch saves memory")
    if accelerator.num_processes > 1 and (compares_images(options) or settings.set_lines == "learned"):
        raise ConfigError(
            "ranking_weight, plcc_weight and set_lines = 'learned' look at all images of a batch: train in one "
            "process; --micro-batch saves memory"
        )
    if start:
        _go_on_from(start, model, options, dataset, reporter)
    if settings.start:
        make_room(model)
    if options.model.tune == "prompts":
        clip.fuse()
    if not settings.start:
        _aim(model, sides.train, settings)
    began = initial(model)
    model.to(accelerator.device)

    loss = Loss(options.loss)
    liqe_loss = LIQELoss(scenes=options.model.scene_labels, distortions=options.model.distortion_labels)
    trained = sides.trained
    model.clip.checkpointing = settings.gradient_checkpointing
    units = settings.crops if settings.mix_crops else 1  # of an image, each drawn for itself
    crops_each = settings.crops // units
    sampler = StepSampler(
        len(trained),
        batch_size=_units_per_step(settings),
        parts=_parts_of_a_step(model, settings, accelerator, reporter),
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        seed=settings.seed,
        crops=units,
        sets=sides.sizes if settings.sampling == "sets" else (),
    )
    workers = workers_for(accelerator.device) if settings.workers is None else settings.workers
    workers = 0 if settings.cache_stem else workers
    steps = sampler.steps_per_epoch
    schedule = schedule_for(
        steps_per_epoch=steps,
        epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,
        learning_rate=_rate_of(run, settings) if resume else settings.learning_rate,
        tune=options.model.tune,
    )
    options = replace(options, run=replace(settings, learning_rate=schedule.peak))
    settings = options.run
    if note := not_the_papers(options):
        reporter.note(note)
    if idle := without_effect(options):
        reporter.note(f"careful: without effect here: {'; '.join(idle)}")
    if schedule.warmup >= schedule.steps:
        reporter.note(f"careful: warm-up takes all {schedule.steps} steps of the run; give fewer --warmup-epochs")
    lines = SetLines(len(sides.sizes)).to(accelerator.device) if settings.set_lines == "learned" else None
    bare = torch.optim.Adam(_groups(model, settings, lines, peak=schedule.peak), lr=schedule.peak)
    optimiser = accelerator.prepare_optimizer(bare)
    if settings.view_shape == "square" and settings.view_side < model.image_size:
        raise ConfigError(
            f"view_side = {settings.view_side}: a square view has at least the side of a crop, which is "
            f"{model.image_size} with this backbone"
        )
    crops = CropDataset(
        trained,
        size=model.image_size,
        count=settings.crops,
        seed=0 if settings.cache_stem else settings.seed,
        crops=settings.crop_mode if settings.cache_stem else "training",  # a single draw: then the crops of a score
        scene_target=settings.scene_target,
        view=settings.view,
        photos=_photo_cache(settings, workers),
    )
    items = _crops(crops, model, options, accelerator, reporter, stored)
    asked: CropDataset | StemCache | ShiftedTargets = items
    if start and isinstance(model, (MPIQE, LIQE)):
        asked, said = align(model, items, accelerator)
        reporter.note(said)
    elif begun and settings.start and isinstance(model, MPIQE) and model.stem_head is not None:
        shifts = run.read_json(SHIFTS)
        if not isinstance(shifts, list) or len(shifts) != len(trained):
            raise ConfigError(f"{run.path / SHIFTS} does not fit the run; it cannot be continued")
        asked = ShiftedTargets(items, shifts)
    elif not settings.start and isinstance(model, MPIQE):
        how = {"members": options.model.stem_head_members, "seed": settings.seed}
        asked, fits = fit_heads(model, items, accelerator, sizes=sides.sizes, pairs=pairs_of(sides.ranked), **how)
        for line in fits:
            reporter.note(line)
    batches = step_loader(asked, sampler, workers=workers, pin=accelerator.device.type == "cuda")

    events = event_writer(run.path, wanted=settings.tensorboard and accelerator.is_main_process)
    if accelerator.is_main_process:
        digests = {"data": sides.digest, "backbone": backbone_digest}
        start_or_check(run, options.to_mapping(), digests=digests, resume=resume)
        if start and isinstance(asked, ShiftedTargets):
            run.write_json(SHIFTS, asked.shifts)
    accelerator.wait_for_everyone()

    progress: dict[str, Any] = {"epoch": 0, "best": None}
    if start:
        progress |= {"began_from": start.to_json(), "target": [model.target_mean, model.target_std]}
    if begun:
        progress = run.load_state(model, bare, lines=lines)
        model.target_mean, model.target_std = progress.get("target", (model.target_mean, model.target_std))
        if accelerator.scaler is not None and progress.get("scaler"):
            accelerator.scaler.load_state_dict(progress["scaler"])
    if resume:
        run.refuse_fewer_epochs(settings.epochs, done=progress["epoch"])
        if accelerator.is_main_process:
            run.change_epochs(settings.epochs)
    mean, deviation = target_statistics(sides.train)
    centre, unit = (mean - model.target_mean) / model.target_std, deviation / model.target_std  # of the model's number
    ends = list(accumulate(sides.sizes))
    set_losses = SetLosses(options.loss, ends=ends, unit=unit) if compares_images(options) else None
    to_set = (
        None if lines is None else lambda said, images: lines(said, sets_of(images, ends), centre=centre, unit=unit)
    )
    checkpoint = _checkpoint_config(options, backbone_digest, dataset, sides, model, progress.get("began_from"))
    if accelerator.is_main_process:
        run.keep_metrics(progress["epoch"])
        if progress["epoch"]:
            _mend(run, model, checkpoint, options, reporter)
    reporter.begin(steps=steps * settings.epochs, done=steps * progress["epoch"])

    for epoch in range(progress["epoch"] + 1, settings.epochs + 1):
        started, sums, drawn = time.monotonic(), torch.zeros(len(Losses._fields), dtype=torch.float64), 0
        sampler.set_epoch(epoch)
        liqe_loss.weights = dynamic_weights(progress.get("losses", []))
        parts = iter(batches)
        for number, step in enumerate(sampler.steps()):
            rate = schedule((epoch - 1) * steps + number)
            for group in bare.param_groups:
                group["lr"] = rate * group["share"]
            objective: Objective
            if isinstance(model, LIQE):
                objective = LIQEObjective(model, liqe_loss, ends=ends)
            else:
                counts = _counts([trained[index] for index in step.images], crops_each)
                objective = MPIQEObjective(model, loss, counts, set_losses, to_set)
            with out_of_memory_named(crops_each * sum(map(len, step.parts)), len(step.parts)):
                losses = take_step(objective, islice(parts, len(step.parts)), optimiser, accelerator)
            sums += torch.stack(losses).cpu().double() * len(step.images)
            drawn += len(step.images)
            reporter.step(run.finite(losses.total, epoch))
        seconds = time.monotonic() - started

        row = {
            "epoch": epoch,
            "learning_rate": rate,
            **_losses(sums / drawn, options),
            **({} if lines is None else {"set_lines": lines.to_json()}),
            **_figures("val", model, sides.val, options, accelerator, stored),
            **(_figures("test", model, sides.test, options, accelerator, stored) if settings.test_each_epoch else {}),
            **movement(model, began),
            "images_per_second": drawn / units / seconds,
            "peak_memory_mb": peak_memory_mb(accelerator.device),
        }
        better = settings.epoch == "last" or beats(row["val_srcc"], progress["best"])  # D14
        if isinstance(model, LIQE):
            means = [row[f"loss_{term}"] for term in liqe_loss.weights._fields]
            progress["losses"] = [*progress.get("losses", []), means][-2:]
        progress |= {"epoch": epoch, "best": row["val_srcc"] if better else progress["best"]}
        if lines is not None and better:
            progress["set_lines"] = lines.to_json()
        if accelerator.scaler is not None:
            progress["scaler"] = accelerator.scaler.state_dict()
        if accelerator.is_main_process:
            if better:
                checkpoint = replace(checkpoint, metrics={key: row[key] for key in ("epoch", "val_srcc", "val_plcc")})
                save_checkpoint(run.path / FILE_NAME, model, checkpoint)
            run.add_metrics(row)
            run.save_state(model, bare, progress, lines=lines)  # last: what it says has happened, has happened
            events(row)
        reporter.epoch(row)
    accelerator.wait_for_everyone()
    if lines is not None:
        sides = _on_common_scale(sides, progress["set_lines"], (mean, deviation))
    return _test(model, run, dataset.name, sides, options, accelerator, reporter, stored)


def take_step(objective: Objective, batches: Iterable[Batch], optimiser: Optimizer, accelerator: Accelerator) -> Losses:
    """Update the model once with ``batches``, the micro-batches of one batch; returns its losses, detached."""
    model, device = objective.model, accelerator.device
    sums = torch.zeros(len(Losses._fields), device=device)
    with quick_attention(accelerator, tokens=model.clip.grid**2 + 1):
        with accelerator.autocast():
            text = TextSide(model.fold())  # once, for it does not depend on the images
        for batch in objective.micro_batches(batches, text.leaves, accelerator):
            with accelerator.autocast():
                output = objective.forward(batch, text.leaves, device)
            losses = objective.loss(output, batch)
            accelerator.backward(losses.total)  # gradients of micro-batches add up
            sums += torch.stack([loss.detach() for loss in losses])
        text.backward()
    if accelerator.num_processes > 1:
        sums = add_up(model, sums, accelerator)
    optimiser.step()
    optimiser.zero_grad()
    return Losses(*sums)


def _data(settings: RunOptions, reporter: Reporter, *, decode: bool) -> tuple[Dataset, Sides]:
    """Read everything, and ``decode`` every image to check it, before anything is computed."""
    dataset = read_dataset(
        settings.data,
        root=as_path(settings.root),
        labels=as_path(settings.labels),
        as_published=settings.labels_as_published,
        image_column=settings.image_column,
        mos_column=settings.mos_column,
    )
    for note in dataset.notes:
        reporter.note(f"{dataset.name}: {note}")
    if decode:
        reporter.note(f"{dataset.name}: checking {len(dataset.records)} images")
        check(dataset)
    split: Split = choose_split(dataset, settings.split, source=settings.splits)
    if settings.train_on_all:
        split = Split(tuple(sorted((*split.train, *split.test))), split.val, ())
    if not settings.validation:
        split = without_val(split)
    split = fraction(split, settings.fraction, seed=settings.seed)
    train_side, val, test = (
        [dataset.records[index] for index in side] for side in (split.train, split.val, split.test)
    )
    held = f"{len(val)} to validate on" if val else "none to validate on (the whole training side trains)"
    whose = describe_split(dataset, settings.split, source=settings.splits)
    reporter.note(f"split {whose}: {len(train_side)} images to train on, {held}, {len(test)} to test on")
    further, digest, sizes = [], dataset.digest, [len(train_side)]
    further_val: dict[str, list[Record]] = {}
    scale = target_statistics(train_side)
    extra = read_extra_data(
        settings.extra_data,
        split=settings.split,
        source="auto" if settings.splits == "liqe" else settings.splits,
        train_on_all=settings.train_on_all,
        validation=settings.validation,
        labels=as_path(settings.labels),
    )
    for side in extra:
        reporter.note(f"{side.dataset.name}: {len(side.train)} images to train on beside them")
        if decode:
            check(side.dataset)
        further += brought_to(scale, side.train)
        sizes.append(len(side.train))
        name = side.dataset.name
        while name in {dataset.name, *further_val}:
            name += "'"
        further_val[name] = brought_to(scale, side.val, by=side.train)
        digest += f"+{side.dataset.digest}"
    ranked: list[Record] = []
    for spec in settings.ranked_data:
        made = read_dataset(spec)
        reporter.note(f"{made.name}: {len(made.records)} images to rank beside them")
        if decode:
            check(made)
        ranked += made.records
        digest += f"+{made.digest}"
    if ranked:
        sizes.append(len(ranked))
    if decode and (further or ranked):
        seen = held_out_and_trained([*val, *test], [*further, *ranked])
        if seen:
            reporter.note(
                f"careful: {len(seen)} of the {len(val)} validation and {len(test)} test images are trained on as "
                f"images of another set, {seen[0].name} among them: figures on them are too high"
            )
    return dataset, Sides(train_side, val, test, further, further_val, digest, tuple(sizes), ranked)


def _on_common_scale(sides: Sides, lines: Sequence[Sequence[float]], scale: tuple[float, float]) -> Sides:
    """With the validation images of the further sets on the scale that the model learned for them."""
    named = zip(sides.further_val.items(), lines, strict=True)
    return replace(sides, further_val={name: on_common_scale(val, line, scale) for (name, val), line in named})


def _crops(
    crops: CropDataset,
    model: QualityModel,
    options: TrainOptions,
    accelerator: Accelerator,
    reporter: Reporter,
    stored: Stored | None,
) -> CropDataset | StemCache:
    """New crops each epoch, or one draw of them behind the frozen stem."""
    if not options.run.cache_stem:
        return crops

    def progress(done: int, total: int) -> None:
        if done % 800 == 0 or done == total:
            reporter.note(f"the stem has embedded {done} of {total} images")

    return StemCache(crops, model.clip, accelerator=accelerator, progress=progress, stored=stored)


def _aim(model: QualityModel, trained: Sequence[Record], settings: RunOptions) -> None:
    """Set what the head's number stands for (D10), CLIP-IQA's probability, or LIQE's expected quality."""
    mean, std = target_statistics(trained)
    ratings = [record.mos for record in trained]
    if isinstance(model, CLIPIQA):
        model.target_mean, model.target_std = min(ratings), max(ratings) - min(ratings)
    elif isinstance(model, LIQE):  # 1 is the lowest rating, 5 the highest
        model.target_std = (max(ratings) - min(ratings)) / (len(QUALITIES) - 1)
        model.target_mean = min(ratings) - model.target_std
    elif settings.target == "standardised":
        model.target_mean, model.target_std = mean, std
    elif model.stem_head is None:  # it brings a bias of its own
        with torch.no_grad():
            model.decoder.head[-1].bias.fill_(mean)  # type: ignore[operator]


def _units_per_step(settings: RunOptions) -> int:
    """How many of what the sampler draws, crops or whole images, make a step of ``batch_size`` (D11)."""
    if settings.mix_crops:
        return settings.batch_size * (settings.crops if settings.batch_unit == "images" else 1)
    return settings.batch_size // (settings.crops if settings.batch_unit == "crops" else 1)


def _parts_of_a_step(model: QualityModel, settings: RunOptions, accelerator: Accelerator, reporter: Reporter) -> int:
    """In how many parts a step is computed, and say what it needs and what the device has."""
    crops = _units_per_step(settings) * (1 if settings.mix_crops else settings.crops)
    crops = math.ceil(crops / accelerator.num_processes)
    needs = measure_needs(model, accelerator, cached=settings.cache_stem)
    free = free_memory(accelerator.device)
    if settings.micro_batch == "auto":
        parts = needs.parts(crops, free=free)
        if accelerator.device.type == "cuda":
            parts = trial_parts(model, accelerator, crops, parts, cached=settings.cache_stem)
    elif settings.micro_batch is not None:
        parts = math.ceil(crops / int(settings.micro_batch))
    else:
        parts = settings.accumulation
    at_once = math.ceil(crops / parts)
    size = f"a step of {crops} crops" + (f" in {parts} parts" if parts > 1 else "")
    advice = "; --micro-batch auto finds parts that fit" if needs.of(at_once) > free else ""
    reporter.note(
        f"memory: {size} needs about {in_gigabytes(needs.of(at_once))}, {in_gigabytes(free)} are free on "
        f"{accelerator.device.type}{advice}"
    )
    return parts


def _photo_cache(settings: RunOptions, workers: int) -> PhotoCache | None:
    """A place for decoded photos, where they are cut again and again."""
    again = settings.epochs > 1 or (settings.mix_crops and settings.crops > 1)
    if not settings.photo_cache or settings.cache_stem or not again:
        return None
    room = room_for_photos(free=free_memory(torch.device("cpu")))
    return PhotoCache(room=room, writers=max(1, workers))


def _rate_of(run: RunFolder, settings: RunOptions) -> float | None:
    """The rate of the run that is resumed, where none is named: it stays, whatever the number of epochs is now."""
    rate: float | None = run.settings().get("learning_rate") if settings.learning_rate is None else None
    return settings.learning_rate if rate is None else rate


def _without_unknown_labels(options: TrainOptions, trained: Sequence[Record], reporter: Reporter) -> TrainOptions:
    """``options`` of a model that tells no scene or distortion where no training image has one to learn from."""
    scenes = options.model.names_scenes and not any(record.scenes for record in trained)
    distortions = options.model.names_distortions and all(record.distortion is None for record in trained)
    for absent, what in ((scenes, "scene"), (distortions, "distortion")):
        if absent:
            reporter.note(f"no training image has a {what} label: the model will tell no {what}")
    model = replace(
        options.model,
        scene_labels=options.model.scene_labels and not scenes,
        distortion_labels=options.model.distortion_labels and not distortions,
    )
    return replace(options, model=model)


def _go_on_from(start: Start, model: QualityModel, options: TrainOptions, dataset: Dataset, reporter: Reporter) -> None:
    load_start(model, start, options.model)
    config = start.config
    reporter.note(
        f"going on from {config.version or start.source}, trained on {config.dataset} (split: {config.split})"
    )
    split = describe_split(dataset, options.run.split, source=options.run.splits)
    if not options.run.train_on_all and (note := what_it_may_have_seen(start, dataset, split)):
        reporter.note(note)


def _groups(model: QualityModel, settings: RunOptions, lines: SetLines | None, *, peak: float) -> list[dict[str, Any]]:
    """What is new, and what CLIP brought along if that is tuned: it takes smaller steps than what starts from noise."""
    named = {name: name.startswith("clip.") and not is_change(name) for name, _ in model.named_parameters()}
    new, brought = (
        [parameter for name, parameter in model.named_parameters() if named[name] is own] for own in (False, True)
    )
    groups = [{"params": new, "share": 1.0}, {"params": brought, "share": settings.backbone_rate}]
    groups += [] if lines is None else [{"params": list(lines.parameters()), "share": RATE / peak}]
    return [group for group in groups if group["params"]]


def _counts(images: Sequence[Record], crops: int) -> Counts:
    return Counts(
        crops=crops * len(images),
        scene=crops * sum(bool(record.scenes) for record in images),
        distortion=crops * sum(record.distortion is not None for record in images),
    )


def _losses(means: torch.Tensor, options: TrainOptions) -> dict[str, float | None]:
    """An epoch's mean losses as ``metrics.jsonl`` names them; those within sets where they are asked for."""
    values = [value if math.isfinite(value) else None for value in means.tolist()]
    names = ("loss", "loss_scene", "loss_distortion", "loss_score", "loss_ranking", "loss_plcc")
    absent = {"loss_ranking"} if options.loss.ranking_weight == 0 else set()
    absent |= {"loss_plcc"} if options.loss.plcc_weight == 0 else set()
    return {name: value for name, value in zip(names, values, strict=True) if name not in absent}


def _figures(
    side: str,
    model: QualityModel,
    records: Sequence[Record],
    options: TrainOptions,
    accelerator: Accelerator,
    stored: Stored | None,
) -> dict[str, float | None]:
    if not records:
        return {f"{side}_srcc": None, f"{side}_plcc": None}
    figures = measure(_predict(model, records, options, accelerator, stored))
    return {f"{side}_srcc": figures["srcc"], f"{side}_plcc": figures["plcc"]}


def _predict(
    model: QualityModel,
    records: Sequence[Record],
    options: TrainOptions,
    accelerator: Accelerator,
    stored: Stored | None,
) -> list[Prediction]:
    """With the crops that a scorer will take for this model."""
    run = options.run
    how: dict[str, Any] = {"crops": run.crops, "crop_mode": run.crop_mode, "view": run.view}
    return predict(model, records, accelerator=accelerator, stored=stored, **how)


def _checkpoint_config(
    options: TrainOptions,
    backbone_digest: str,
    dataset: Dataset,
    sides: Sides,
    model: QualityModel,
    began_from: Mapping[str, Any] | None,
) -> CheckpointConfig:
    backbone = options.run.backbone
    if backbone != EMBEDDED and Path(backbone).is_dir():
        backbone = str(Path(backbone).resolve())
    ratings = [record.mos for record in sides.train]
    training = {**options.to_mapping(), "data_digest": sides.digest}
    width = options.model.stem_head_width
    if isinstance(model, MPIQE) and isinstance(model.stem_head, torch.nn.Sequential):
        width = int(model.stem_head[0].out_features)  # type: ignore[arg-type]  # after --from two more
    return CheckpointConfig(
        options=replace(options.model, stem_head_width=width),
        backbone=backbone,
        backbone_digest=backbone_digest,
        target_mean=model.target_mean,
        target_std=model.target_std,
        dataset=dataset.name,
        mos_low=min(ratings),
        mos_high=max(ratings),
        crops=options.run.crops,
        view=options.run.view,
        crop_mode=options.run.crop_mode,
        split=describe_split(dataset, options.run.split, source=options.run.splits),
        training={**training, "began_from": dict(began_from)} if began_from else training,
        versions=versions(),
    )


def _mend(
    run: RunFolder, model: QualityModel, checkpoint: CheckpointConfig, options: TrainOptions, reporter: Reporter
) -> None:
    """Write a damaged or missing checkpoint anew from the state, which ``model`` has just been given.

    Raises ``WeightsError`` where it held the weights of an epoch before the last: the state has those of the last.
    """
    path = run.path / FILE_NAME
    try:
        read_config(path)
        check_safetensors(path)
    except WeightsError as error:
        rows, kept, best = run.metrics(), None, None
        for row in rows:
            if options.run.epoch == "last" or beats(row["val_srcc"], best):
                kept, best = row, row["val_srcc"]
        if kept is None or kept is not rows[-1]:
            raise WeightsError(
                f"{error}\nIt held the weights of the best epoch, and {run.path / STATE} those of the last alone: copy "
                f"{FILE_NAME} back from where there is one, or train anew with another --out"
            ) from error
        reporter.note(f"{path} is damaged or missing; it is written anew from {STATE}")
        metrics = {key: kept[key] for key in ("epoch", "val_srcc", "val_plcc")}
        save_checkpoint(path, model, replace(checkpoint, metrics=metrics))


def _test(
    model: QualityModel,
    run: RunFolder,
    name: str,
    sides: Sides,
    options: TrainOptions,
    accelerator: Accelerator,
    reporter: Reporter,
    stored: Stored | None,
) -> dict[str, float | None]:
    """Calibrate the interval, and look at the test images for the only time, with the weights that are kept."""
    load_tensors(model, run.path / FILE_NAME)
    held_out = {name: sides.val, **sides.further_val} if sides.val else {}
    predicted = {name: _predict(model, records, options, accelerator, stored) for name, records in held_out.items()}
    interval = calibrate_on(predicted, trained=sides.train, crops=options.run.crops)
    predictions = _predict(model, sides.test, options, accelerator, stored)
    ratings = [record.mos for record in sides.train]
    for looked_at in (predictions, predicted.get(name, [])):
        if note := nearly_constant(looked_at, low=min(ratings), high=max(ratings)):
            reporter.note(note)
            break
    if accelerator.is_main_process:
        run.write_text(PREDICTIONS, to_csv(predictions))
    figures: Mapping[str, float | None] = {**measure(predictions), **measure_interval(interval, predictions)}
    if accelerator.is_main_process:
        kept = read_config(run.path / FILE_NAME)
        tested = {f"test_{key}": value for key, value in figures.items()}
        save_checkpoint(
            run.path / FILE_NAME, model, replace(kept, metrics={**kept.metrics, **tested}, interval=interval)
        )
        run.write_json(TEST, figures)  # last: it says that the run is done
    accelerator.wait_for_everyone()
    return dict(figures)
