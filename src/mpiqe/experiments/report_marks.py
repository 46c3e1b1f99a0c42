"""What the report's plots have in common: a repeat is a dot, their median or mean a bar, the paper's a diamond."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mpiqe.experiments.drawing import GREY, INK

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
