"""A study: tables, datasets and settings of one reproduction, and the runs that it takes.

::

    OUT/
      runs/DATASET/splits.json            the images of each split by name
      runs/DATASET/VARIANT/split-NN/      a run folder of ``mpiqe train`` each, without its state once it is done
        predictions.csv, test.json        the split's test images
        predictions-OTHER.csv             every image of another dataset (Table 3)
      report.md, report.html, cells.csv   written anew after every command
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpiqe.data import Dataset, read_dataset
from mpiqe.data.registry import DATASETS
from mpiqe.data.splits import NUMBERS
from mpiqe.errors import ConfigError
from mpiqe.experiments.tables import Cell, Table
from mpiqe.experiments.variants import FULL, MIXTURE, READINGS, VARIANTS
from mpiqe.model.options import RENAMED
from mpiqe.training.device import resolve_precision
from mpiqe.training.options import TrainOptions, read_toml, resolve
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.schedule import PAPERS_RATE, PAPERS_WARMUP

PROTOCOL: Mapping[str, Any] = {"validation": False, "epoch": "last"}
"""The paper's: the whole 80 % trains, the last epoch is reported."""
SCHEDULE: Mapping[str, Any] = {"warmup_epochs": PAPERS_WARMUP, "learning_rate": PAPERS_RATE}
"""The paper's, for its 30 epochs; a study of another number of epochs has them by its length."""
FIGURES: Mapping[str, tuple[str, ...]] = {"figure3": (FULL, "visual-only"), "figure4": (FULL,)}
"""The variants that each figure is drawn from, on split 1."""
_NEVER = (
    "data",
    "root",
    "image_column",
    "mos_column",
    "labels",
    "split",
    *RENAMED,
    *RENAMED.values(),
)
_SWITCHED = (  # what tells one row of a table from another
    "method",
    "tune",
    "scene_prompts",
    "distortion_prompts",
    "visual_depth",
    "visual_length",
    "context_length",
    "fraction",
)
_READINGS = tuple(dict.fromkeys(key for name in READINGS for key in VARIANTS[name].settings))
_SHARED = (*_SWITCHED, "splits", "backbone", "labels_as_published", "validation", "crops")


@dataclass(frozen=True)
class Place:
    """Where a dataset lies."""

    spec: str
    """What ``--data`` takes: ``koniq``, ``koniq:512x384``, or ``csv:FILE``."""
    root: Path

    @property
    def is_table(self) -> bool:
        """Whether it is a table of the user's own, to which LIQE's labels mean nothing."""
        return self.spec.partition(":")[0] == "csv"


@dataclass(frozen=True, order=True)
class Run:
    """One training (or zero-shot answer) and its test; ordered so that a study cut short has whole repeats."""

    split: int
    dataset: str
    variant: str

    def folder(self, out: Path) -> RunFolder:
        """Where it is kept."""
        return RunFolder(out / "runs" / self.dataset / self.variant / f"split-{self.split:02}")

    def __str__(self) -> str:
        return f"{self.dataset} {self.variant} split {self.split}"


@dataclass(frozen=True)
class Study:
    """What was asked for."""

    out: Path
    tables: tuple[Table, ...]
    places: Mapping[str, Place]
    labels: Path | None
    datasets: tuple[str, ...] | None
    """Those that were named; ``None`` takes every one that has a place."""
    repeats: int
    figures: tuple[str, ...] = ()
    """Of ``FIGURES``."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``TrainOptions`` for every run."""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """More of them for single variants."""
    note: str | None = None
    """What a reader of the figures has to know of the settings."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Datasets that have a place but cannot be used, with the reason."""
    variants: tuple[str, ...] | None = None
    """Those that are run, with ``FULL``; ``None`` runs all that the tables take."""

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.repeats <= NUMBERS:
            faults.append(f"repeats = {self.repeats}: there are splits 1 to {NUMBERS}")
        unknown = sorted(set(self.datasets or ()) - set(self.names))
        faults += [f"no dataset is called {name!r}; known are {', '.join(self.names)}" for name in unknown]
        faults += [
            f"no variant is called {name!r}; known are {', '.join(VARIANTS)}"
            for name in dict.fromkeys((*self.own, *(self.variants or ())))
            if name not in VARIANTS
        ]
        if any(table.key == "readings" for table in self.tables):
            faults += [
                f"{key!r} is not for a study of readings to say: a row of it does"
                for key in self.settings
                if key in _READINGS
            ]
        faults += [
            f"{key!r} is not for a study to say: the tables, the roots file or the repeats do"
            for key in self.settings
            if key in (*_NEVER, *_SWITCHED)
        ]
        faults += [
            f"{key!r} is not for {name} alone to say: all runs have to share it"
            for name, own in self.own.items()
            for key in own
            if key in (*_NEVER, *_SHARED)
        ]
        if faults:
            raise ConfigError("; ".join(faults))

    @property
    def names(self) -> list[str]:
        """Every dataset that can be named: the published ones, then the tables of the roots file."""
        return list(dict.fromkeys((*DATASETS, *self.places)))

    def options(self, run: Run) -> TrainOptions:
        """The whole settings of one run, as ``mpiqe train`` would be given them."""
        variant, place = VARIANTS[run.variant], self.places[run.dataset]
        together = [self.places[name] for name in self.trained_on(run)[1:]]
        given = {
            **(MIXTURE if together else {}),
            **PROTOCOL,
            **({} if "epochs" in self.settings else SCHEDULE),
            **self.settings,
            **variant.settings,
            **self.own.get(run.variant, {}),
            "data": place.spec,
            "root": str(place.root),
            "labels": None if self.labels is None or place.is_table else str(self.labels),
            "split": run.split,
            **({"labels_as_published": False} if place.is_table else {}),
            **({"extra_data": [f"{place.spec}={place.root}" for place in together]} if together else {}),
        }
        options = resolve(given, where=f"settings of {run.variant}")
        precision = resolve_precision(device=options.run.device, precision=options.run.precision)
        return replace(options, run=replace(options.run, precision=precision))  # as a run writes it down

    @property
    def free_for_done_runs(self) -> set[str]:
        """Settings in which a finished run may differ: the backbone's digest is compared, not how its place is spelt,
        and ``auto`` is another precision on another machine.
        """
        automatic = self.settings.get("precision", "auto") == "auto"
        return {"backbone", "precision"} if automatic else {"backbone"}

    def cells(self, table: Table) -> list[Cell]:
        """The table's cells: the paper's, and those of datasets that were named and that the paper leaves out."""
        tables = [name for name, place in self.places.items() if place.is_table]
        named = [name for name in self.datasets or tables if (name, name) not in table.columns]
        if table.key == "table3":
            named = []
        if table.key == "mixture":
            return [replace(cell, train=(*self._usable_but(cell.test), cell.train)[0]) for cell in table.cells]
        kept = list(table.cells)
        if not any(cell.paper for cell in kept):  # no table of the paper: there is nothing to quote
            kept = [cell for cell in kept if cell.test in (self.datasets or self.places)]
        rows = {cell.row: cell.variant for cell in table.cells if cell.variant is not None}
        further = [Cell(row, name, name, variant, {}) for name in named for row, variant in rows.items()]
        return [*kept, *further]

    def lacks(self, cell: Cell) -> str | None:
        """Why a cell cannot be run, or ``None``."""
        for name in dict.fromkeys((cell.train, cell.test)):
            if self.datasets is not None and name not in self.datasets:
                return f"{name} was not asked for"
            if name not in self.places:
                return f"no place of {name} in the roots file"
            if name in self.unreadable:
                return f"{name} cannot be used: {self.unreadable[name].splitlines()[0]}"
        left_out = None if cell.variant is None else VARIANTS[cell.variant].leaves_out
        if left_out is not None and len(self._usable_but(left_out)) < 2:
            return "there are fewer than two other datasets to train on"
        if self.variants is not None and cell.variant not in (None, FULL, *self.variants):
            return f"{cell.variant} was not asked for"
        return None

    def _usable_but(self, left_out: str) -> list[str]:
        """Every dataset that can be used, but one."""
        asked = [name for name in DATASETS if self.datasets is None or name in self.datasets]
        return [name for name in asked if name in self.places and name not in self.unreadable and name != left_out]

    def trained_on(self, run: Run) -> list[str]:
        """The run's own dataset, and those that are trained on beside it."""
        left_out = VARIANTS[run.variant].leaves_out
        beside = [] if left_out is None else self._usable_but(left_out)
        return list(dict.fromkeys([run.dataset, *beside]))

    @property
    def figure_dataset(self) -> str | None:
        """The dataset that the figures are of: of those that can be used the one of the lowest ``figure_rank``."""
        ranked = sorted(DATASETS.values(), key=lambda spec: spec.figure_rank)  # authentic distortions first
        names = [*(spec.name for spec in ranked), *(name for name in self.places if name not in DATASETS)]
        usable = [name for name in names if self.lacks(Cell("", name, name, None, {})) is None]
        return usable[0] if usable and self.figures else None

    def runs(self) -> list[Run]:
        """Every run that the tables take, each once, in order."""
        wanted = {
            Run(split, cell.train, cell.variant)
            for table in self.tables
            for cell in self.cells(table)
            if cell.variant is not None and self.lacks(cell) is None
            for split in range(1, self.repeats + 1)
        }
        if self.figure_dataset is not None:
            wanted |= {Run(1, self.figure_dataset, name) for figure in self.figures for name in FIGURES[figure]}
        order = list(VARIANTS)
        return sorted(wanted, key=lambda run: (run.split, self.names.index(run.dataset), order.index(run.variant)))

    def others(self, run: Run) -> list[str]:
        """Datasets that a run's model is tested on besides its own (Table 3)."""
        return [
            cell.test
            for table in self.tables
            for cell in self.cells(table)
            if cell.variant == run.variant and cell.train == run.dataset != cell.test and self.lacks(cell) is None
        ]

    def read(self, name: str) -> Dataset:
        """One of its datasets."""
        place = self.places[name]
        return read_dataset(
            place.spec,
            root=place.root,
            labels=None if place.is_table else self.labels,
            as_published=not place.is_table and bool(self.settings.get("labels_as_published", False)),
        )


def read_roots(file: Path) -> tuple[dict[str, Place], Path | None]:
    """A roots file: TOML lines ``dataset = "FOLDER"`` and ``labels = "FOLDER"`` (LIQE's), relative to the file.

    ::

        labels = "liqe_labels"
        livec = "ChallengeDB_release"
        "koniq:512x384" = "/data/koniq-10k"
        "csv:mine.csv" = "/data/mine"

    A table of the user's own is called by its file's name without the suffix; its folder is that of its image paths.
    Raises one ``ConfigError`` for unknown names and folders that are not there.
    """
    if not file.is_file():
        raise ConfigError(
            f'no roots file {file}; write one with a line for each dataset that you have, livec = "FOLDER" say, and '
            'labels = "FOLDER" for LIQE\'s label files'
        )
    places: dict[str, Place] = {}
    labels = None
    faults = []
    for key, value in read_toml(file).items():
        kind, _, rest = key.partition(":")
        name, spec = (Path(rest).stem, f"csv:{file.parent / rest}") if kind == "csv" else (kind, key)
        folder = file.parent / str(value)
        if kind not in (*DATASETS, "labels", "csv"):
            faults.append(f"no dataset is called {key!r}; known are {', '.join(DATASETS)}, csv:FILE, and labels")
        elif not isinstance(value, str) or not folder.is_dir():
            faults.append(f"{key} = {value!r}: no such folder")
        elif kind == "csv" and (not rest or not (file.parent / rest).is_file()):
            faults.append(f"{key}: no such table")
        elif kind == "csv" and name in (*DATASETS, "labels"):
            faults.append(f"{key}: {name} is the name of a published dataset or of the labels; rename the file")
        elif key == "labels":
            labels = folder
        elif name in places:
            faults.append(f"{name} has two places")
        else:
            places[name] = Place(spec, folder)
    if faults:
        raise ConfigError(f"{file}: " + "; ".join(faults))
    return places, labels


def read_settings(file: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], str | None]:
    """Settings of ``mpiqe train`` in TOML for all runs, under ``[variants.NAME]`` for one variant, and a ``note``.

    The note is what a reader of the report has to know of how they were chosen.
    """
    values = read_toml(file)
    own, note = values.pop("variants", {}), values.pop("note", None)
    if not isinstance(own, dict) or not all(isinstance(each, dict) for each in own.values()):
        raise ConfigError(f"{file}: variants must be tables, [variants.NAME]")
    if note is not None and not isinstance(note, str):
        raise ConfigError(f"{file}: note = {note!r} is no text")
    return values, own, note
