"""The report's plots as SVG, one for each table and one of the claims. matplotlib only when they are drawn."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mpiqe.experiments.drawing import GREY, INK
from mpiqe.experiments.report_claims import by_dataset
from mpiqe.experiments.report_contents import CLAIMS
from mpiqe.experiments.report_curves import curves
from mpiqe.experiments.report_marks import diamond, dots, legend, new_figure, plain
from mpiqe.experiments.report_tables import COMPARED, Pair, by_pair, column_title
from mpiqe.experiments.results import Claim, Findings, Outcome
from mpiqe.experiments.tables import DATASETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        axes.set_title(f"{DATASETS.get(name, name)}, differences in SRCC", loc="left", fontsize=8.5, color=INK)
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
