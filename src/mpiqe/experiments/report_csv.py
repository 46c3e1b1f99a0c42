"""Every cell with every figure, in full precision, for whoever wants to reckon with them."""

import csv
import io
from collections.abc import Iterable, Sequence

from mpiqe import metrics
from mpiqe.experiments.report_tables import COMPARED, difference
from mpiqe.experiments.results import Outcome
from mpiqe.experiments.tables import Table

_OVER = ("median", "mean", "deviation")
HEAD = (
    *("table", "row", "train", "test", "state", "reason", "repeats"),
    *(f"{name}_{over}" for name in metrics.NAMES for over in _OVER),
    *(f"{name}_best_epoch_on_test" for name in COMPARED),
    *(f"paper_{name}" for name in COMPARED),
    *(f"difference_{name}" for name in COMPARED),
)
"""The columns. ``best_epoch_on_test`` are medians; a field is empty where there is no such figure."""


def to_csv(tables: Iterable[tuple[Table, Sequence[Outcome]]]) -> str:
    """A row for each cell, in the tables' order."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    for table, outcomes in tables:
        for outcome in outcomes:
            writer.writerow(_row(table, outcome))
    return file.getvalue()


def _row(table: Table, outcome: Outcome) -> list[str | int | float | None]:
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
    return row
