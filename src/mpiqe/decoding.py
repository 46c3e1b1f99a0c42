"""Whatever a photo lies in, as an upright 8-bit RGB Pillow image. Knows nothing of torch.

Axes: H, W pixels.
"""

import contextlib
import importlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from mpiqe.errors import ImageError

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = NDArray[np.uint8]
Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Pixels | torch.Tensor"
Box: TypeAlias = tuple[int, int, int, int]
Admit: TypeAlias = Callable[[int, int], None]
"""Called with a photo's width and height when its header was read and its pixels were not; may wait, and may raise."""

DEFAULT_MAX_PIXELS = 200_000_000  # the largest phone sensors; reading such a photo takes about 1.5 GB

# Pillow opens forty formats; EPS, for one, by running Ghostscript. A photo has no need of those.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
_PLUGINS = ("Jpeg", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Jpeg2K", "Ppm")  # of Pillow, for these
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp"}
    | {".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"}
)

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
class Photo:
    """A decoded photo as it lies in its file, which becomes RGB and upright piece by piece.

    What is done to a pixel does not depend on its neighbours, so that a piece is the same as if it had been cut from
    the whole; and a large photo need not lie in memory twice.
    """

    stored: Image.Image
    convert: Callable[[Image.Image], Image.Image]
    turn: Image.Transpose | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self.stored.size
        return (height, width) if self.turn in _ON_ITS_SIDE else (width, height)

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


def describe(source: Source) -> str:
    """What messages call a source: its path where it has one."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, Image.Image):
        return os.fsdecode(getattr(source, "filename", "")) or "<PIL image>"
    return f"<{type(source).__name__}>"


def is_tensor(source: object) -> "TypeGuard[torch.Tensor]":
    """Whether it is a torch tensor, found out without importing torch: who has one has loaded it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


@contextlib.contextmanager
def naming(source: Source) -> Iterator[None]:
    """Turn everything that is raised inside into an ``ImageError`` that begins with the source's name."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{describe(source)}: {error}") from None
    except Exception as error:  # a hostile file makes Pillow raise nearly anything
        raise ImageError(f"{describe(source)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """One line, without what a hostile file may have put into it to deceive a terminal."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is to read it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    kind = type(error).__name__
    return f"cannot be decoded, damaged or cut short ({f'{kind}: {text}' if text else kind})"


def decode(source: Source, max_pixels: int) -> Image.Image:
    """The source as an upright RGB image, fully loaded; ``mpiqe.images.read`` says by which rules.

    Raises as ``open_photo`` does.
    """
    return open_photo(source, max_pixels).upright()


def open_photo(source: Source, max_pixels: int, admit: Admit | None = None) -> Photo:
    """The source, fully loaded, not yet RGB and upright.

    Raises ``ImageError``, without the source's name, for what it refuses itself, and whatever Pillow raises for what it
    cannot decode, as the photo's methods do: call them within ``naming``.
    """
    if isinstance(source, (str, os.PathLike)):
        if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would block
            raise ImageError("not a regular file")
        with open(source, "rb") as file:
            return _from_file(file, max_pixels, admit)
    if isinstance(source, bytes):
        return _from_file(io.BytesIO(source), max_pixels, admit)
    if isinstance(source, Image.Image):
        return _photo(source, max_pixels, admit)
    if is_tensor(source):
        source = _tensor_pixels(source)
    if not isinstance(source, np.ndarray):
        raise ImageError("not a path, bytes, a PIL image, an array or a tensor")
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise ImageError(f"an array must be (H, W, 3) uint8, this is {source.shape} {source.dtype}")
    _check_size(source.shape[1], source.shape[0], max_pixels)
    return Photo(Image.fromarray(np.ascontiguousarray(source)), _as_it_is, None)


def load_plugins() -> None:
    """Import what Pillow needs for ``FORMATS``: a third of the time that all of its formats take."""
    for name in _PLUGINS:
        with contextlib.suppress(ModuleNotFoundError):  # no AVIF before Pillow 11.3
            importlib.import_module(f"PIL.{name}ImagePlugin")


def _from_file(file: IO[bytes], max_pixels: int, admit: Admit | None) -> Photo:
    """``Image.open`` for FORMATS only, without Pillow's process-wide pixel limit and its warning: ours comes next."""
    load_plugins()
    prefix = file.read(30)
    if not prefix:
        raise ImageError("empty file")
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory and accepts and accepts(prefix[:16]) is True:  # a string: the plugin's library is missing
            if name == "WEBP" and (size := _webp_size(prefix)):  # opening one takes memory for its pixels already
                _check_size(*size, max_pixels)
                if admit:
                    admit(*size)
                    admit = None
            file.seek(0)
            return _photo(factory(file, ""), max_pixels, admit)
    raise ImageError(f"not an image in a format that mpiqe reads ({', '.join(FORMATS)})")


def _webp_size(prefix: bytes) -> tuple[int, int] | None:
    """Width and height that the first 30 bytes of a WebP file state; ``None`` if they are cut short or odd."""
    kind = prefix[12:16]
    if kind == b"VP8L" and len(prefix) >= 25:
        bits = int.from_bytes(prefix[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(prefix) < 30:
        return None
    if kind == b"VP8X":
        return int.from_bytes(prefix[24:27], "little") + 1, int.from_bytes(prefix[27:30], "little") + 1
    width, height = (int.from_bytes(prefix[start : start + 2], "little") & 0x3FFF for start in (26, 28))
    return width, height


def _photo(image: Image.Image, max_pixels: int, admit: Admit | None) -> Photo:
    _check_size(*image.size, max_pixels)
    if admit:
        admit(*image.size)
    image.load()
    return Photo(image, _conversion(image), _TURNS.get(_orientation(image)))


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of the loaded image and of each of its pieces."""
    if image.mode == "F":
        raise ImageError("floating point pixels have no agreed white; save it with 8 or 16 bits")
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


def _from_16_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Grey by its upper eight bits; Pillow's own conversion clips instead."""
    if image.mode == "I":  # 32 bits with a sign
        lowest, highest = cast("tuple[int, int]", image.getextrema())
        if lowest < 0 or highest > 0xFFFF:
            raise ImageError("grey values outside 0..65535 have no agreed white; save it with 8 or 16 bits")
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


def _tensor_pixels(tensor: "torch.Tensor") -> Pixels:
    if (
        tensor.ndim != 3
        or tensor.shape[0] != 3
        or not (tensor.is_floating_point() or str(tensor.dtype) == "torch.uint8")
    ):
        raise ImageError(
            f"a tensor must be (3, H, W), uint8 or floating point, this is {tuple(tensor.shape)} {tensor.dtype}"
        )
    values = tensor.detach().permute(1, 2, 0).cpu()
    if not values.is_floating_point():
        pixels: Pixels = values.numpy()
        return pixels
    floats = values.float().numpy()
    if floats.size and not (floats.min() >= 0 and floats.max() <= 1):  # as written, NaN is refused too
        raise ImageError(
            f"a floating point tensor must lie in [0, 1], this is {floats.min():g} to {floats.max():g}; "
            "undo its normalisation or clamp it"
        )
    rounded: Pixels = np.rint(floats * 255).astype(np.uint8)
    return rounded


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        raise ImageError(f"{width} x {height} pixels: nothing to see")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} pixels are over the limit of {max_pixels}; "
            "raise max_pixels (--max-pixels) if you trust the file"
        )
