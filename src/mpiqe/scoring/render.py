"""Draw an explanation: the image, its two maps laid over it, the score and the most probable labels.

Pillow and numpy alone, the font included: it is Pillow's own, which has the Latin alphabet and little else.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mpiqe.images import Pixels
from mpiqe.intervals import LEVEL
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.explanation import Explanation, Label

if TYPE_CHECKING:
    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Colour = tuple[int, int, int]

# Inferno at every ninth of its length, dark to bright; by Nathaniel Smith and Stefan van der Walt, CC0, in matplotlib.
INFERNO = np.array(
    [
        (0x00, 0x00, 0x04),
        (0x1B, 0x0C, 0x41),
        (0x4A, 0x0C, 0x6B),
        (0x78, 0x1C, 0x6D),
        (0xA5, 0x2C, 0x60),
        (0xCF, 0x44, 0x46),
        (0xED, 0x69, 0x25),
        (0xFB, 0x9B, 0x06),
        (0xF7, 0xD1, 0x3D),
        (0xFC, 0xFF, 0xA4),
    ]
)

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (28, 28, 32)
_FAINT: Colour = (110, 112, 120)
_RAIL: Colour = (230, 231, 235)
_GOOD, _FAIR, _POOR = (46, 139, 87), (214, 158, 20), (200, 62, 52)
_DISTORTION, _SCENE = (192, 68, 74), (70, 110, 160)

_MARGIN = 36
_GAP = 28
_BOX = (600, 512)  # the photo in a panel is as large as fits into this
_LONG_BOX = 1024  # the longer side of a panorama or a tower
_LONG = 2.0  # from this proportion on a photo is one
_NARROWEST = 340  # room for a caption and a note
_SUMMARY = 400
_BAR = 14
_TITLE, _TEXT, _SMALL, _HUGE = 24, 19, 16, 64
_LEAST_SPAN = 0.25  # in even shares: attention that varies less than this is shown as flat as it is


class _Panel(NamedTuple):
    caption: str
    picture: Image.Image
    note: str
    marks: tuple[str, str, str] | None = None
    """What stands below the colour bar's left end, middle and right end; ``None`` without one."""


def draw(explanation: Explanation) -> Image.Image:
    """Draw the figure of an explanation, RGB.

    Panels stand side by side, those of a panorama one above the other. Each shows the photo within 600 x 512 pixels, a
    long one within 1,024 along its longer side; a small one is enlarged.
    """
    panels = _panels(explanation)
    wide = explanation.photo.shape[1] >= _LONG * explanation.photo.shape[0]
    summary = _summary(explanation, beside=wide)
    drawn = [_panel(panel) for panel in panels]
    pages = [_stacked(drawn, down=wide, gap=_GAP), summary]
    return _framed(_stacked(pages, down=wide, gap=_GAP + _MARGIN // 2))


def overlay(photo: Pixels, values: NDArray[np.float32]) -> Pixels:
    """Values (H, W) in [0, 1] in Inferno's colours over the photo (H, W, 3) in grey: the higher, the denser."""
    grey = photo @ np.array([0.299, 0.587, 0.114])
    density = (0.30 + 0.45 * values)[..., None]
    mixed: Pixels = np.rint(grey[..., None] * (1 - density) + colours(values) * density).astype(np.uint8)
    return mixed


def colours(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values (...) in [0, 1] -> Inferno's colours (..., 3) in [0, 255]."""
    anchors = np.linspace(0, 1, len(INFERNO))
    return np.stack([np.interp(values, anchors, channel) for channel in INFERNO.T], axis=-1)


def _panels(explanation: Explanation) -> list[_Panel]:
    width, height = explanation.score.size
    shown = _shown_size(explanation.photo.shape[1], explanation.photo.shape[0])
    photo = Image.fromarray(explanation.photo).resize(shown, Image.Resampling.BICUBIC)
    pixels = np.asarray(photo)
    enlarged = ", enlarged" if shown[0] > width else ""
    panels = [_Panel("The photo", photo, f"{width} x {height} pixels{enlarged}")]
    if explanation.distortion is not None and explanation.distortion_map is not None:
        sure = explanation.score.distortion[explanation.distortion]
        # the root, since weights are exponentials: a photo that is noisy all over would be dark but for a few spots
        laid = overlay(pixels, np.sqrt(_resized(explanation.distortion_map, shown).clip(0, 1)))
        note = f"the likeliest distortion, {sure:.0%}"
        caption = f"Where “{explanation.distortion}” sits"
        panels.append(_Panel(caption, Image.fromarray(laid), note, ("low", "a quarter of the highest", "high")))
    low, high = float(explanation.attention_map.min()), float(explanation.attention_map.max())
    high = max(high, low + _LEAST_SPAN)
    attention = ((_resized(explanation.attention_map, shown) - low) / (high - low)).clip(0, 1)
    marks = f"low, {low:.2g}", f"{(low + high) / 2:.2g}", f"high, {high:.2g}"
    note = "1 is an even share"
    panels.append(_Panel("Where the decoder attends", Image.fromarray(overlay(pixels, attention)), note, marks))
    return panels


def _shown_size(width: int, height: int) -> tuple[int, int]:
    box = _BOX
    if width >= _LONG * height:
        box = (_LONG_BOX, _BOX[1])
    elif height >= _LONG * width:
        box = (_NARROWEST, _LONG_BOX)
    factor = min(box[0] / width, box[1] / height)
    return max(_BAR, round(width * factor)), max(_BAR, round(height * factor))  # a line is drawn as a thin strip


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _panel(panel: _Panel) -> Image.Image:
    """Caption, note, picture and colour bar, one under the other."""
    bar = 68 + panel.picture.height + 16
    page = _page(max(_NARROWEST, panel.picture.width), bar + _BAR + 30 if panel.marks else bar - 16)
    brush = ImageDraw.Draw(page)
    _text(brush, (0, 0), panel.caption, _TITLE, _INK, room=page.width)
    _text(brush, (0, 34), panel.note, _SMALL, _FAINT, room=page.width)
    page.paste(panel.picture, (0, 68))
    if panel.marks:
        length = min(page.width, _BOX[0])
        ramp = np.broadcast_to(np.linspace(0, 1, length, dtype=np.float32), (_BAR, length))
        page.paste(Image.fromarray(np.rint(colours(ramp)).astype(np.uint8)), (0, bar))
        for place, mark, anchor in zip((0, length / 2, length), panel.marks, ("la", "ma", "ra"), strict=True):
            _text(brush, (place, bar + _BAR + 8), mark, _SMALL, _FAINT, anchor=anchor)
    return page


def _summary(explanation: Explanation, *, beside: bool) -> Image.Image:
    """The score and the labels, one under the other, or ``beside`` each other below a panorama."""
    return _stacked([_score(explanation), _labels(explanation.labels)], down=not beside, gap=_GAP + 8)


def _score(explanation: Explanation) -> Image.Image:
    score, scale = explanation.score, explanation.scale
    page = _page(_SUMMARY, 224)
    brush = ImageDraw.Draw(page)
    _text(brush, (0, 0), "Score", _TITLE, _INK)
    number = f"{score.score:.{scale.decimals}f}"
    place = _place(score.score, scale)
    good = place if scale.higher_is_better else 1 - place
    colour = _GOOD if good > 2 / 3 else _FAIR if good > 1 / 3 else _POOR
    _text(brush, (0, 40), number, _HUGE, colour)
    if score.spread:  # one crop has none
        spread = f"± {score.spread:.{scale.decimals}f} over its crops"
        _text(brush, (_font(_HUGE).getlength(number) + 18, 78), spread, _SMALL, _FAINT)
    _rail(brush, 132, _SUMMARY, place, colour)
    if score.interval is not None:
        low, high = (f"{end:.{scale.decimals}f}" for end in score.interval)
        said, left = f"{LEVEL:.0%} interval: {low} to {high}", round(_font(_HUGE).getlength(number)) + 18
        _text(brush, (left, 54), said, _SMALL, _INK, room=_SUMMARY - left)
        _whisker(brush, 132, [_place(end, scale) * (_SUMMARY - 1) for end in score.interval])
    _text(brush, (0, 156), f"{scale.low:.{scale.decimals}f}", _SMALL, _FAINT)
    _text(brush, (_SUMMARY, 156), f"{scale.high:.{scale.decimals}f}", _SMALL, _FAINT, anchor="ra")
    direction = "higher" if scale.higher_is_better else "lower"
    _text(brush, (0, 190), f"{scale.unit}, {direction} is better", _SMALL, _FAINT, room=_SUMMARY)
    return page


def _place(value: float, scale: Scale) -> float:
    """How far along the scale a value lies, from 0 to 1."""
    return min(1.0, max(0.0, (value - scale.low) / ((scale.high - scale.low) or 1)))


def _whisker(brush: ImageDraw.ImageDraw, top: int, ends: list[float]) -> None:
    """A line with a bar at each end, across a rail."""
    low, high = map(round, ends)
    middle = top + _BAR // 2
    brush.rectangle((low, middle - 1, high, middle), fill=_INK)
    for end in (low, high):
        brush.rectangle((max(0, end - 1), top - 3, end, top + _BAR + 2), fill=_INK)


def _labels(labels: tuple[Label, ...]) -> Image.Image:
    page = _page(_SUMMARY, 44 + 58 * len(labels))
    brush = ImageDraw.Draw(page)
    _text(brush, (0, 0), "Most likely", _TITLE, _INK)
    for index, label in enumerate(labels):
        top = 44 + 58 * index
        _text(brush, (0, top), label.name, _TEXT, _INK)
        _text(brush, (_font(_TEXT).getlength(label.name) + 10, top + 3), label.kind, _SMALL, _FAINT)
        _text(brush, (_SUMMARY, top), f"{label.probability:.0%}", _TEXT, _INK, anchor="ra")
        _rail(brush, top + 28, _SUMMARY, label.probability, _DISTORTION if label.kind == "distortion" else _SCENE)
    return page


def _rail(brush: ImageDraw.ImageDraw, top: int, length: int, share: float, colour: Colour) -> None:
    """A bar that is full to ``share``."""
    brush.rectangle((0, top, length - 1, top + _BAR - 1), fill=_RAIL)
    if full := round(length * share):
        brush.rectangle((0, top, full - 1, top + _BAR - 1), fill=colour)


def _text(
    brush: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: Colour,
    *,
    anchor: str = "la",
    room: int | None = None,
) -> None:
    """One line, in smaller letters where it would not fit into ``room``."""
    while room is not None and size > 9 and _font(size).getlength(text) > room:
        size -= 1
    brush.text(place, text, fill=colour, font=_font(size), anchor=anchor)


@cache
def _font(size: int) -> "Font":
    return ImageFont.load_default(size)


def _page(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _PAPER)


def _stacked(pages: list[Image.Image], *, down: bool, gap: int) -> Image.Image:
    """Pages below each other or, if not ``down``, beside each other."""
    widths, heights = [page.width for page in pages], [page.height for page in pages]
    gaps = gap * (len(pages) - 1)
    whole = _page(max(widths), sum(heights) + gaps) if down else _page(sum(widths) + gaps, max(heights))
    at = 0
    for page in pages:
        whole.paste(page, (0, at) if down else (at, 0))
        at += (page.height if down else page.width) + gap
    return whole


def _framed(page: Image.Image) -> Image.Image:
    whole = _page(page.width + 2 * _MARGIN, page.height + 2 * _MARGIN)
    whole.paste(page, (_MARGIN, _MARGIN))
    return whole
