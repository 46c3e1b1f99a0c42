"""Do the runs of a study: each once, several at a time if asked, and after a kill only what is missing."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mpiqe.data import Dataset, check, choose_split
from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.experiments.processes import each_in_turn
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.variants import VARIANTS
from mpiqe.model.backbone_digest import same_backbone, what_differs
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, versions
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import measure, predict, to_csv
from mpiqe.training.loop import PREDICTIONS, TEST, train
from mpiqe.training.options import TrainOptions
from mpiqe.training.reporter import Reporter, Silent
from mpiqe.training.run import CONFIG, STATE, RunFolder

CHECKED = "checked.json"


@dataclass(frozen=True)
class Done:
    """How one run went."""

    run: Run
    seconds: float
    fault: str | None


def other_predictions(name: str) -> str:
    """The file of a run's answers about another dataset."""
    return f"predictions-{name}.csv"


def _about_other(name: str) -> str:
    return f"predictions-{name}.json"


def is_tested(study: Study, run: Run) -> bool:
    """Whether a run has scored its own test images."""
    return (run.folder(study.out).path / TEST).exists()


def left_to_score(study: Study, run: Run) -> list[str]:
    """The other datasets (Table 3) that a run has still to score."""
    folder = run.folder(study.out).path
    return [name for name in study.others(run) if not (folder / other_predictions(name)).exists()]


def is_done(study: Study, run: Run) -> bool:
    """Whether a run has all its predictions."""
    return is_tested(study, run) and not left_to_score(study, run)


def look_at_images(study: Study, names: Sequence[str], note: Callable[[str], None]) -> dict[str, str]:
    """Check every image of the datasets once in a study's life; what is wrong, by dataset."""
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
    """One run, from wherever it stands to its last file."""
    options, folder = study.options(run), run.folder(study.out)
    if not is_tested(study, run):
        begun = (folder.path / CONFIG).exists()
        if VARIANTS[run.variant].learns:
            train(options, folder, resume=begun, checked=True, reporter=reporter)
        else:
            _answer(study, run, options, folder)
    (folder.path / STATE).unlink(missing_ok=True)  # the optimiser's; nothing continues from it any more
    for name in left_to_score(study, run):
        dataset = study.read(name)
        accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
        model, _ = load_checkpoint(folder.path / FILE_NAME, backbone=options.run.backbone)
        model.clip.fuse()
        predictions = predict(
            model.to(accelerator.device),
            dataset.records,
            accelerator=accelerator,
            crops=options.run.crops,
            workers=options.run.workers,
        )
        folder.write_json(_about_other(name), {"data_digest": dataset.digest})
        folder.write_text(other_predictions(name), to_csv(predictions))


def _answer(study: Study, run: Run, options: TrainOptions, folder: RunFolder) -> None:
    """A model that learns nothing, on the split's test images."""
    dataset = study.read(run.dataset)
    test = choose_split(dataset, run.split, source=options.run.splits).test
    accelerator = accelerator_for(device=options.run.device, precision=options.run.precision)
    clip = FrozenCLIP.from_pretrained(options.run.backbone)
    digests = {"data_digest": dataset.digest, "backbone_digest": clip.digest()}
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_json(CONFIG, {"settings": options.to_mapping(), **digests, "versions": versions()})
    model = build_model(clip, options.model, seed=options.run.seed)
    clip.fuse()
    predictions = predict(
        model.to(accelerator.device),
        [dataset.records[index] for index in test],
        accelerator=accelerator,
        crops=options.run.crops,
    )
    folder.write_text(PREDICTIONS, to_csv(predictions))
    folder.write_json(TEST, measure(predictions))


def do_all(study: Study, runs: Sequence[Run], *, jobs: int, reporter: Reporter) -> Iterator[Done]:
    """Do ``runs``, ``jobs`` at a time, in processes of their own if several; each is told of when it ends.

    A run that fails is told with its fault, and the others go on.
    """
    if jobs == 1:
        for run in runs:
            reporter.note(str(run))
            yield _one(study, reporter, run)
    else:
        yield from each_in_turn(partial(_one, study, Silent()), runs, jobs=jobs)


def _one(study: Study, reporter: Reporter, run: Run) -> Done:
    started = time.monotonic()
    fault = None
    try:
        do(study, run, reporter)
    except MPIQEError as error:
        fault = str(error)
    except (OSError, RuntimeError, MemoryError) as error:  # a full disk, a GPU without memory: the next one may do
        fault = f"{type(error).__name__}: {error}"
    return Done(run, time.monotonic() - started, fault)


def refuse_other_study(study: Study, datasets: Mapping[str, Dataset], backbone_digest: str) -> None:
    """Raise ``ConfigError`` where a run that is there was made with other settings, data or weights."""
    faults = []
    digests = {name: dataset.digest for name, dataset in datasets.items()}  # a look at every file: once
    for run in study.runs():
        folder = run.folder(study.out)
        if not (folder.path / CONFIG).exists():
            continue
        try:
            folder.refuse_other_settings(study.options(run).to_mapping(), but=study.free_for_done_runs)
        except ConfigError as error:
            faults.append(str(error))
            continue
        config = folder.config()
        for name in study.others(run):
            about = folder.read_json(_about_other(name))
            if about is not None and about["data_digest"] != digests[name]:
                faults.append(f"{folder.path / other_predictions(name)}: {name} is another copy or version now")
        now = {"data_digest": digests[run.dataset], "backbone_digest": backbone_digest}
        faults += [
            "{}: the {} was {} and is {} now".format(
                folder.path, key.replace("_", " "), *what_differs(str(config.get(key)), value)[1:]
            )
            for key, value in now.items()
            if not same_backbone(str(config.get(key)), value)  # of data, whether they are the same
        ]
    if faults:
        raise ConfigError(
            "the folder holds runs of another study. Give the settings that they were made with, or name another --out:"
            "\n  " + "\n  ".join(faults)
        )
