"""Decoded images and their conversion to upright 8-bit RGB."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms

from mpiqe.errors import ImageError

Box: TypeAlias = tuple[int, int, int, int]

REDUCING_GAP = 3.0  # pixels of a reduced photo for each one of the scaled; Lanczos' filter does the rest
_WHITE_IS_ZERO = 0
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
}
_FROM_THE_RIGHT = {  # a row of the upright photo (or a column, if on its side) begins at the stored one's right
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
}
_FROM_BELOW = {
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image in the orientation and colour space of its file, converted to upright RGB piece by piece.

    What is done to a pixel does not depend on its neighbours, so that a piece is the same as if it had been cut from
    the whole; and a large photo need not lie in memory twice.

    ``full`` is the size that the file states, not yet upright. A file that was decoded at one ``divisor``-th of it, to
    be quicker, has that many times fewer rows and columns in ``stored``: such a photo is for ``scaled`` alone.
    """

    stored: Image.Image
    convert: Callable[[Image.Image], Image.Image]
    turn: Image.Transpose | None
    full: tuple[int, int]
    divisor: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole photo, upright."""
        return self._turned(self.full)

    def scaled(self, size: tuple[int, int]) -> Image.Image:
        """Return all of it, resized to ``size`` (width and height, upright) with a Lanczos filter."""
        image = self.convert(self.stored)
        # the last column and row of a fraction stand for fewer pixels than the others
        covered = (0.0, 0.0, self.full[0] / self.divisor, self.full[1] / self.divisor)
        image = image.resize(self._turned(size), Image.Resampling.LANCZOS, covered, REDUCING_GAP)
        return image if self.turn is None else image.transpose(self.turn)

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[1], size[0]) if self.turn in _ON_ITS_SIDE else size

    def upright(self) -> Image.Image:
        """All of it."""
        image = self.convert(self.stored)
        return image if self.turn is None else image.transpose(self.turn)

    def piece(self, box: Box) -> Image.Image:
        """The part at (left, top, right, bottom) of the upright photo."""
        image = self.convert(self.stored.crop(self._in_file(box)))
        return image if self.turn is None else image.transpose(self.turn)

    def _in_file(self, box: Box) -> Box:
        left, top, right, bottom = box
        width, height = self.stored.size
        if self.turn in _ON_ITS_SIDE:
            left, top, right, bottom = top, left, bottom, right
        if self.turn in _FROM_THE_RIGHT:
            left, right = width - right, width - left
        if self.turn in _FROM_BELOW:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


def decoded_image(image: Image.Image, *, full: tuple[int, int] | None = None, divisor: int = 1) -> DecodedImage:
    """Wrap a loaded image; ``full`` and ``divisor`` if it was decoded at a fraction of its size.

    Raises ``ImageError`` for pixels that are no colours.
    """
    return DecodedImage(image, _conversion(image), _TURNS.get(_orientation(image)), full or image.size, divisor)


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts the loaded image, or a piece of it, to RGB."""
    if image.mode == "F":
        raise ImageError(None, "floating point pixels have no agreed white; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _over_white
    return _as_it_is if image.mode == "RGB" else partial(Image.Image.convert, mode="RGB")


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block costs the turn, not the photo
        return None


def says_orientation(image: Image.Image) -> bool:
    """Whether a file has an EXIF orientation, be it that nothing has to be turned."""
    return _orientation(image) is not None


def _from_16_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Convert 16-bit grey by its upper eight bits; Pillow's own conversion clips instead."""
    if image.mode == "I":  # 32 bits with a sign
        lowest, highest = cast("tuple[int, int]", image.getextrema())
        if lowest < 0 or highest > 0xFFFF:
            raise ImageError(None, "grey values outside 0..65535 have no agreed white; save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of a TIFF: two cases that Pillow hands on as they lie in the file
    bits = 12 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 16
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO
    transparent = image.info.get("transparency")

    def convert(image: Image.Image) -> Image.Image:
        samples = np.asarray(image)
        grey = (samples >> (bits - 8)).astype(np.uint8)
        if white_is_zero:
            grey = 255 - grey
        if transparent is not None:
            grey[samples == transparent] = 255
        return Image.fromarray(grey).convert("RGB")

    return convert


def _from_cmyk(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # a damaged profile, or one that is not for CMYK
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.buildTransform(io.BytesIO(profile), srgb, "CMYK", "RGB").apply
    return partial(Image.Image.convert, mode="RGB")


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, "white")
    canvas.paste(rgba, mask=rgba)
    return canvas
