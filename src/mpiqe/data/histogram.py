"""A figure of a dataset: the histogram of its MOS, and its distortions and scenes."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe.data.describe import Coverage, Description, Ratings
from mpiqe.data.record import Dataset
from mpiqe.plotting import GREY, Sheet, check_libraries, check_name, few_spines, rendered, save_small_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A class has one colour in all pictures. Any two, and the grey of images without a label, are at least 13 apart
# (CIEDE2000), for eyes that lack red, green or blue as well (Machado et al. 2009).
COLOURS: Mapping[str, str] = {
    "blur": "#3470b8",
    "color-related": "#b54a4f",
    "contrast": "#1aa7a2",
    "JPEG compression": "#5e046a",
    "JPEG2000 compression": "#754d6a",
    "noise": "#dd7424",
    "over-exposure": "#f2d45c",
    "quantization": "#9ab38a",
    "under-exposure": "#2b2b2b",
    "spatially-localized": "#702404",
    "others": "#a0d0f2",
}
_PLAIN, NONE = "#7a8794", "#e2dfda"

# Inches from the upper left corner; at 100 pixels an inch the sheet is as wide as a README's page.
_HEAD, _FOOT, _MARGIN = 0.86, 0.5, 0.14
_LEAST_HEIGHT, _ROW, _PANEL = 4.4, 0.232, 0.4
_HISTOGRAM, _BARS, _COLUMNS = (0.5, 5.55), (7.12, 8.58), (9.08, 9.84)
_MOST_BINS = 40


def check(out: Path) -> None:
    """Raise ``ConfigError`` where matplotlib is not installed or ``out`` cannot be a figure's name: before any work."""
    check_libraries("to draw the histogram", "matplotlib")
    check_name(out, ".png")


def bins(mos: Sequence[float]) -> tuple[float, NDArray[np.int64]]:
    """The width of a bin, a round number, and for each rating the number of its bin: bin b begins at b times the width.

    At most 40 bins lie between the lowest and the highest rating, fewer for few ratings.
    """
    wanted = min(_MOST_BINS, max(5, round(2 * math.sqrt(len(mos)))))
    least = (max(mos) - min(mos)) / wanted or 1.0
    decade = 10.0 ** math.floor(math.log10(least))
    width = next(step * decade for step in (1, 2, 2.5, 5, 10) if step * decade >= least * (1 - 1e-9))
    return width, np.floor(np.asarray(mos) / width + 1e-6).astype(np.int64)  # 2.6 / 0.1 is 25.999999999999996


def draw(dataset: Dataset, description: Description) -> "Figure":
    """The MOS histogram, stacked by distortion where there are labels, and bars of distortions and scenes beside it."""
    panels: list[tuple[str, Coverage, Mapping[str, str]]] = [
        ("distortions", description.distortions, COLOURS),
        ("scenes", description.scenes, {}),
    ]
    panels = [panel for panel in panels if panel[1].labelled]
    rows = sum(_PANEL + _ROW * len(_rows(coverage)) for _, coverage, _ in panels)
    height = max(_LEAST_HEIGHT, _HEAD + rows + _FOOT - 0.3)
    sheet = Sheet(height, ink="black")

    def text(left: float, top: float, content: str, **how: Any) -> None:
        sheet.text(left, top, content, va="baseline", parse_math=False, **how)

    text(_MARGIN, 0.3, f"{_short(description.title)}: {description.rated:,} images", size=13, weight="bold")
    text(_MARGIN, 0.52, _subtitle(description), size=8, color=GREY)
    left, right = _HISTOGRAM
    right = right if panels else _COLUMNS[1]
    _histogram(sheet.axes(left, _HEAD, right - left, height - _HEAD - _FOOT), dataset, description)
    top = _HEAD - 0.02
    for title, coverage, colours in panels:
        text(_BARS[0] - 0.06, top, title, size=9, weight="bold", ha="right")
        if coverage.several:
            text(_BARS[0], top, "an image may have several", size=7, color=GREY)
        for column, word in zip(_COLUMNS, ("images", "mean MOS"), strict=True):
            text(column, top, word, size=7, color=GREY, ha="right")
        tall = _ROW * len(_rows(coverage))
        panel = sheet.axes(_BARS[0], top + 0.08, _BARS[1] - _BARS[0], tall)
        _bars(panel, coverage, colours, decimals=description.mos.decimals)
        top += _PANEL + tall
    return sheet.figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG of 256 colours, which are nearly all that the figure has, atomically."""
    check_name(path, ".png")
    save_small_png(rendered(figure), path, dither=Image.Dither.NONE)


def _short(title: str) -> str:
    return title if len(title) <= 60 else f"{title[:59]}…"


def _subtitle(description: Description) -> str:
    mos = description.mos
    decimals = mos.decimals
    spread = f"rated {mos.low:.{decimals}f} to {mos.high:.{decimals}f}, deviation {mos.deviation:.{decimals}f}"
    return f"{spread}     released as {description.scale}" if description.scale else spread


def _rows(coverage: Coverage) -> list[tuple[str, int, float | None]]:
    """Name, images and mean MOS of each bar; last those without a label, if there are any."""
    rows: list[tuple[str, int, float | None]] = [
        (name, group.images, group.mean_mos) for name, group in coverage.classes.items()
    ]
    return [*rows, ("no label", coverage.unlabelled, None)] if coverage.unlabelled else rows


def _histogram(axes: "Axes", dataset: Dataset, description: Description) -> None:
    width, numbers = bins([record.mos for record in dataset.records])
    first, count = int(numbers.min()), int(np.ptp(numbers)) + 1
    lefts = (first + np.arange(count)) * width
    below = np.zeros(count)
    names = list(description.distortions.classes)
    for name in (*names, None):
        members = np.array([record.distortion == name for record in dataset.records])
        heights = np.bincount(numbers[members] - first, minlength=count)
        colour = (NONE if names else _PLAIN) if name is None else COLOURS[name]
        axes.bar(lefts, heights, width, bottom=below, align="edge", color=colour, edgecolor="white", linewidth=0.5)
        below = below + heights
    axes.set_xlim(lefts[0] - width, lefts[-1] + 2 * width)
    axes.set_ylim(0, below.max() * 1.15)
    _averages(axes, description.mos, lambda value: float(below[math.floor(value / width + 1e-6) - first]))
    axes.set_xlabel("MOS as mpiqe reads it, higher is better", fontsize=8, color=GREY)
    axes.set_title(f"images, in bins of {width:g}", fontsize=8, loc="left", pad=4, color=GREY)
    axes.locator_params(axis="y", integer=True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=8, length=2, colors=GREY)
    axes.set_axisbelow(True)
    few_spines(axes)


def _averages(axes: "Axes", mos: Ratings, height: Callable[[float], float]) -> None:
    """Lines down to the bars, ``height`` tall, at the mean and the median; their names to the left and the right."""
    lowest, highest = axes.get_xlim()
    top = axes.get_ylim()[1]
    free = 0.0  # where the next name may begin, in shares of the width
    for (value, word), side in zip(
        sorted([(mos.mean, "mean"), (mos.median, "median")]), ("right", "left"), strict=True
    ):
        axes.vlines(value, height(value), 0.94 * top, color="black", linewidth=1)
        share = (value - lowest) / (highest - lowest)
        free = max(min(max(share, 0.2), 0.8), free)
        axes.annotate(
            f"{word} {value:.{mos.decimals}f}",
            (free, 0.965),
            xycoords="axes fraction",
            xytext=(-3 if side == "right" else 3, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            size=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # over the lines of the grid
        )


def _bars(axes: "Axes", coverage: Coverage, colours: Mapping[str, str], *, decimals: int) -> None:
    rows = _rows(coverage)
    most = max(images for _, images, _ in rows)
    for line, (name, images, mean) in enumerate(rows):
        colour = NONE if mean is None else colours.get(name, _PLAIN)
        axes.barh(line, images, 0.72, color=colour)
        axes.annotate(name, (0, line), (-4.3, 0), textcoords="offset points", ha="right", va="center", size=8)
        figures = f"{images:,}", "" if mean is None else f"{mean:.{decimals}f}"
        for column, figure, ink in zip(_COLUMNS, figures, ("black", GREY), strict=True):
            place = (column - _BARS[1]) * 72, 0
            axes.annotate(
                figure, (most, line), place, textcoords="offset points", ha="right", va="center", size=8, color=ink
            )
    axes.set_xlim(0, most)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_axis_off()
