"""Execute the runs of a study, several at a time if asked; after an interruption only the missing ones."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mpiqe.data import Dataset, check, choose_split, fraction, without_val
from mpiqe.errors import MPIQEError
from mpiqe.experiments.processes import in_processes
from mpiqe.experiments.run_files import about_other, cross_tests_left, is_tested, other_predictions
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.variants import VARIANTS
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, versions
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction, measure, predict, to_csv
from mpiqe.training.linear_probe import PROBE, extract_features, probe
from mpiqe.training.options import TrainOptions
from mpiqe.training.reporter import Reporter, Silent
from mpiqe.training.run_folder import CONFIG, PREDICTIONS, STATE, TEST, RunFolder
from mpiqe.training.stem_cache import Stored, stored_stem
from mpiqe.training.train import train

CHECKED, PROBE_NOTES = "checked.json", "probe.json"
STEM = "stem"
"""The folder of what the frozen stem makes of the datasets; it can be deleted, and is made anew."""


@dataclass(frozen=True)
class FinishedRun:
    """The outcome of one run."""

    run: Run
    seconds: float
    fault: str | None


def check_images(study: Study, names: Sequence[str], note: Callable[[str], None]) -> dict[str, str]:
    """Decode every image of the datasets, once per study folder; return the faults by dataset."""
    folder = RunFolder(study.out)
    seen: dict[str, str] = folder.read_json(CHECKED) or {}
    faults = {}
    for name in names:
        try:
            dataset = study.read(name)
            if seen.get(name) != dataset.digest:
                note(f"{name}: checking {len(dataset.records)} images")
                check(dataset)
                seen[name] = dataset.digest
                folder.write_json(CHECKED, seen)
        except MPIQEError as error:
            faults[name] = str(error)
    return faults


def do(study: Study, run: Run, reporter: Reporter) -> None:
    """Complete one run, from wherever it stands."""
    options, folder = study.options(run), run.folder(study.out)
    if not is_tested(study, run):
        begun = (folder.path / CONFIG).exists()
        variant = VARIANTS[run.variant]
        if variant.by == "probe":
            _probe(study, run, options, folder, reporter)
        elif variant.trains:
            stored = _stored(study, run, options, reporter)
            train(options, folder, resume=begun, checked=True, stored=stored, reporter=reporter)
        else:
            _answer(study, run, options, folder, _stored(study, run, options, reporter))
    (folder.path / STATE).unlink(missing_ok=True)  # the optimiser's; nothing continues from it any more
    for name in cross_tests_left(study, run):
        dataset = study.read(name)
        accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
        model, _ = load_checkpoint(folder.path / FILE_NAME, backbone=options.run.backbone)
        model.clip.fuse()
        predictions = predict(
            model.to(accelerator.device),
            dataset.records,
            accelerator=accelerator,
            crops=options.run.crops,
            crop_mode=options.run.crop_mode,
            view=options.run.view,
            workers=options.run.workers or 0,
        )
        folder.write_json(about_other(name), {"data_digest": dataset.digest})
        folder.write_text(other_predictions(name), to_csv(predictions))


def _stored(study: Study, run: Run, options: TrainOptions, reporter: Reporter) -> Stored | None:
    """What the frozen stem makes of the dataset, for all its runs, where the settings say ``cache_stem``.

    ``None`` for a run on several datasets too, which looks at the images of others besides.
    """
    settings = options.run
    if not settings.cache_stem or options.model.tune != "prompts" or len(study.trained_on(run)) > 1:
        return None
    clip = FrozenCLIP.from_pretrained(settings.backbone)
    clip.fuse()
    accelerator = accelerator_for(device=settings.device, precision=settings.precision)

    def progress(done: int, total: int) -> None:
        if done % 800 == 0 or done == total:
            reporter.note(f"{run.dataset}: the stem has embedded {done} of {total} images")

    return stored_stem(
        study.out / STEM,
        study.read(run.dataset),
        clip.to(accelerator.device),
        settings,
        accelerator=accelerator,
        progress=progress,
    )


def _answer(study: Study, run: Run, options: TrainOptions, folder: RunFolder, stored: Stored | None) -> None:
    """Evaluate a zero-shot model on the split's test images."""
    dataset = study.read(run.dataset)
    test = choose_split(dataset, run.split, source=options.run.splits).test
    accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
    clip = FrozenCLIP.from_pretrained(options.run.backbone)
    _begin(folder, options, dataset, clip)
    model = build_model(clip, options.model, seed=options.run.seed)
    clip.fuse()
    predictions = predict(
        model.to(accelerator.device),
        [dataset.records[index] for index in test],
        accelerator=accelerator,
        crops=options.run.crops,
        crop_mode=options.run.crop_mode,
        view=options.run.view,
        stored=stored,
    )
    folder.write_text(PREDICTIONS, to_csv(predictions))
    folder.write_json(TEST, measure(predictions))


def _probe(study: Study, run: Run, options: TrainOptions, folder: RunFolder, reporter: Reporter) -> None:
    """Fit a linear probe on the split's training images and score its test images, which choose nothing."""
    dataset, settings = study.read(run.dataset), options.run
    split = choose_split(dataset, run.split, source=settings.splits)
    learnt = fraction(split if settings.validation else without_val(split), settings.fraction, seed=settings.seed)
    split = fraction(split, settings.fraction, seed=settings.seed)
    clip = FrozenCLIP.from_pretrained(settings.backbone)
    _begin(folder, options, dataset, clip)
    clip.fuse()
    accelerator = accelerator_for(device=settings.device, precision=settings.precision)
    features = extract_features(clip, dataset.records, settings, accelerator=accelerator, reporter=reporter)[PROBE]
    mos = np.array([record.mos for record in dataset.records])
    probed = probe(features, mos, split, trained=learnt.train)
    tested = [dataset.records[index] for index in split.test]
    predictions = [
        Prediction(record.name, record.mos, float(score), 0.0)
        for record, score in zip(tested, probed.scores, strict=True)
    ]
    rmse = {f"{alpha:g}": value for alpha, value in probed.validation.items()}
    notes = {"alpha": probed.alpha, "validation_rmse": rmse, "features": features.shape[1]}
    folder.write_json(PROBE_NOTES, {**notes, "learned_from": len(learnt.train)})
    folder.write_text(PREDICTIONS, to_csv(predictions))
    folder.write_json(TEST, measure(predictions))  # last: it says that the run is done


def _begin(folder: RunFolder, options: TrainOptions, dataset: Dataset, clip: FrozenCLIP) -> None:
    """Write what a run that takes no steps is made with."""
    digests = {"data_digest": dataset.digest, "backbone_digest": clip.digest()}
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_json(CONFIG, {"settings": options.to_mapping(), **digests, "versions": versions()})


def do_all(study: Study, runs: Sequence[Run], *, jobs: int, reporter: Reporter) -> Iterator[FinishedRun]:
    """Do ``runs``, ``jobs`` at a time, in processes of their own if several; each is told of when it ends.

    A run that fails is told with its fault, and the others go on.
    """
    if jobs == 1:
        for run in runs:
            reporter.note(str(run))
            yield _one(study, reporter, run)
    else:
        yield from in_processes(partial(_one, study, Silent()), runs, jobs=jobs)


def _one(study: Study, reporter: Reporter, run: Run) -> FinishedRun:
    started = time.monotonic()
    fault = None
    try:
        do(study, run, reporter)
    except MPIQEError as error:
        fault = str(error)
    except (OSError, RuntimeError, MemoryError) as error:  # a full disk, a GPU without memory: the next one may do
        fault = f"{type(error).__name__}: {error}"
    return FinishedRun(run, time.monotonic() - started, fault)
