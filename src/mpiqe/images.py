"""Read images as upright 8-bit RGB, and cut square crops. Does not import torch.

Axes: H, W pixels of the photo, K crops, S pixels along a crop's side. A position is (left, top) of a crop.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import TypeAlias, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe.decoding import DEFAULT_MAX_PIXELS, Admit, Pixels, Source, decode, describe, naming, open_photo
from mpiqe.errors import ConfigError, ImageError
from mpiqe.option_types import CropMode
from mpiqe.orientation import REDUCING_GAP, DecodedImage
from mpiqe.view import NATIVE, View

__all__ = [
    "CROP_MODES",
    "DEFAULT_MAX_PIXELS",
    "REDUCING_GAP",
    "CropMode",
    "Pixels",
    "Positions",
    "Source",
    "check_view",
    "crop_positions",
    "cut",
    "describe",
    "enlarge",
    "enlarged_size",
    "grid_positions",
    "read",
    "read_canvas",
    "read_crops",
    "seeded_positions",
    "sliding_positions",
]

Positions: TypeAlias = NDArray[np.int64]
Picture = TypeVar("Picture", Pixels, Image.Image)

_MARGIN = 1.3  # times the sides of a scaled view: what is decoded at least, for the filter's sake (benchmarks/scale.py)
CROP_MODES: tuple[str, ...] = get_args(CropMode)


def read(source: Source, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Read an image as (H, W, 3) uint8, RGB and upright; the array is read-only.

    ``source`` is a path, the bytes of a file, a PIL image, an array (H, W, 3) uint8, or a torch tensor (3, H, W), uint8
    or floating point in [0, 1]. EXIF orientation is applied; transparency is laid over white; CMYK goes through its
    embedded profile where it has one; of 16 bits the upper eight are kept, as Pillow does with 16-bit colour; of an
    animation the first frame is taken. RGB profiles are ignored on purpose: the datasets that quality models learn
    from are read without them.

    Raises ``ImageError``, with the source's name, for anything that is no whole picture of at most ``max_pixels``.
    A file's size is checked before its pixels are decoded.
    """
    with naming(source):
        return np.asarray(decode(source, max_pixels))


def read_crops(
    source: Source,
    *,
    size: int,
    positions: Callable[[int, int], Positions],
    max_pixels: int = DEFAULT_MAX_PIXELS,
    admit: Admit | None = None,
    view: View = NATIVE,
    on_decoded: Callable[[DecodedImage, DecodedImage | Image.Image], None] | None = None,
) -> tuple[Pixels, tuple[int, int]]:
    """Return K crops (K, S, S, 3) from one decode, and the image's own (width, height).

    With the native view the same as ``read``, ``enlarge`` and ``cut`` in a row, but quicker for large photos and with
    half the memory, since only the crops become RGB, upright and arrays. With a scaled or square ``view`` the photo is
    resized to it first, and a large JPEG is decoded at a fraction of its size. ``positions`` is called with the width
    and height that the photo has then; ``admit`` with those that are decoded, before they are, and with those to
    which it is enlarged; ``on_decoded`` with the decoded photo and with what crops are cut from. Raises ``ImageError``.
    """
    with naming(source):
        photo = open_photo(source, max_pixels, admit, partial(_enough, view=view, crop=size))
        scaled = view.size(*photo.size, crop=size)
        canvas: DecodedImage | Image.Image = photo
        if scaled != photo.size:
            if scaled[0] * scaled[1] > photo.size[0] * photo.size[1]:
                check_view(scaled, max_pixels=max_pixels)
                if admit:
                    admit(*scaled)
            canvas = photo.scaled(scaled)
        elif min(photo.size) < size:
            if admit:
                admit(*enlarged_size(*photo.size, size=size, max_pixels=max_pixels))
            canvas = enlarge(photo.upright(), size, max_pixels=max_pixels)
        if on_decoded:
            on_decoded(photo, canvas)
    places = positions(*canvas.size)
    with naming(source):
        return cut(canvas, places, size=size), photo.size


def _enough(width: int, height: int, *, view: View, crop: int) -> tuple[int, int] | None:
    """Return how many pixels have to be decoded for a view; ``None`` for all of them."""
    scaled = view.size(width, height, crop=crop)
    return None if scaled == (width, height) else (ceil(_MARGIN * scaled[0]), ceil(_MARGIN * scaled[1]))


def check_view(scaled: tuple[int, int], *, max_pixels: int) -> None:
    """Raise ``ImageError`` where a square view enlarges a photo to more than ``max_pixels``."""
    if scaled[0] * scaled[1] > max_pixels:
        raise ImageError(
            None, f"the view of {scaled[0]} x {scaled[1]} pixels is over the limit of {max_pixels}; raise max_pixels"
        )


def read_canvas(
    source: Source, *, size: int, max_pixels: int = DEFAULT_MAX_PIXELS, view: View = NATIVE
) -> tuple[Image.Image, Image.Image]:
    """Return the whole image as RGB, and the image that ``read_crops`` cuts crops of ``size`` from in this view."""
    with naming(source):
        photo = decode(source, max_pixels)
        scaled = view.size(*photo.size, crop=size)
        if scaled == photo.size:
            return photo, enlarge(photo, size, max_pixels=max_pixels)
        check_view(scaled, max_pixels=max(max_pixels, photo.width * photo.height))
        small = open_photo(source, max_pixels, None, partial(_enough, view=view, crop=size))
        return photo, small.scaled(scaled)


def enlarge(image: Picture, size: int, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """A photo with a side under ``size`` made so large (bicubic) that its short side is ``size``; others unchanged.

    Takes an array (H, W, 3) uint8 or an RGB PIL image and returns the same kind. Raises ``ImageError`` for a strip so
    thin that the result would have more than ``max_pixels``.
    """
    width, height = _size(image)
    if min(width, height) >= size:
        return image
    large = enlarged_size(width, height, size=size, max_pixels=max_pixels)
    if isinstance(image, Image.Image):
        return image.resize(large, Image.Resampling.BICUBIC)
    return np.asarray(Image.fromarray(image).resize(large, Image.Resampling.BICUBIC))


def enlarged_size(width: int, height: int, *, size: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Width and height that ``enlarge`` brings a photo to whose short side is under ``size``; raises as it does."""
    short = min(width, height)
    large = round(width * size / short), round(height * size / short)
    if large[0] * large[1] > max_pixels:
        raise ImageError(
            None,
            f"a strip of {width} x {height} pixels would become {large[0]} x {large[1]} to hold {size} x {size} crops, "
            f"over the limit of {max_pixels}; cut it to a photo's shape or raise max_pixels",
        )
    return large


def crop_positions(
    width: int,
    height: int,
    *,
    size: int,
    count: int,
    mode: CropMode,
    seed: int = 0,
    generator: np.random.Generator | None = None,
) -> Positions:
    """Return the positions of crops: (K, 2) int64 of (left, top).

    ``seeded``: ``seeded_positions`` with the key ``f"{seed}:{width}x{height}"``, the same for every photo of that size.
    ``grid``: ``grid_positions``. ``random``: drawn from ``generator``, a new one where none is given.
    """
    if mode == "seeded":
        return seeded_positions(width, height, size=size, count=count, key=f"{seed}:{width}x{height}")
    if mode == "grid":
        return grid_positions(width, height, size=size, count=count)
    if mode == "random":
        across, down = _room(width, height, size)
        generator = generator or np.random.default_rng()
        return generator.integers(0, (across, down), size=(count, 2), dtype=np.int64, endpoint=True)
    raise ConfigError(f"crop mode {mode!r} is unknown; choose from {', '.join(CROP_MODES)}")


def seeded_positions(width: int, height: int, *, size: int, count: int, key: str) -> Positions:
    """Random positions, (K, 2) int64, that are a function of ``key`` and the sizes on every machine and for ever.

    The recipe: crop i takes the 16-byte BLAKE2b digest of ``f"{key}/{i}"`` in UTF-8. Its first eight bytes, read as a
    little-endian integer, modulo ``width - size + 1`` are the left edge; its last eight, modulo ``height - size + 1``,
    the top. Fewer crops are therefore the first of more.
    """
    across, down = _room(width, height, size)
    positions = np.empty((count, 2), dtype=np.int64)
    for i in range(count):
        digest = hashlib.blake2b(f"{key}/{i}".encode(), digest_size=16).digest()
        left, top = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        positions[i] = left % (across + 1), top % (down + 1)
    return positions


def grid_positions(width: int, height: int, *, size: int, count: int) -> Positions:
    """Positions (K, 2) int64 in rows from edge to edge, as many rows as suit the photo's shape; for any ``count``."""
    across, down = _room(width, height, size)
    rows = min(count, max(1, round((count * height / width) ** 0.5)))
    if not (across and down):  # a strip leaves one direction to spread in
        rows = count if down else 1
    positions = []
    for row, top in enumerate(_spread(down, rows)):
        columns = count // rows + (row < count % rows)
        positions += [(left, top) for left in _spread(across, columns)]
    return np.array(positions, dtype=np.int64)


def sliding_positions(width: int, height: int, *, size: int, most: int) -> Positions:
    """Positions (K, 2) int64, row by row from edge to edge, of crops that together show every pixel.

    Neighbours are half a crop apart. Where that makes more than ``most`` crops they move apart, up to seven eighths of
    a crop and no further: each must overlap the next, so a photo that is large enough takes more than ``most``.
    """
    across, down = _room(width, height, size)
    step = max(1, size // 2)
    widest = max(step, size * 7 // 8)
    while (-(-across // step) + 1) * (-(-down // step) + 1) > most and step < widest:
        step += 1
    columns, rows = (_spread(room, -(-room // step) + 1) for room in (across, down))
    return np.array([(left, top) for top in rows for left in columns], dtype=np.int64)


def cut(image: Pixels | Image.Image | DecodedImage, positions: Positions, *, size: int) -> Pixels:
    """Cut crops at ``positions``, (K, S, S, 3) uint8, from an array (H, W, 3), an RGB PIL image or a decoded image."""
    width, height = _size(image)
    crops = np.empty((len(positions), size, size, 3), dtype=np.uint8)
    for crop, (left, top) in zip(crops, positions.tolist(), strict=True):
        if not (0 <= left <= width - size and 0 <= top <= height - size):
            raise ImageError(None, f"no {size} x {size} crop at ({left}, {top}) of {width} x {height} pixels")
        box = left, top, left + size, top + size
        if isinstance(image, DecodedImage):
            crop[:] = np.asarray(image.piece(box))
        elif isinstance(image, Image.Image):
            crop[:] = np.asarray(image.crop(box))
        else:
            crop[:] = image[top : top + size, left : left + size]
    return crops


def _size(image: Pixels | Image.Image | DecodedImage) -> tuple[int, int]:
    return (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size


def _room(width: int, height: int, size: int) -> tuple[int, int]:
    """Return how far a crop can move to the right and down, in pixels."""
    if min(width, height) < size:
        raise ImageError(
            None, f"{width} x {height} pixels cannot hold a crop of {size} x {size}; enlarge the photo first"
        )
    return width - size, height - size


def _spread(room: int, count: int) -> list[int]:
    """``count`` whole numbers evenly from 0 to ``room``, both met; the middle when it is one."""
    if count == 1:
        return [room // 2]
    return [i * room // (count - 1) for i in range(count)]
