"""A figure of a scorer's scores: photos under rising blur, noise, JPEG compression and darkness.

The photos lie within scikit-image, and matplotlib draws; both are imported when they are needed, torch never.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mpiqe import plotting
from mpiqe.atomic import write_atomic
from mpiqe.images import Pixels
from mpiqe.intervals import LEVEL
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.score import Score, likeliest
from mpiqe.scoring.scorer import Scorer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The photo's name there, and (left, top) of the detail that its tiles show.
PHOTOS = {"astronaut": (140, 30), "chelsea": (115, 70), "coffee": (160, 95), "rocket": (200, 262)}
KINDS = {"blur": "gaussian blur", "noise": "white noise", "JPEG": "JPEG", "darkness": "darken"}
"""Name of a distortion in the figure, and in ``mpiqe.data.synthetic``."""
SHOWN = (1, 3, 5)
"""Levels that have a tile; the curves have all."""
DETAIL = (240, 150)
"""Width and height of a tile in the photo's own pixels."""
COLOURS = {"blur": "#3b6fb6", "noise": "#d1712b", "JPEG": "#7d4fa8", "darkness": "#444444"}


@dataclass(frozen=True, eq=False)
class Series:
    """One photo and its distorted versions."""

    name: str
    photo: Pixels
    score: Score
    versions: dict[str, list[tuple[Pixels, Score]]]
    """For each of ``KINDS`` the versions at levels 1, 2, 3, .."""


def check_libraries() -> None:
    """Raise ``ConfigError`` where matplotlib or scikit-image is not installed."""
    plotting.check_libraries("to draw photos of scikit-image", "matplotlib", "skimage")


def score_photos(scorer: Scorer, names: Iterable[str] = tuple(PHOTOS), *, seed: int = 0) -> list[Series]:
    """Distort and score, in memory and all in one go. ``seed`` draws the noise."""
    check_libraries()
    from skimage import data

    from mpiqe.data.synthetic import LEVELS, distort

    photos = {name: np.asarray(getattr(data, name)()) for name in names}
    made = {
        name: {
            kind: [distort(photo, meant, level, seed=seed) for level in range(1, LEVELS + 1)]
            for kind, meant in KINDS.items()
        }
        for name, photo in photos.items()
    }
    flat = [
        pixels for name, photo in photos.items() for pixels in (photo, *(p for of in made[name].values() for p in of))
    ]
    scores = iter(scorer(flat))
    return [
        Series(
            name,
            photo,
            next(scores),
            {kind: [(pixels, next(scores)) for pixels in versions] for kind, versions in made[name].items()},
        )
        for name, photo in photos.items()
    ]


def draw(series: Iterable[Series], scale: Scale) -> "Figure":
    """Two blocks side by side, one a photo: itself and its curves on the left, a row of tiles for each of ``KINDS``."""
    check_libraries()
    blocks = list(series)
    rows = -(-len(blocks) // 2)
    sheet = plotting.Sheet(_HEAD + rows * _BLOCK_HEIGHT, ink="black")
    sheet.text(
        _MARGIN, 0.10, "Four photos under rising blur, noise, JPEG compression and darkness", size=12, weight="bold"
    )
    lines = (
        f"Scores: {scale}.",
        "They are of whole photos; the tiles show a detail. Beside a score stand the most probable distortion and "
        "scene; the curves have the colours of the rows.",
    )
    if any(block.score.interval is not None for block in blocks):
        lines = (f"{lines[0]} The grey line at level 0 is the photo's {LEVEL:.0%} interval.", lines[1])
    for line, text in enumerate(lines):
        sheet.text(_MARGIN, 0.34 + 0.14 * line, text, size=7.5, color=plotting.GREY)
    for index, block in enumerate(blocks):
        _block(
            _Drawing(sheet, scale), block, _MARGIN + index % 2 * plotting.WIDTH / 2, _HEAD + index // 2 * _BLOCK_HEIGHT
        )
    return sheet.figure


def check_name(path: Path) -> None:
    """Raise ``ConfigError`` for a name that the figure cannot have."""
    plotting.check_name(path, ".png", ".jpg", ".jpeg")


def save(figure: "Figure", path: Path) -> None:
    """Write the figure atomically in the format of its name: a PNG in 256 colours, a JPEG in all."""
    check_name(path)
    image = plotting.rendered(figure)
    if path.suffix.lower() == ".png":  # noise has no short lossless form; in all colours it would be 2 MB
        plotting.save_small_png(image, path, dither=Image.Dither.FLOYDSTEINBERG)
    else:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=82, optimize=True)
        write_atomic(path, file.getvalue())


def table(series: Iterable[Series], scale: Scale) -> str:
    """The scores in lines of text, and what the model calls the strongest version."""
    lines: list[str] = []
    for one in series:
        for kind, versions in one.versions.items():
            scores = [one.score, *(score for _, score in versions)]
            if not lines:
                heads = "".join(f"{level:>8}" for level in range(1, len(scores)))
                lines.append(f"{'photo':<11}{'under':<10}{'original':>8}{heads}   the last is called")
            cells = "".join(f"{score.score:>8.{scale.decimals}f}" for score in scores)
            called = ", ".join(filter(None, map(likeliest, (scores[-1].distortion, scores[-1].scene))))
            lines.append(f"{one.name:<11}{kind:<10}{cells}   {called}".rstrip())
    return "\n".join(lines)


# Inches from the upper left corner; at 100 pixels an inch the sheet is as wide as a README's page.
_HEAD, _BLOCK_HEIGHT, _MARGIN = 0.74, 4.26, 0.12
_LEFT, _LABEL, _GAP, _TOP = 1.32, 0.2, 0.1, 0.3
_TILE = (plotting.WIDTH / 2 - 2 * _MARGIN - _LEFT - _LABEL - 2 * _GAP) / 3


@dataclass
class _Drawing:
    """A sheet, and the scale of the scores on it."""

    sheet: plotting.Sheet
    scale: Scale

    def photo(self, left: float, top: float, width: float, pixels: Pixels) -> float:
        """Returns its height."""
        height: float = width * pixels.shape[0] / pixels.shape[1]
        self.sheet.image(left, top, width, height, pixels, interpolation="lanczos")
        return height

    def score(self, left: float, top: float, score: Score) -> None:
        """The score on its colour, the two names beside it."""
        from matplotlib import colormaps

        red, green, blue, _ = colormaps["RdYlGn"](self.scale.quality(score.score))
        number = f"{score.score:.{self.scale.decimals}f}"
        names = left + 0.06 + 0.084 * len(number)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        self.sheet.text(
            left + 0.03,
            top + 0.035,
            number,
            size=9,
            weight="bold",
            color="white" if dark else "black",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": (red, green, blue), "edgecolor": "none"},
        )
        for line, (probabilities, colour) in enumerate(((score.distortion, "black"), (score.scene, plotting.GREY))):
            self.sheet.text(names, top - 0.002 + 0.115 * line, short(likeliest(probabilities)), size=6.3, color=colour)


def short(name: str | None) -> str:
    """A class's name where there is little room."""
    return "" if name is None else name.removesuffix(" compression").removeprefix("spatially-")


def _block(drawing: _Drawing, block: Series, left: float, top: float) -> None:
    drawing.sheet.text(left, top, block.name, size=10, weight="bold")
    height = drawing.photo(left, top + _TOP, _LEFT - 0.1, block.photo)
    drawing.score(left, top + _TOP + height + 0.05, block.score)
    under = top + _TOP + height + 0.5
    bottom = top + _BLOCK_HEIGHT - 0.42
    _curves(drawing.sheet.axes(left + 0.22, under, _LEFT - 0.34, bottom - under), block, drawing.scale)
    column, row = _TILE + _GAP, _TILE * DETAIL[1] / DETAIL[0] + 0.34
    tiles = left + _LEFT + _LABEL
    for number, level in enumerate(SHOWN):
        drawing.sheet.text(tiles + number * column, top + 0.1, f"level {level}", size=7.5, color=plotting.GREY)
    for line, (kind, versions) in enumerate(block.versions.items()):
        upper = top + _TOP + line * row
        middle = upper + _TILE * DETAIL[1] / DETAIL[0] / 2
        how = {"rotation": 90, "va": "center", "ha": "center", "weight": "bold", "color": COLOURS[kind]}
        drawing.sheet.text(tiles - 0.11, middle, kind, size=8, **how)
        for number, level in enumerate(SHOWN):
            pixels, score = versions[level - 1]
            height = drawing.photo(tiles + number * column, upper, _TILE, _detail(pixels, PHOTOS[block.name]))
            drawing.score(tiles + number * column, upper + height + 0.05, score)


def _detail(pixels: Pixels, corner: tuple[int, int]) -> Pixels:
    (left, top), (width, height) = corner, DETAIL
    return pixels[top : top + height, left : left + width]


def _curves(axes: "Axes", block: Series, scale: Scale) -> None:
    for kind, versions in block.versions.items():
        scores = [block.score.score, *(score.score for _, score in versions)]
        axes.plot(
            range(len(scores)), scores, color=COLOURS[kind], linewidth=1.6, marker="o", markersize=2.6, label=kind
        )
    if block.score.interval is not None:
        axes.plot([0, 0], block.score.interval, color=plotting.GREY, linewidth=1, marker="_", markersize=5, zorder=1)
    axes.set_ylim(scale.low, scale.high)
    axes.set_xticks(range(6))
    axes.locator_params(axis="y", nbins=5)
    axes.tick_params(labelsize=6.5, length=2, pad=2, colors=plotting.GREY)
    axes.set_xlabel("level", fontsize=7, labelpad=1, color=plotting.GREY)
    axes.set_title("score", fontsize=7, loc="left", pad=3, color=plotting.GREY)
    plotting.few_spines(axes)
