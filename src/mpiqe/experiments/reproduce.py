"""``mpiqe reproduce``: runs, pictures, report."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from mpiqe.data import Dataset, choose_split, describe_split
from mpiqe.errors import MPIQEError
from mpiqe.experiments.figures import FigureFile
from mpiqe.experiments.figures.figure3 import figure3
from mpiqe.experiments.figures.figure4 import figure4
from mpiqe.experiments.plan import Plan
from mpiqe.experiments.protocol import measure, read_predictions
from mpiqe.experiments.report import write_report
from mpiqe.experiments.results import Findings, gather
from mpiqe.experiments.run_files import is_done
from mpiqe.experiments.runner import check_images, do_all
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.variants import FULL, MIXTURE, VARIANTS
from mpiqe.model.backbone_digest import weights_digest
from mpiqe.model.checkpoint import versions
from mpiqe.training.device import about_emulation
from mpiqe.training.movement import MOVED, MOVED_PARTS
from mpiqe.training.options import RunOptions
from mpiqe.training.reporter import Reporter
from mpiqe.training.run_folder import PREDICTIONS, RunFolder

SPLITS = "splits.json"
_PER_RUN = ("data", "root", "image_column", "mos_column", "labels", "split")
Say = Callable[[str], None]


def reproduce(
    plan: Plan, *, jobs: int, command: str, say: Say, reporter: Reporter, report_only: bool = False
) -> Findings:
    """Do what is left of a plan and write the report; what fails is in ``Findings.faults`` and the rest goes on.

    With ``report_only`` no run is begun: the report says of the others that they are not done yet.
    """
    study = plan.study
    out = RunFolder(study.out)
    out.path.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(name for run in plan.runs for name in study.trained_on(run)):
        _store_splits(plan, name)
    started = time.monotonic()
    begun = () if report_only else plan.left
    looked_at = dict.fromkeys(name for run in begun for name in (*study.trained_on(run), *study.others(run)))
    broken = check_images(study, list(looked_at), say)
    study = replace(study, unreadable={**study.unreadable, **broken})  # it costs their own cells, and no other
    faults = dict(study.unreadable)
    left = [run for run in study.runs() if begun and not is_done(study, run)]
    asked = [study.options(run).run for run in left]
    for slow in dict.fromkeys(about_emulation(device=one.device, precision=one.precision) for one in asked):
        if slow:
            say(slow)
    for number, done in enumerate(do_all(study, left, jobs=jobs, reporter=reporter), start=1):
        passed = time.monotonic() - started
        ahead = timedelta(seconds=round(passed / number * (len(left) - number)))
        if done.fault is None:
            figures = protocol_figures(study, done.run)
            answer = f"SRCC {figures['srcc']:.4f}" if figures["srcc"] is not None else "SRCC not defined"
            answer += _told_of_movement(done.run.folder(study.out))
        else:
            faults[str(done.run)] = done.fault
            answer = f"failed: {done.fault}"
        say(f"[{number}/{len(left)}] {done.run}: {answer}, {done.seconds:.0f} s; about {ahead} left")
    pictures = _pictures(study, plan.datasets, faults, say)
    findings = gather(study, faults)
    write_report(findings, study.out, about=_about(plan, command), notes=plan.notes, pictures=pictures)
    return findings


def _told_of_movement(folder: RunFolder) -> str:
    """How far prompts and decoder went: whether the run was long enough to judge them."""
    rows = folder.metrics()
    parts = {part: rows[-1].get(f"{MOVED}{part}") for part in MOVED_PARTS} if rows else {}
    told = [f"{part.replace('_', ' ')} {value:.2f}" for part, value in parts.items() if value is not None]
    return f", moved in initial deviations: {', '.join(told)}" if told else ""


def protocol_figures(study: Study, run: Run) -> Mapping[str, float | None]:
    """Of a run's own test images."""
    return measure(read_predictions(run.folder(study.out).path / PREDICTIONS))


def _store_splits(plan: Plan, name: str) -> None:
    """Which images were on which side, by name, whoever drew the splits."""
    dataset, source = plan.datasets[name], plan.study.options(Run(1, name, FULL)).run.splits
    kept = {}
    for number in range(1, plan.study.repeats + 1):
        split = choose_split(dataset, number, source=source)
        sides = {"train": split.train, "val": split.val, "test": split.test}
        kept[describe_split(dataset, number, source=source)] = {
            side: [dataset.records[index].name for index in indices] for side, indices in sides.items()
        }
    folder = RunFolder(plan.study.out / "runs" / name)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_json(SPLITS, kept)


def _pictures(study: Study, datasets: Mapping[str, Dataset], faults: dict[str, str], say: Say) -> dict[str, FigureFile]:
    found: dict[str, FigureFile] = {}
    name = study.figure_dataset
    if name is None:
        return found
    backbone = study.settings.get("backbone", RunOptions().backbone)
    device = str(study.settings.get("device", RunOptions().device))
    full, visual = (Run(1, name, variant).folder(study.out).path for variant in (FULL, "visual-only"))
    for figure in study.figures:
        say(f"{figure}: drawing")
        try:
            if figure == "figure3":
                found[figure] = figure3(full, visual, datasets[name], study.out, backbone=backbone, device=device)
            else:
                found[figure] = figure4(full, datasets[name], study.out, backbone=backbone, device=device)
        except MPIQEError as error:
            faults[figure] = str(error)
    return found


def _about(plan: Plan, command: str) -> dict[str, str]:
    study = plan.study
    backbone = str(study.settings.get("backbone", RunOptions().backbone))
    digest = "" if plan.measured is None else plan.measured.backbone_digest
    about = {
        "Command": command,
        "Backbone": f"{backbone}, SHA-256 of its weights {weights_digest(digest)[:16]}",
    }
    for name, dataset in plan.datasets.items():
        about[f"Data, {name}"] = (
            f"{len(dataset.records)} images, MOS {dataset.low:g} to {dataset.high:g}, digest {dataset.digest[:16]}"
        )
    about |= _settings(plan)
    about["Versions"] = ", ".join(f"{name} {version}" for name, version in versions().items())
    about["Machine"] = f"{platform.system()} {platform.machine()}"
    return about


def _settings(plan: Plan) -> dict[str, str]:
    """What every run was given, dataset by dataset, and what single variants were given besides."""
    study, told = plan.study, dict[str, str]()
    shared = replace(study, own={})
    for name in dict.fromkeys(run.dataset for run in plan.runs):
        settings = shared.options(Run(1, name, FULL)).to_mapping()
        kept = {key: value for key, value in settings.items() if key not in _PER_RUN}
        told[f"Settings, {name}"] = ", ".join(f"{key} = {value}" for key, value in kept.items())
    for variant in dict.fromkeys(run.variant for run in plan.runs):
        mixed = {} if VARIANTS[variant].leaves_out is None else MIXTURE
        own = {**mixed, **VARIANTS[variant].settings, **study.own.get(variant, {})}
        if own:
            told[f"Settings, {variant}"] = ", ".join(f"{key} = {value}" for key, value in own.items())
    return told
