"""Tables 5 and 6 as curves: the figure against the share of training images, and against the number of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpiqe.experiments.drawing import GREY, INK
from mpiqe.experiments.report_marks import EDGE, OURS, PAPER, diamond, dots, legend, new_figure, plain
from mpiqe.experiments.report_tables import COMPARED, Pair, column_title
from mpiqe.experiments.results import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Panel:
    """One pair of axes; ``lines`` are outcomes in the order of ``ticks`` by the line's name."""

    figure: str
    below: str
    ticks: tuple[str, ...]
    lines: Mapping[str, tuple[Outcome, ...]]


def curves(key: str, pairs: Mapping[Pair, Mapping[str, Outcome]]) -> "Figure | None":
    """A row of two panels for each dataset; ``None`` for a table that has no curves."""
    if key not in _PANELS:
        return None
    figure = new_figure(0.5 + 2.4 * len(pairs))
    axes = figure.subplots(len(pairs), 2, sharey="row", squeeze=False)
    for line, (pair, rows) in zip(axes, pairs.items(), strict=True):
        for each, panel in zip(line, _PANELS[key](rows), strict=True):
            _draw(each, panel)
            each.set_title(f"{column_title(pair)}, {COMPARED[panel.figure]}", loc="left", fontsize=8.5, color=INK)
    legend(figure, repeats="ours, a repeat", paper="the paper's MP-IQE", lines=True)
    return figure


def _shares(rows: Mapping[str, Outcome]) -> list[_Panel]:
    """Rows are "MP-IQE, 20%"."""
    lines: dict[str, list[Outcome]] = {}
    for row, outcome in rows.items():
        lines.setdefault(row.rpartition(", ")[0], []).append(outcome)
    ticks = tuple(dict.fromkeys(row.rpartition(", ")[2] for row in rows))
    shown = {name: tuple(of) for name, of in lines.items()}
    return [_Panel(figure, "of the training images", ticks, shown) for figure in COMPARED]


def _lengths(rows: Mapping[str, Outcome]) -> list[_Panel]:
    """Rows are "8 text"."""
    panels = []
    for kind, below in (("text", "text contexts"), ("visual", "visual prompts")):
        of = {row.partition(" ")[0]: outcome for row, outcome in rows.items() if row.endswith(f" {kind}")}
        panels.append(_Panel("srcc", below, tuple(of), {"MP-IQE": tuple(of.values())}))
    return panels


_PANELS = {"table5": _shares, "table6": _lengths}


def _draw(axes: "Axes", panel: _Panel) -> None:
    for name, outcomes in panel.lines.items():
        if all(outcome.state == "published" for outcome in outcomes):
            _quoted(axes, name, [outcome.cell.paper.get(panel.figure) for outcome in outcomes])
        else:
            _ours(axes, panel.figure, outcomes)
    axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    axes.set_xlim(-0.5, len(panel.ticks) - 0.5)
    axes.set_xlabel(panel.below, fontsize=7.5, color=GREY)
    plain(axes, grid="y")


def _ours(axes: "Axes", figure: str, outcomes: tuple[Outcome, ...]) -> None:
    medians = {}
    for place, outcome in enumerate(outcomes):
        over, paper = outcome.figures.get(figure), outcome.cell.paper.get(figure)
        if over is not None:
            dots(axes, place, outcome.each[figure], over.median, along="y")
            if over.median is not None:
                medians[place] = over.median
        if paper is not None:
            diamond(axes, place, paper)
    printed = {
        place: outcome.cell.paper[figure] for place, outcome in enumerate(outcomes) if figure in outcome.cell.paper
    }
    axes.plot(list(medians), list(medians.values()), color=OURS, linewidth=1, zorder=2)
    axes.plot(list(printed), list(printed.values()), color=PAPER, linewidth=1, zorder=2)


def _quoted(axes: "Axes", name: str, values: list[float | None]) -> None:
    there = {place: value for place, value in enumerate(values) if value is not None}
    axes.plot(list(there), list(there.values()), color=EDGE, linewidth=1, marker="D", markersize=2.5, zorder=1)
    if there:
        last = max(there)
        axes.annotate(
            name, (last, there[last]), (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=GREY
        )
