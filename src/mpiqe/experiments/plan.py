"""The plan of a study: which table cells can be run, what the others lack, and which runs are left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from mpiqe.data import Dataset
from mpiqe.errors import MPIQEError
from mpiqe.experiments.run_files import is_done, refuse_other_study
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.tables import Cell, Table
from mpiqe.model.pretraining_data import pretraining_data
from mpiqe.option_types import EMBEDDED
from mpiqe.parse import parse_json
from mpiqe.plotting import check_libraries
from mpiqe.printable import printable
from mpiqe.training.options import RunOptions


@dataclass(frozen=True)
class PlannedColumn:
    """One column of a table before it is run."""

    name: str
    cells: int
    """Those that can be run, or where none can all that a run is needed for."""
    lacking: str
    """Why they cannot be run; empty if they can."""
    runs: int
    done: int


@dataclass(frozen=True)
class Measured:
    """What can only be known with the backbone loaded."""

    backbone_digest: str
    seconds: float | None
    """What the runs that are left are expected to take, one after another, from a measured step; ``None`` where none is
    to be begun."""
    memory: str = ""
    """What a step of the full model needs and what the device has, in words."""


@dataclass(frozen=True)
class Plan:
    """What can be done, before anything is."""

    study: Study
    """As it was asked for, with the datasets that turned out to be unreadable."""
    datasets: Mapping[str, Dataset]
    """Those that can be used."""
    runs: tuple[Run, ...]
    """All that the study takes, those included that are done."""
    left: tuple[Run, ...]
    notes: tuple[str, ...]
    """What a reader of the figures has to know."""
    measured: Measured | None = None
    """``None`` where only the plan was asked for."""

    def parts(self, table: Table) -> list[PlannedColumn]:
        """A table, column by column."""
        columns: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.study.cells(table):
            if cell.variant is not None:
                columns.setdefault((cell.train, cell.test), []).append(cell)
        found = []
        for (train, test), cells in columns.items():
            mine = {
                run for run in self.runs if run.dataset == train and run.variant in {cell.variant for cell in cells}
            }
            name = train if train == test else f"{train} -> {test}"
            lacking = [self.study.lacks(cell) or "" for cell in cells]
            why = "" if "" in lacking else lacking[0]
            found.append(
                PlannedColumn(name, lacking.count("") or len(cells), why, len(mine), len(mine - set(self.left)))
            )
        return found


def make_plan(study: Study, *, measure: bool = True, begin: bool = True) -> Plan:
    """Read the datasets, look at what is there already, and ``measure`` a step of every kind of run that is left.

    Without ``measure`` the backbone is neither loaded nor looked for on the hub; without ``begin`` no step is measured.
    Raises ``WeightsError`` without a backbone, ``ConfigError`` where ``study.out`` holds runs of another study.
    """
    for figure in study.figures:
        check_libraries(f"to draw {figure}", "matplotlib", *(["sklearn"] if figure == "figure4" else []))
    datasets, unreadable = {}, {}
    for name in study.places:
        if study.datasets is None or name in study.datasets:
            try:
                dataset = study.read(name)
                _ = dataset.digest  # every file is there
                datasets[name] = dataset
            except MPIQEError as error:
                unreadable[name] = str(error)
    study = replace(study, unreadable=unreadable)
    runs = tuple(study.runs())
    left = tuple(run for run in runs if not is_done(study, run))
    measured = None
    if measure:
        measured = _measure(study, datasets, left, begin=begin)
    else:
        refuse_other_study(study, datasets, None)
    pretraining = _pretraining_of(str(study.settings.get("backbone", RunOptions().backbone)))
    used = dict.fromkeys(name for run in runs for name in study.trained_on(run))
    notes = [note for name in used for note in _notes_on(pretraining, study.places[name].spec)]
    notes += [study.note] if study.note else []
    return Plan(study, datasets, runs, left, tuple(dict.fromkeys(notes)), measured)


def _measure(study: Study, datasets: Mapping[str, Dataset], left: Sequence[Run], *, begin: bool) -> Measured:
    from mpiqe.experiments.timing import (
        expected_seconds,
        measure_speeds,
        memory_of_a_step,
    )  # with transformers, which takes seconds
    from mpiqe.model.clip import FrozenCLIP

    digest = FrozenCLIP.from_pretrained(study.settings.get("backbone", RunOptions().backbone)).digest()
    refuse_other_study(study, datasets, digest)
    if not begin:
        return Measured(digest, None)
    seconds = expected_seconds(study, left, datasets, measure_speeds(study, left))
    return Measured(digest, seconds, memory_of_a_step(study, left))


def _pretraining_of(backbone: str) -> list[dict[str, Any]]:
    """What ``mpiqe pretrain`` wrote into the config.json of a backbone on this machine; nothing for one on the hub."""
    folder = Path(str(files("mpiqe") / "weights" / "backbone")) if backbone == EMBEDDED else Path(backbone)
    if not (folder / "config.json").is_file():
        return []
    try:
        config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return []  # loading the backbone says what is wrong
    return pretraining_data(config) if isinstance(config, dict) else []


def _notes_on(pretraining: Sequence[Mapping[str, Any]], spec: str) -> list[str]:
    """Warnings about the dataset ``spec`` where the backbone was pretrained on it."""
    found, name = [], spec.partition(":")[0]
    for entry in pretraining:
        data, split = str(entry.get("data")), printable(str(entry.get("split")))
        if data == spec or (data.partition(":")[0] == name and name != "csv"):
            which = (
                f"(all but the validation images of split {split})"
                if entry.get("train_on_all")
                else f"(the training images of split {split}, which are test images of other splits)"
            )
            found.append(
                f"The backbone was pretrained on {spec} {which}: these figures on {spec} are too high, and do not hold "
                "for other photos."
            )
    return found
