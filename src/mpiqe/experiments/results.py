"""Results of a study so far: the metrics of every table cell, or why it has none, and tests of the paper's claims."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mpiqe import metrics
from mpiqe.data.scales import Scale, on_one_scale, scale_of
from mpiqe.data.splits import NUMBERS
from mpiqe.experiments.protocol import (
    SIGNIFICANT,
    PairedTest,
    Rated,
    Summary,
    compare,
    detectable_difference,
    holm,
    measure,
    read_predictions,
    summarize,
)
from mpiqe.experiments.run_files import cross_tests_left, is_tested, other_predictions
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.tables import Cell, Table
from mpiqe.experiments.variants import FULL, LIQE, PROBE, READINGS
from mpiqe.training.movement import MOVED
from mpiqe.training.run_folder import PREDICTIONS

State = Literal["published", "run", "partly run", "not run"]
Verdict = Literal["holds", "the opposite holds", "not found", "too weak to tell", "cannot be tested"]
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
    moved: Mapping[str, float] = field(default_factory=dict)
    """How far contexts, visual tokens and decoder went in units of their initial deviation, the mean over the repeats;
    empty for what does not learn."""


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
    verdict: Verdict
    family_p: float | None = None
    """``paired.corrected_p`` after Holm's correction over the claims of the table on this dataset."""
    detectable: float | None = None
    """The smallest true difference that these runs would have found with a chance of 80 % or more, as one of the
    table's claims; ``None`` where nothing can be tested."""

    @property
    def sought(self) -> float:
        """The difference that has to be detectable before "not found" can be said: the paper's, or ``OF_INTEREST``."""
        return OF_INTEREST if self.paper is None else self.paper


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
    ("table1", "LIQE is better than MP-IQE", LIQE, FULL),  # what the paper has on LIVE Challenge
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
    *(("readings", f"the default is better than {label}", FULL, name) for name, label in READINGS.items()),
    ("lines", "MP-IQE is better than the visual-only model of Fig. 3", FULL, "visual-only"),
    ("lines", "MP-IQE is better than a linear probe", FULL, PROBE),
    ("lines", "tuning everything is better than prompts and decoder alone", "tune-all", FULL),
)
"""Table, claim, the variant that the claim says is better, and the one that it says is worse."""

_TEST, _LEARNT, _LEARNT_BESIDE_VALIDATION = 0.2, 0.8, 0.7  # shares of a dataset
OF_INTEREST = 0.01
"""The difference of SRCC that is looked for where the paper gives none."""


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
        _moved(study, done),
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


def _moved(study: Study, runs: Sequence[Run]) -> dict[str, float]:
    """Mean over ``runs`` of how far each part was from its start at the last epoch."""
    rows = [rows[-1] for run in runs if (rows := run.folder(study.out).metrics())]
    parts = dict.fromkeys(key for row in rows for key in row if key.startswith(MOVED))
    return {part.removeprefix(MOVED): statistics.fmean(row[part] for row in rows if part in row) for part in parts}


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
    for key, table in shown.items():
        for name in study.names:
            tested, pairs = [], set[tuple[str, str]]()
            for of, text, better, worse in CLAIMS:
                paper = _paper(table, name, better, worse)
                differences = _differences(measured, name, better, worse)
                says_so = (worse, better) not in pairs if paper is None else paper > 0
                if of == key and differences and says_so:
                    pairs.add((better, worse))
                    learnt = min(_learnt(study, Run(1, name, variant)) for variant in (better, worse))
                    tested.append((text, compare(differences, test_share=_TEST / learnt), paper))
            found += judge(key, name, tested)
    return found


def judge(table: str, dataset: str, tested: Sequence[tuple[str, PairedTest, float | None]]) -> list[Claim]:
    """The claims of one table on one dataset, which are a family for Holm's correction.

    Each of ``tested`` is a claim's text, its test and the paper's difference. The detectable difference is that of a
    test at 0.05 / m for m claims: what Holm's correction finds at least.
    """
    corrected = holm([paired.corrected_p for _, paired, _ in tested])
    count = sum(p is not None for p in corrected)
    found = []
    for (text, paired, paper), p in zip(tested, corrected, strict=True):
        detectable = None if p is None else detectable_difference(paired, level=SIGNIFICANT / count)
        sought = OF_INTEREST if paper is None else paper
        found.append(Claim(table, text, dataset, paired, paper, _verdict(paired, p, detectable, sought), p, detectable))
    return found


def _differences(measured: Mapping[Run, Figures], name: str, better: str, worse: str) -> list[float]:
    """SRCC of the one minus that of the other, on every split on which both were run."""
    pairs = [(measured.get(Run(n, name, better)), measured.get(Run(n, name, worse))) for n in range(1, NUMBERS + 1)]
    return [
        of_better["srcc"] - of_worse["srcc"]
        for of_better, of_worse in pairs
        if of_better and of_worse and of_better["srcc"] is not None and of_worse["srcc"] is not None
    ]


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


def _verdict(paired: PairedTest, p: float | None, detectable: float | None, sought: float) -> Verdict:
    """From the mean difference and Holm's p; without significance from what the runs could have detected."""
    if p is None or detectable is None:
        return "cannot be tested"
    if p < SIGNIFICANT:
        return "holds" if paired.mean > 0 else "the opposite holds"
    return "not found" if detectable <= sought else "too weak to tell"
