"""A table's outcomes as grids: ours, the paper's and the difference; all figures; all cells and claims as CSV."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence

from mpiqe import metrics
from mpiqe.data.registry import title_of
from mpiqe.experiments.protocol import Summary
from mpiqe.experiments.report.blocks import NOTHING, Block, Column, Drawing, Entry, Footnotes, Grid, Section, Text, Tone
from mpiqe.experiments.results import Claim, Outcome
from mpiqe.experiments.tables import Table
from mpiqe.training.movement import MOVED, MOVED_PARTS

COMPARED = {"srcc": "SRCC", "plcc": "PLCC"}
"""The figures that the paper gives, and their names in a head."""
BEST = "best epoch on test"
"""Best-epoch-on-test column; not a valid result."""
_TITLES = {
    "srcc": "SRCC",
    "plcc": "PLCC raw",
    "plcc_fitted": "PLCC fitted",
    "krcc": "KRCC",
    "rmse": "RMSE raw",
    "rmse_fitted": "RMSE fitted",
}
_MODEL, _HERE = Column("model", numbers=False), Column("here", numbers=False)

Pair = tuple[str, str]
"""The datasets to train and to test on."""


def figure(value: float | None) -> str:
    """Three decimals, as the paper has them."""
    return NOTHING.text if value is None else _minus(f"{value:.3f}")


def signed(value: float | None) -> Entry:
    """A difference with its sign, which a difference that rounds to nothing has not."""
    if value is None:
        return NOTHING
    text = f"{value:+.3f}"
    if float(text) == 0:
        return Entry("0.000")
    tone: Tone = "plus" if value > 0 else "minus"
    return Entry(_minus(text), tone=tone)


def difference(outcome: Outcome, name: str) -> float | None:
    """Our median minus the paper's figure, before any rounding; ``None`` where one of them is not there."""
    ours, paper = outcome.figures.get(name), outcome.cell.paper.get(name)
    return None if ours is None or ours.median is None or paper is None else ours.median - paper


def column_title(pair: Pair) -> str:
    """The dataset's name, or both: trained on the first, tested on the second."""
    return " \N{RIGHTWARDS ARROW} ".join(title_of(name) for name in dict.fromkeys(pair))


def by_pair(outcomes: Sequence[Outcome]) -> dict[Pair, dict[str, Outcome]]:
    """Outcomes by datasets and then by row, in the order in which they come."""
    found: dict[Pair, dict[str, Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.cell.train, outcome.cell.test), {})[outcome.cell.row] = outcome
    return found


def table_blocks(outcomes: Sequence[Outcome], repeats: int, svg: bytes | None) -> list[Block]:
    """The grids of one table: datasets with a run cell row by row, the others closely set; reasons, plot, details.

    ``repeats`` is how many were asked for, ``svg`` the plot.
    """
    pairs = by_pair(outcomes)
    tried = {pair: rows for pair, rows in pairs.items() if any(outcome.repeats for outcome in rows.values())}
    quoted = {pair: rows for pair, rows in pairs.items() if pair not in tried}
    reasons = list(dict.fromkeys(_reason(outcome) for outcome in outcomes if outcome.reason))
    blocks: list[Block] = [_compared(tried, reasons, repeats) if tried else Text("No cell of this table was run.")]
    if quoted:
        blocks.append(_quoted(quoted, reasons))
    if reasons:
        blocks.append(Footnotes(tuple(reasons)))
    if svg is not None:
        blocks.append(Drawing(svg, "A dot for each repeat, a bar at the median, a diamond for the paper's figure."))
    if tried:
        blocks.append(_details(tried, repeats))
    if any(train != test for train, test in tried):
        blocks.append(
            Text("RMSE raw is not defined where the two datasets' MOS are on different scales; RMSE fitted is.")
        )
    return blocks


def _compared(pairs: Mapping[Pair, Mapping[str, Outcome]], reasons: Sequence[str], repeats: int) -> Grid:
    printed = {name for rows in pairs.values() for outcome in rows.values() for name in outcome.cell.paper}
    columns = [_MODEL, _HERE]
    for name, title in COMPARED.items():
        columns += [
            Column(head, over=title) for head in ("ours", "dev.", *(("paper", "diff") if name in printed else ()))
        ]
    parts = []
    for pair, rows in pairs.items():
        written = []
        for row, outcome in rows.items():
            entries = [*_begin(row, [outcome], reasons)]
            for name in COMPARED:
                entries += _ours(outcome, name, repeats)
                if name in printed:
                    entries += [Entry(figure(outcome.cell.paper.get(name))), signed(difference(outcome, name))]
            written.append(tuple(entries))
        parts.append(Section(column_title(pair), tuple(written)))
    return Grid("figures", "", tuple(columns), tuple(parts))


def _ours(outcome: Outcome, name: str, repeats: int) -> list[Entry]:
    if name not in outcome.figures:
        return [NOTHING, NOTHING]
    over = outcome.figures[name]
    told = "not defined" if over.median is None else figure(over.median)
    return [Entry(told, beside=_count(outcome, repeats)), Entry(figure(over.deviation))]


def _quoted(pairs: Mapping[Pair, Mapping[str, Outcome]], reasons: Sequence[str]) -> Grid:
    """All datasets side by side, each with those figures that the paper gives there, or a bare SRCC."""
    printed = {pair: {name for outcome in rows.values() for name in outcome.cell.paper} for pair, rows in pairs.items()}
    shown = [(pair, name) for pair in pairs for name in COMPARED if name in (printed[pair] or {"srcc"})]
    written = []
    for row in dict.fromkeys(row for rows in pairs.values() for row in rows):
        there = {pair: rows[row] for pair, rows in pairs.items() if row in rows}
        entries = [*_begin(row, list(there.values()), reasons)]
        entries += [
            Entry(figure(there[pair].cell.paper.get(name))) if pair in there else NOTHING for pair, name in shown
        ]
        written.append(tuple(entries))
    return Grid(
        "quoted",
        "Not run here: the paper's own figures",
        (_MODEL, _HERE, *(Column(COMPARED[name], over=column_title(pair)) for pair, name in shown)),
        (Section("", tuple(written)),),
    )


def _details(pairs: Mapping[Pair, Mapping[str, Outcome]], repeats: int) -> Grid:
    looked = any(outcome.best_on_test for rows in pairs.values() for outcome in rows.values())
    moved = [part for part in MOVED_PARTS if any(part in o.moved for rows in pairs.values() for o in rows.values())]
    parts = []
    for pair, rows in pairs.items():
        written = []
        for outcome in rows.values():
            if outcome.repeats:
                entries = [Entry(outcome.cell.row), Entry(_count(outcome, repeats))]
                entries += [_spread(outcome.figures[name]) for name in metrics.NAMES]
                entries += [Entry(f"{outcome.moved[part]:.2f}") if part in outcome.moved else NOTHING for part in moved]
                written.append((*entries, _best(outcome)) if looked else tuple(entries))
        parts.append(Section(column_title(pair), tuple(written)))
    columns = [_MODEL, Column("repeats"), *(Column(_TITLES[name]) for name in metrics.NAMES)]
    columns += [Column(part.replace("_", " "), over="moved") for part in moved]
    return Grid(
        "details",
        "All figures of the cells that were run: median (mean \N{PLUS-MINUS SIGN} deviation)",
        (*columns, Column(BEST)) if looked else tuple(columns),
        tuple(parts),
    )


def _spread(over: Summary) -> Entry:
    if over.median is None:
        return Entry("not defined")
    told = figure(over.mean)
    if over.deviation is not None:
        told += f" \N{PLUS-MINUS SIGN} {figure(over.deviation)}"
    return Entry(figure(over.median), beside=told)


def _best(outcome: Outcome) -> Entry:
    told = [f"{COMPARED[name]} {figure(over.median)}" for name, over in outcome.best_on_test.items()]
    return Entry(told[0], beside=", ".join(told[1:])) if told else NOTHING


def _begin(row: str, outcomes: Sequence[Outcome], reasons: Sequence[str]) -> tuple[Entry, Entry]:
    """The row's name and what became of it here."""
    states = dict.fromkeys(outcome.state for outcome in outcomes)
    told = {reasons.index(_reason(outcome)) + 1 for outcome in outcomes if outcome.reason}
    tone: Tone = "faint" if list(states) == ["published"] else ""
    return Entry(row, tone=tone), Entry(", ".join(states), notes=tuple(sorted(told)), tone=tone)


def _reason(outcome: Outcome) -> str:
    return " ".join(outcome.reason.split())


def _count(outcome: Outcome, repeats: int) -> str:
    return str(outcome.repeats) if outcome.repeats == repeats else f"{outcome.repeats} of {repeats}"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


_OVER = ("median", "mean", "deviation")
CSV_HEAD = (
    *("table", "row", "train", "test", "state", "reason", "repeats"),
    *(f"{name}_{over}" for name in metrics.NAMES for over in _OVER),
    *(f"{name}_best_epoch_on_test" for name in COMPARED),
    *(f"paper_{name}" for name in COMPARED),
    *(f"difference_{name}" for name in COMPARED),
    *(f"{MOVED}{part}" for part in MOVED_PARTS),
)
"""The columns. ``best_epoch_on_test`` are medians; a field is empty where there is no such figure."""


CLAIMS_HEAD = (
    *("table", "claim", "dataset", "repeats", "paper_difference", "mean_difference", "deviation"),
    *("wins", "ties", "losses", "wilcoxon_p", "corrected_p", "holm_p", "detectable_difference", "sought", "verdict"),
)
"""The columns of the claims. ``sought`` is the difference that "not found" speaks of."""


def claims_to_csv(claims: Iterable[Claim]) -> str:
    """A row for each claim, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CLAIMS_HEAD)
    for claim in claims:
        paired = claim.paired
        count = len(paired.differences)
        deviation = statistics.stdev(paired.differences) if count > 1 else None
        writer.writerow(
            [
                *(claim.table, claim.text, claim.dataset, count, claim.paper, paired.mean, deviation),
                *(paired.wins, paired.ties, paired.losses, paired.wilcoxon_p, paired.corrected_p),
                *(claim.family_p, claim.detectable, claim.sought, claim.verdict),
            ]
        )
    return file.getvalue()


def to_csv(tables: Iterable[tuple[Table, Sequence[Outcome]]]) -> str:
    """A row for each cell, in the tables' order."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for table, outcomes in tables:
        for outcome in outcomes:
            writer.writerow(_csv_row(table, outcome))
    return file.getvalue()


def _csv_row(table: Table, outcome: Outcome) -> list[str | int | float | None]:
    cell = outcome.cell
    row: list[str | int | float | None] = [table.key, cell.row, cell.train, cell.test]
    row += [outcome.state, outcome.reason, outcome.repeats]
    for name in metrics.NAMES:
        over = outcome.figures.get(name)
        row += [None, None, None] if over is None else [over.median, over.mean, over.deviation]
    for name in COMPARED:
        best = outcome.best_on_test.get(name)
        row.append(None if best is None else best.median)
    row += [cell.paper.get(name) for name in COMPARED]
    row += [difference(outcome, name) for name in COMPARED]
    row += [outcome.moved.get(part) for part in MOVED_PARTS]
    return row
