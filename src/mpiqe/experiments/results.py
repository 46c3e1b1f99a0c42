"""Results of a study so far: the metrics of every table cell, or why it has none, and tests of the paper's claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mpiqe import metrics
from mpiqe.data.registry import DATASETS
from mpiqe.data.scales import Scale, on_one_scale, scale_of
from mpiqe.experiments.protocol import PairedTest, Rated, Summary, compare, measure, read_predictions, summarize
from mpiqe.experiments.run_files import cross_tests_left, is_tested, other_predictions
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.tables import Cell, Table
from mpiqe.experiments.variants import FULL, LIQE, PROBE
from mpiqe.training.run_folder import PREDICTIONS

State = Literal["published", "run", "partly run", "not run"]
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Outcome:
    """One cell of the report."""

    cell: Cell
    state: State
    reason: str
    """Why it was not run, or not wholly; else empty."""
    repeats: int
    """How many repeats the figures rest on; 0 where there are none."""
    figures: Mapping[str, Summary]
    """By ``metrics.NAMES``; empty without repeats."""
    best_on_test: Mapping[str, Summary]
    """``srcc`` and ``plcc`` of each repeat's best epoch on the test images; empty unless every repeat looked."""
    each: Mapping[str, tuple[float | None, ...]]
    """``figures`` repeat by repeat, in the splits' order, ``repeats`` of each; empty without repeats."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and its paired test over the repeats here."""

    table: str
    text: str
    dataset: str
    paired: PairedTest
    """SRCC of what the paper finds better minus that of what it finds worse."""
    paper: float | None
    """The same difference in the paper."""
    verdict: str


@dataclass(frozen=True)
class Findings:
    """All results of a study."""

    study: Study
    tables: tuple[tuple[Table, tuple[Outcome, ...]], ...]
    claims: tuple[Claim, ...]
    faults: Mapping[str, str]
    """Datasets and runs that failed, with the reason."""


CLAIMS: Sequence[tuple[str, str, str, str]] = (
    ("table1", "MP-IQE is better than LIQE", FULL, LIQE),
    ("table2", "CLIP-IQA+ is better than CLIP-IQA", "clip-iqa-plus", "clip-iqa"),
    ("table2", "MP-IQE is better than CLIP-IQA+", FULL, "clip-iqa-plus"),
    ("table4", "scene prompts help", FULL, "no-scene"),
    ("table4", "distortion prompts help", FULL, "no-distortion"),
    ("table4", "deep visual prompts help", FULL, "no-visual"),
    ("table4", "deep visual prompts are better than shallow ones", FULL, "shallow-visual"),
    ("table4", "shallow visual prompts are better than none", "shallow-visual", "no-visual"),
    ("table5", "40 % of the training images are better than 20 %", "fraction-40", "fraction-20"),
    ("table5", "60 % are better than 40 %", "fraction-60", "fraction-40"),
    ("table5", "all are better than 60 %", FULL, "fraction-60"),
    *(("table6", f"8 text contexts are better than {length}", FULL, f"text-{length}") for length in (2, 4, 16)),
    *(("table6", f"4 visual prompts are better than {length}", FULL, f"visual-{length}") for length in (1, 2, 8)),
    ("lines", "MP-IQE is better than the visual-only model of Fig. 3", FULL, "visual-only"),
    ("lines", "MP-IQE is better than a linear probe", FULL, PROBE),
    ("lines", "tuning everything is better than prompts and decoder alone", "tune-all", FULL),
)
"""Table, claim, the variant that the claim says is better, and the one that it says is worse."""

_TEST, _LEARNT, _LEARNT_BESIDE_VALIDATION = 0.2, 0.8, 0.7  # shares of a dataset
SIGNIFICANT = 0.05
"""The level of the corrected test."""


def gather(study: Study, faults: Mapping[str, str]) -> Findings:
    """Everything that the run folders hold; ``faults`` are the runs and datasets that failed, by name."""
    measured = {
        run: measure(read_predictions(run.folder(study.out).path / PREDICTIONS))
        for run in study.runs()
        if is_tested(study, run)
    }
    found = tuple(
        (table, tuple(_outcome(study, cell, measured, faults) for cell in study.cells(table))) for table in study.tables
    )
    return Findings(study, found, tuple(_claims(study, measured)), faults)


def _outcome(study: Study, cell: Cell, measured: Mapping[Run, Figures], faults: Mapping[str, str]) -> Outcome:
    if cell.variant is None:
        return Outcome(cell, "published", "", 0, {}, {}, {})
    lacking = study.lacks(cell)
    if lacking is not None:
        return Outcome(cell, "not run", lacking, 0, {}, {}, {})
    runs = [Run(split, cell.train, cell.variant) for split in range(1, study.repeats + 1)]
    done = [run for run in runs if run in measured and cell.test not in cross_tests_left(study, run)]
    reasons = [faults[str(key)] for key in (*runs, cell.train, cell.test) if str(key) in faults]
    missing = reasons[0] if reasons else "" if len(done) == len(runs) else "not done yet"
    if not done:
        return Outcome(cell, "not run", missing, 0, {}, {}, {})
    values = [measured[run] if cell.test == cell.train else _elsewhere(study, run, cell.test) for run in done]
    each = {figure: tuple(value[figure] for value in values) for figure in metrics.NAMES}
    best = [_best_on_test(study, run) for run in done] if cell.test == cell.train else []
    best_on_test = {}
    if best and all(best):
        best_on_test = {figure: summarize([value[figure] for value in best]) for figure in ("srcc", "plcc")}
    return Outcome(
        cell,
        "run" if len(done) == len(runs) else "partly run",
        missing,
        len(done),
        {figure: summarize(numbers) for figure, numbers in each.items()},
        best_on_test,
        each,
    )


def _elsewhere(study: Study, run: Run, test: str) -> Figures:
    """The metrics on another dataset; without RMSE where its MOS are on another scale than the scores."""
    folder = run.folder(study.out).path
    own, other = read_predictions(folder / PREDICTIONS), read_predictions(folder / other_predictions(test))
    figures = measure(other)
    same = on_one_scale(_scale(run.dataset, own), _scale(test, other))
    return figures if same else {**figures, "rmse": None}


def _scale(name: str, rated: Rated) -> Scale:
    mos = [mos for mos, _ in rated.values()]
    return scale_of(name, min(mos), max(mos))


def _best_on_test(study: Study, run: Run) -> dict[str, float | None]:
    """SRCC and PLCC of the epoch with the best SRCC on the test images; empty if the run did not look at each."""
    rows = [row for row in run.folder(study.out).metrics() if row.get("test_srcc") is not None]
    if not rows:
        return {}
    best = max(rows, key=lambda row: float(row["test_srcc"]))
    return {"srcc": best["test_srcc"], "plcc": best["test_plcc"]}


def _claims(study: Study, measured: Mapping[Run, Figures]) -> list[Claim]:
    shown = {table.key: table for table in study.tables}
    found = []
    for key, text, better, worse in CLAIMS:
        if key not in shown:
            continue
        for name in DATASETS:
            pairs = [(measured.get(Run(n, name, better)), measured.get(Run(n, name, worse))) for n in range(1, 11)]
            differences = [
                of_better["srcc"] - of_worse["srcc"]
                for of_better, of_worse in pairs
                if of_better and of_worse and of_better["srcc"] is not None and of_worse["srcc"] is not None
            ]
            if differences:
                learnt = min(_learnt(study, Run(1, name, variant)) for variant in (better, worse))
                paired = compare(differences, test_share=_TEST / learnt)
                paper = _paper(shown[key], name, better, worse)
                if paper is not None and paper <= 0:
                    continue  # there the paper does not say so
                found.append(Claim(key, text, name, paired, paper, _verdict(paired)))
    return found


def _learnt(study: Study, run: Run) -> float:
    """The share of a dataset that a run learns from."""
    settings = study.options(run).run
    return settings.fraction * (_LEARNT_BESIDE_VALIDATION if settings.validation else _LEARNT)


def _paper(table: Table, dataset: str, better: str, worse: str) -> float | None:
    printed = {
        cell.variant: cell.paper.get("srcc") for cell in table.cells if (cell.train, cell.test) == (dataset, dataset)
    }
    first, second = printed.get(better), printed.get(worse)
    return None if first is None or second is None else first - second


def _verdict(paired: PairedTest) -> str:
    """Direction and significance of the mean difference: both from the corrected t-test."""
    if paired.corrected_p is None:
        return "cannot be tested"
    clear = paired.corrected_p < SIGNIFICANT
    if paired.mean > 0:
        return "holds" if clear else "same direction, not significant"
    return "the opposite holds" if clear and paired.mean < 0 else "not found"
