"""What the figures have in common: sheets of one width, written whole, with a caption. matplotlib only when it runs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiqe.errors import ConfigError
from mpiqe.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, DPI = 10.0, 160
"""Inches, and pixels an inch: every sheet is 1,600 pixels wide."""
INK, GREY = "#1c1c20", "#666666"


@dataclass(frozen=True)
class Picture:
    """One figure of a report."""

    path: Path
    caption: str
    """Plain text: what is shown, how it was made and what it does not say."""


def check_libraries(figure: str, libraries: Sequence[str]) -> None:
    """Raise ``ConfigError`` where a library that ``figure`` needs is not installed."""
    for name in libraries:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(f'{figure} needs {name}, and {error}: pip install "mpiqe[plots]"') from error


def check_ready(path: Path, libraries: Sequence[str]) -> None:
    """Raise ``ConfigError`` where a library is not installed or the picture's folder cannot be: before any work."""
    check_libraries(path.stem, libraries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; name another folder") from error


class Sheet:
    """A figure on which things lie at inches from its upper left corner."""

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        self.height = height
        self.figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Axes without ticks or frame."""
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height), xticks=[], yticks=[]
        )
        axes.spines[:].set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text whose upper left corner is there, unless ``how`` says otherwise."""
        self.figure.text(left / WIDTH, 1 - top / self.height, text, **{"va": "top", "color": INK, **how})

    def save(self, path: Path) -> None:
        """Write a PNG, whole or not at all; the same sheet makes the same bytes."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        write_whole(path, file.getvalue())
