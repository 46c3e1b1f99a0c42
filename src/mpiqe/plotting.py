"""Figures drawn with matplotlib, which is imported when one is drawn: sheets measured in inches, and PNG files."""

import io
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mpiqe.atomic import write_atomic
from mpiqe.errors import ConfigError
from mpiqe.extras import needing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DPI = 10.0, 160
"""Inches, and pixels per inch: a sheet is 1,600 pixels wide."""
INK, GREY, PALE, LINES = "#1c1c20", "#666666", "#bbbbbb", "#dddddd"


def check_libraries(why: str, *modules: str) -> None:
    """Raise ``ConfigError`` where one of ``modules`` is not installed; ``why`` is what needs it: "to draw figure 3"."""
    with needing(why):
        for module in modules:
            import_module(module)


def check_name(path: Path, *suffixes: str) -> None:
    """Raise ``ConfigError`` unless ``path``, of the option ``--out``, ends in one of ``suffixes`` in a folder that is
    there.
    """
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        raise ConfigError(f"--out {path}: the figure's name must end in {' or '.join([*others, last])}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")


class Sheet:
    """A figure on which things lie at inches from its upper left corner; ``ink`` is the colour of text."""

    def __init__(self, height: float, *, ink: str = INK) -> None:
        from matplotlib.figure import Figure

        self.height = height
        self.ink = ink
        self.figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Axes whose upper left corner is there."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def bare_axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """The same without ticks and frame."""
        axes = self.axes(left, top, width, height)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def image(self, left: float, top: float, width: float, height: float, pixels: Any, **how: Any) -> None:
        """An image (H, W, 3) or (H, W) that fills the place, without ticks and frame."""
        axes = self.bare_axes(left, top, width, height)
        axes.imshow(pixels, **{"aspect": "auto", **how})

    def text(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text whose upper left corner is there, unless ``how`` says otherwise."""
        self.figure.text(left / WIDTH, 1 - top / self.height, text, **{"va": "top", "color": self.ink, **how})


def few_spines(axes: "Axes") -> None:
    """Leave the lines at the left and below, in grey, and faint lines for reading values."""
    axes.grid(axis="y", linewidth=0.4, color=LINES)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)


def save_png(figure: "Figure", path: Path) -> None:
    """Write a PNG atomically; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    write_atomic(path, file.getvalue())


def save_small_png(image: Image.Image, path: Path, *, dither: Image.Dither) -> None:
    """Write a PNG of 256 colours atomically."""
    content = io.BytesIO()
    few = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=dither)
    few.save(content, "PNG", optimize=True)
    write_atomic(path, content.getvalue())


def rendered(figure: "Figure") -> Image.Image:
    """The figure as an image of ``DPI`` pixels per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
