"""The report's plots as SVG, one for each table and one of the claims. matplotlib is imported when they are drawn.

A dot is a repeat, a bar the median or mean of the repeats, a diamond the paper's figure.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from mpiqe.data.registry import title_of
from mpiqe.experiments.report.contents import CLAIMS, by_dataset
from mpiqe.experiments.report.tables import COMPARED, Pair, by_pair, column_title
from mpiqe.experiments.results import Claim, Findings, Outcome
from mpiqe.plotting import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, PAPER, EDGE, LINES = "#3b6fb6", "#c8641c", "#b4b4b8", "#e4e4e8"
WIDTH = 8.0
"""Inches."""
_BAR = {"x": 0.32, "y": 0.2}  # half its length, in steps between two rows or columns


def new_figure(height: float) -> "Figure":
    """A sheet of ``height`` inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(WIDTH, height), facecolor="white", layout=ConstrainedLayoutEngine(h_pad=0.07))


def dots(
    axes: "Axes", place: float, values: Sequence[float | None], centre: float | None, *, along: Literal["x", "y"]
) -> None:
    """One cell's repeats in the splits' order, a little apart from each other, with a bar at ``centre``.

    Values lie ``along`` an axis, the cell at ``place`` on the other. Repeats without a figure have no dot.
    """
    apart = [place + 0.36 * ((number + 0.5) / len(values) - 0.5) for number in range(len(values))]
    there = [(value, beside) for value, beside in zip(values, apart, strict=True) if value is not None]
    x, y = [value for value, _ in there], [beside for _, beside in there]
    if along == "y":
        x, y = y, x
    axes.scatter(x, y, s=11, color=OURS, alpha=0.5, linewidths=0, zorder=3)
    if centre is not None:
        ends = ([centre, centre], [place - _BAR[along], place + _BAR[along]])
        axes.plot(*(ends if along == "x" else ends[::-1]), color=OURS, linewidth=2, solid_capstyle="butt", zorder=4)


def diamond(axes: "Axes", x: float, y: float) -> None:
    """The paper's figure."""
    axes.scatter([x], [y], marker="D", s=20, facecolors="none", edgecolors=PAPER, linewidths=1.2, zorder=5)


def plain(axes: "Axes", *, grid: Literal["x", "y"]) -> None:
    """Faint lines for reading values, no box around them."""
    axes.set_axisbelow(True)
    axes.grid(axis=grid, linewidth=0.6, color=LINES)
    axes.tick_params(labelsize=7.5, length=0, colors=GREY)
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    axes.spines[["bottom" if grid == "x" else "left"]].set_color(EDGE)


def legend(figure: "Figure", *, repeats: str, paper: str, centre: str = "their median", lines: bool = False) -> None:
    """What the marks mean, above everything."""
    from matplotlib.lines import Line2D

    def mark(marker: str, label: str, colour: str, **how: Any) -> Line2D:
        line: Any = "-" if lines and marker != "o" else "none"
        return Line2D([], [], marker=marker, color=colour, linestyle=line, linewidth=1, label=label, **how)

    handles = [
        mark("o", repeats, OURS, alpha=0.5, markeredgewidth=0, markersize=4),
        mark("_" if lines else "|", centre, OURS, markeredgewidth=2, markersize=8),
        mark("D", paper, PAPER, markerfacecolor="white", markeredgewidth=1.2, markersize=4.5),
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), fontsize=7.5, frameon=False, labelcolor=INK
    )


_ROW, _HEAD, _TOP = 0.2, 0.62, 0.35  # inches: a row, a panel's title and ticks, the legend


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_plots(findings: Findings) -> dict[str, bytes]:
    """SVG by table's key, of each table of which something was run, and under ``CLAIMS`` of the paired differences."""
    figures: dict[str, Figure] = {}
    for table, outcomes in findings.tables:
        pairs = {
            pair: rows for pair, rows in by_pair(outcomes).items() if any(outcome.repeats for outcome in rows.values())
        }
        if pairs:
            figures[table.key] = curves(table.key, pairs) or _rows(pairs)
    if findings.claims:
        figures[CLAIMS] = _claims(findings.claims)
    return {key: _svg(figure) for key, figure in figures.items()}


def _rows(pairs: Mapping[Pair, Mapping[str, Outcome]]) -> "Figure":
    """A panel of SRCC and one of PLCC for each dataset, a line for each row of the table."""
    heights = [_HEAD + _ROW * len(rows) for rows in pairs.values()]
    figure = new_figure(_TOP + sum(heights))
    ratios = {"height_ratios": heights}
    panels = figure.subplots(len(pairs), 2, sharex="row", sharey="row", squeeze=False, gridspec_kw=ratios)
    for line, (pair, rows) in zip(panels, pairs.items(), strict=True):
        for axes, (name, title) in zip(line, COMPARED.items(), strict=True):
            for place, outcome in enumerate(rows.values()):
                over, paper = outcome.figures.get(name), outcome.cell.paper.get(name)
                if over is not None:
                    dots(axes, place, outcome.each[name], over.median, along="x")
                if paper is not None:
                    diamond(axes, paper, place)
            axes.set_title(f"{column_title(pair)}, {title}", loc="left", fontsize=8.5, color=INK)
            _name_rows(axes, list(rows))
    legend(figure, repeats="ours, a repeat", paper="the paper's figure")
    return figure


def _claims(claims: Sequence[Claim]) -> "Figure":
    """A panel for each dataset, a line for each claim."""
    datasets = by_dataset(claims)
    heights = [_HEAD + _ROW * len(of) for of in datasets.values()]
    figure = new_figure(_TOP + sum(heights))
    panels = figure.subplots(len(datasets), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (name, of) in zip(panels[:, 0], datasets.items(), strict=True):
        for place, claim in enumerate(of):
            dots(axes, place, claim.paired.differences, claim.paired.mean, along="x")
            if claim.paper is not None:
                diamond(axes, claim.paper, place)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_title(f"{title_of(name)}, differences in SRCC", loc="left", fontsize=8.5, color=INK)
        _name_rows(axes, [claim.text for claim in of])
        axes.tick_params(axis="x", labelbottom=True)
    legend(figure, repeats="ours, a repeat", centre="their mean", paper="the paper's difference")
    return figure


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)


def _svg(figure: "Figure") -> bytes:
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "mpiqe"}):  # with it and without a date, the same bytes every time
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


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
