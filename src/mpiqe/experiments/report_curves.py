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
    """One pair of axes; ``lines`` are outcomes by their place among the ``ticks``, by the line's name."""

    figure: str
    below: str
    ticks: tuple[str, ...]
    lines: Mapping[str, Mapping[int, Outcome]]


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
    ticks = tuple(dict.fromkeys(row.rpartition(", ")[2] for row in rows))
    lines: dict[str, dict[int, Outcome]] = {}
    for row, outcome in rows.items():
        name, _, share = row.rpartition(", ")
        lines.setdefault(name, {})[ticks.index(share)] = outcome
    return [_Panel(figure, "of the training images", ticks, lines) for figure in COMPARED]


def _lengths(rows: Mapping[str, Outcome]) -> list[_Panel]:
    """Rows are "8 text"."""
    panels = []
    for kind, below in (("text", "text contexts"), ("visual", "visual prompts")):
        of = {row.partition(" ")[0]: outcome for row, outcome in rows.items() if row.endswith(f" {kind}")}
        panels.append(_Panel("srcc", below, tuple(of), {"MP-IQE": dict(enumerate(of.values()))}))
    return panels


_PANELS = {"table5": _shares, "table6": _lengths}


def _draw(axes: "Axes", panel: _Panel) -> None:
    for name, outcomes in panel.lines.items():
        printed = {
            place: outcome.cell.paper[panel.figure]
            for place, outcome in outcomes.items()
            if panel.figure in outcome.cell.paper
        }
        if all(outcome.state == "published" for outcome in outcomes.values()):
            _quoted(axes, name, printed)
        else:
            _ours(axes, panel.figure, outcomes, printed)
    axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    axes.set_xlim(-0.5, len(panel.ticks) - 0.5)
    axes.set_xlabel(panel.below, fontsize=7.5, color=GREY)
    plain(axes, grid="y")


def _ours(axes: "Axes", figure: str, outcomes: Mapping[int, Outcome], printed: Mapping[int, float]) -> None:
    medians = {}
    for place, outcome in outcomes.items():
        over = outcome.figures.get(figure)
        if over is not None:
            dots(axes, place, outcome.each[figure], over.median, along="y")
            if over.median is not None:
                medians[place] = over.median
    for place, value in printed.items():
        diamond(axes, place, value)
    axes.plot(list(medians), list(medians.values()), color=OURS, linewidth=1, zorder=2)
    axes.plot(list(printed), list(printed.values()), color=PAPER, linewidth=1, zorder=2)


def _quoted(axes: "Axes", name: str, printed: Mapping[int, float]) -> None:
    axes.plot(list(printed), list(printed.values()), color=EDGE, linewidth=1, marker="D", markersize=2.5, zorder=1)
    if printed:
        last = max(printed)
        axes.annotate(
            name, (last, printed[last]), (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=GREY
        )
