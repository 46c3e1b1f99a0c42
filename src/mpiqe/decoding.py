"""Whatever a photo lies in, as an upright 8-bit RGB Pillow image. Knows nothing of torch.

Axes: H, W pixels.
"""

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile

from mpiqe.errors import ImageError

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = NDArray[np.uint8]
Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Pixels | torch.Tensor"

DEFAULT_MAX_PIXELS = 200_000_000  # the largest phone sensors; reading such a photo takes about 1.5 GB

# Pillow opens forty formats; EPS, for one, by running Ghostscript. A photo has no need of those.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
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
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        else:
            reason = f"cannot be decoded, damaged or cut short ({type(error).__name__}: {error})"
        raise ImageError(f"{describe(source)}: {reason}") from error


def decode(source: Source, max_pixels: int) -> Image.Image:
    """The source as an upright RGB image, fully loaded; ``mpiqe.images.read`` says by which rules.

    Raises ``ImageError``, without the source's name, for what it refuses itself, and whatever Pillow raises for what it
    cannot decode: call it within ``naming``.
    """
    if isinstance(source, (str, os.PathLike)):
        if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would block
            raise ImageError("not a regular file")
        with open(source, "rb") as file:
            return _rgb(_opened(file), max_pixels)
    if isinstance(source, bytes):
        return _rgb(_opened(io.BytesIO(source)), max_pixels)
    if isinstance(source, Image.Image):
        return _rgb(source, max_pixels)
    if is_tensor(source):
        source = _tensor_pixels(source)
    if not isinstance(source, np.ndarray):
        raise ImageError("not a path, bytes, a PIL image, an array or a tensor")
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise ImageError(f"an array must be (H, W, 3) uint8, this is {source.shape} {source.dtype}")
    _check_size(source.shape[1], source.shape[0], max_pixels)
    return Image.fromarray(np.ascontiguousarray(source))


def _opened(file: IO[bytes]) -> ImageFile.ImageFile:
    """``Image.open`` for FORMATS only, without Pillow's process-wide pixel limit and its warning: ours comes next."""
    Image.init()
    prefix = file.read(16)
    if not prefix:
        raise ImageError("empty file")
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))  # no AVIF before Pillow 11.3
        if factory and accepts and accepts(prefix) is True:  # a string is how a plugin says that its library is missing
            file.seek(0)
            return factory(file, "")
    raise ImageError(f"not an image in a format that mpiqe reads ({', '.join(FORMATS)})")


def _rgb(image: Image.Image, max_pixels: int) -> Image.Image:
    _check_size(*image.size, max_pixels)
    image.load()
    turn = _TURNS.get(_orientation(image))
    if image.mode == "F":
        raise ImageError("floating point pixels have no agreed white; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    elif image.mode == "CMYK":
        image = _from_cmyk(image)
    elif image.has_transparency_data:
        image = _over_white(image.convert("RGBA"))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block costs the turn, not the photo
        return None


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey by its upper eight bits; Pillow's own conversion clips instead."""
    samples = np.asarray(image)
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise ImageError("grey values outside 0..65535 have no agreed white; save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of a TIFF: two cases that Pillow hands on as they lie in the file
    bits = 12 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 16
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # a damaged profile, or one that is not for CMYK
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            return converted or image  # never the latter: only a conversion in place returns nothing
    return image.convert("RGB")


def _over_white(rgba: Image.Image) -> Image.Image:
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
