"""The paper's tables: the published value of each cell, and the run that reproduces it.

The figures are the paper's own, copied into ``published/`` as they are printed. Table 3 has LIQE besides, which the
paper leaves out there. "lines", "mixture" and "readings" are no tables of the paper: models to hold the others against,
training on several datasets at once, and other readings of what it says.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files

from mpiqe.data.registry import DATASETS
from mpiqe.experiments.variants import FULL, LIQE, PROBE, READINGS, without

_ABLATIONS = {
    "MP-IQE": FULL,
    "w/o scene prompts": "no-scene",
    "w/o distortion prompts": "no-distortion",
    "w/o deep visual prompts": "no-visual",
    "shallow visual prompts": "shallow-visual",
}
_LINES = {
    "linear probe": PROBE,
    "visual-only": "visual-only",
    "MP-IQE": FULL,
    "full fine-tuning": "tune-all",
    "LIQE on frozen towers": "liqe-frozen",
}
_RUN = {"MP-IQE": FULL, "LIQE": LIQE}
"""Of the methods in Tables 1 and 3 those that are run here; the others are quoted."""
_BASELINES = {"CLIP-IQA": "clip-iqa", "CLIP-IQA+": "clip-iqa-plus", "MP-IQE": FULL}


@dataclass(frozen=True)
class Cell:
    """One row of a table on one dataset."""

    row: str
    train: str
    test: str
    """Dataset to train on and to test on; they differ in Table 3 alone, and where several are trained on."""
    variant: str | None
    """What is run for it; ``None`` for what the paper quotes of others."""
    paper: Mapping[str, float]
    """The paper's ``srcc`` and ``plcc`` as far as it gives them."""


@dataclass(frozen=True)
class Table:
    """One table, its cells in the paper's order."""

    key: str
    title: str
    note: str
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[str]:
        """The rows' labels in order."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The (train, test) pairs in order."""
        return list(dict.fromkeys((cell.train, cell.test) for cell in self.cells))


def tables() -> dict[str, Table]:
    """All of them by key."""
    found = (
        _table(
            "table1",
            "Table 1: MP-IQE and nine other methods on six datasets",
            "80 % of a dataset to train on, 20 % to test on. LIQE is run too, on the same backbone, crops and splits, "
            "one dataset at a time (its authors train on six at once); eight methods are the paper's figures.",
            lambda row: (row["method"], _RUN.get(row["method"])),
        ),
        _table(
            "table2",
            "Table 2: against CLIP-IQA and CLIP-IQA+",
            "All three stand on the same backbone here; the original CLIP-IQA has a ResNet-50.",
            lambda row: (row["method"], _BASELINES[row["method"]]),
        ),
        _table(
            "table3",
            "Table 3: trained on one dataset, tested on another",
            "Trained on each split's 80 % of the one, tested on every image of the other. "
            "The paper has no figure of LIQE's.",
            lambda row: (row["method"], _RUN.get(row["method"])),
        ),
        _table(
            "table4",
            "Table 4: what each kind of prompt is worth",
            "Each row is the full model with one thing taken out.",
            lambda row: (row["variant"], _ABLATIONS[row["variant"]]),
        ),
        _table(
            "table5",
            "Table 5: fewer training images",
            "A share of the training images; the test images stay the same. The last row is Table 1's.",
            lambda row: (
                f"{row['method']}, {float(row['fraction']):.0%}",
                f"fraction-{round(100 * float(row['fraction']))}" if row["method"] == "MP-IQE" else None,
            ),
        ),
        _table(
            "table6",
            "Table 6: how many prompt tokens",
            "One length is changed, the other stays at the full model's 8 text contexts and 4 visual prompts.",
            lambda row: (f"{row['length']} {row['prompt']}", _length(row["prompt"], int(row["length"]))),
        ),
        Table(
            "lines",
            "Beside the paper: a linear probe, without text, with everything tuned, and LIQE on frozen towers",
            "A ridge regression on the frozen towers' CLS and mean patch, its penalty chosen on validation images out "
            "of the training side; the visual-only model of Fig. 3 (one learned query in the text's place, one decoder "
            "layer, the score's loss alone); MP-IQE with CLIP's own weights trained as well; and LIQE with deep visual "
            "prompts in place of tuned towers. The paper gives no figures for any of them.",
            tuple(
                Cell(label, dataset, dataset, variant, {}) for label, variant in _LINES.items() for dataset in DATASETS
            ),
        ),
        Table(
            "mixture",
            "Beside the paper: trained on all datasets but one, tested on that one",
            "Trained on each split's 80 % of all other datasets that have a place, together, tested on every image of "
            "the one left out. Scores have the scale of the one named first. The paper trains on one at a time.",
            tuple(
                Cell(
                    "MP-IQE, several sets", next(other for other in DATASETS if other != name), name, without(name), {}
                )
                for name in DATASETS
            ),
        ),
        Table(
            "readings",
            "Beside the paper: where it can be read in two ways",
            "The default reading, and others one at a time (docs/decisions.md). The paper gives no figures for them.",
            tuple(
                Cell(label, dataset, dataset, variant, {})
                for variant, label in {FULL: "MP-IQE", **READINGS}.items()
                for dataset in DATASETS
            ),
        ),
    )
    by_key = {table.key: table for table in found}
    fractions = by_key["table5"]
    datasets = {cell.test for cell in fractions.cells}
    whole = [
        replace(cell, row="MP-IQE, 100%")
        for cell in by_key["table1"].cells
        if cell.variant == FULL and cell.test in datasets
    ]
    across = by_key["table3"]
    own = [cell for cell in across.cells if cell.variant == FULL]
    rival = [replace(cell, row="LIQE", variant=LIQE, paper={}) for cell in own]
    others = [cell for cell in across.cells if cell.variant != FULL]
    return {
        **by_key,
        "table3": replace(across, cells=(*others, *rival, *own)),
        "table5": replace(fractions, cells=(*fractions.cells, *whole)),
    }


def _table(key: str, title: str, note: str, identify: Callable[[Mapping[str, str]], tuple[str, str | None]]) -> Table:
    cells = []
    text = (files("mpiqe") / "experiments" / "published" / f"{key}.csv").read_text(encoding="utf-8")
    names = {spec.column: spec.name for spec in DATASETS.values()}
    for row in csv.DictReader(text.splitlines()):
        label, variant = identify(row)
        train, test = (names[row.get("dataset") or row[side]] for side in ("train", "test"))
        paper = {figure: float(row[figure]) for figure in ("srcc", "plcc") if row.get(figure)}
        cells.append(Cell(label, train, test, variant, paper))
    return Table(key, title, note, tuple(cells))


def _length(prompt: str, length: int) -> str:
    own = {"text": 8, "visual": 4}[prompt]
    return FULL if length == own else f"{prompt}-{length}"
