"""Decode images of every supported kind to upright 8-bit RGB Pillow images. Does not import torch.

Axes: H, W pixels.
"""

import contextlib
import importlib
import io
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mpiqe import formats
from mpiqe.errors import ImageError
from mpiqe.orientation import DecodedImage, decoded_image, says_orientation

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = NDArray[np.uint8]
Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Pixels | NDArray[np.floating[Any]] | torch.Tensor"
)
Admit: TypeAlias = Callable[[int, int], None]
"""Called with a photo's width and height when its header was read and its pixels were not; may wait, and may raise."""
Enough: TypeAlias = Callable[[int, int], "tuple[int, int] | None"]
"""Called with a photo's width and height as its file states them: how few pixels across and down will do for a decoder
that can leave some out, ``None`` if all are wanted."""

DEFAULT_MAX_PIXELS = 200_000_000
"""The largest phone sensors. Such a photo takes 0.3 to 2 GB, and 3.2 as a WebP or JPEG 2000 (docs/performance.md)."""

# Pillow opens forty formats; EPS, for one, by running Ghostscript. A photo has no need of those.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
FILE_BYTES = 64 << 20  # that are read of an open file, and 8 more for each pixel that a photo may have
_FILE_BYTES_PER_PIXEL = 8
_STEP = 1 << 20  # bytes
_DIVISORS = (8, 4, 2)  # libjpeg decodes blocks of 8 x 8 pixels as 1 x 1, 2 x 2 or 4 x 4 for less work
_SCAN_OF_ALL = b"\x00\x0c\x03"  # how the header of a JPEG's scan begins that has all of its three components
_SCAN_HEADER = 12  # bytes of it
_LISTS = (".txt", ".lst", ".list")  # how a file with a line for each photo is likely to be called
_PLUGINS = ("Jpeg", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Jpeg2K", "Ppm")  # of Pillow, for these
SUFFIXES = formats.SUFFIXES | frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp"}
    | {".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"}
)


def describe(source: Source) -> str:
    """Return the name of a source for messages: its path, if it has one."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "")
        return (os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else "") or "<PIL image>"
    if is_open_file(source) and isinstance(name := getattr(source, "name", None), (str, bytes)) and name:
        return os.fsdecode(name)
    return f"<{type(source).__name__}>"


def is_tensor(source: object) -> "TypeGuard[torch.Tensor]":
    """Whether it is a torch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def is_open_file(source: object) -> "TypeGuard[IO[bytes]]":
    """Whether it is read like a file: ``io.BytesIO``, what ``open`` returns, an upload."""
    return callable(getattr(source, "read", None))


def content_of(file: IO[bytes], max_pixels: int) -> bytes:
    """Return all that an open file holds, from its beginning where it can be moved there, as Pillow does.

    Raises ``ImageError``, without a name, for a file that cannot be read, that is opened as text, or that is larger
    than a photo of ``max_pixels`` can be.
    """
    most = FILE_BYTES + _FILE_BYTES_PER_PIXEL * max_pixels
    content = bytearray()
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        while step := file.read(min(_STEP, most + 1 - len(content))):
            if not isinstance(step, (bytes, bytearray, memoryview)):
                raise ImageError(None, f"the open file gives {type(step).__name__} and not bytes; open it as 'rb'")
            content += step
    except UnicodeDecodeError:
        raise ImageError(None, "the file is opened as text; open it as 'rb'") from None
    except ImageError:
        raise
    except Exception as error:  # closed, opened for writing, or what another library raises for damaged content
        raise ImageError(None, f"the open file cannot be read: {str(error) or type(error).__name__}") from error
    if len(content) > most:
        raise ImageError(None, f"over {most} bytes, more than a photo of {max_pixels} pixels; raise max_pixels")
    return bytes(content)


@contextlib.contextmanager
def naming(source: Source) -> Iterator[None]:
    """Turn everything that is raised inside into an ``ImageError`` with the source's name."""
    try:
        yield
    except ImageError as error:
        release(error)
        raise ImageError(describe(source), error.reason) from None
    except Exception as error:  # a hostile file makes Pillow raise nearly anything
        release(error)
        raise ImageError(describe(source), reason_of(error)) from error


def release(error: BaseException) -> None:
    """Clear the local variables of the frames that raised an error and its causes: they hold a photo's pixels.

    Whoever keeps the error would keep those, and a frame that refers to the error keeps itself, until a garbage
    collection. The traceback can still be printed.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        causes = (each.__cause__, each.__context__)
        waiting += [cause for cause in causes if cause is not None and id(cause) not in seen]


def reason_of(error: Exception) -> str:
    """One line, without what a hostile file may have put into it to deceive a terminal."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is to read it"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow's own limit, Image.MAX_IMAGE_PIXELS, allows in this process"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    kind = type(error).__name__
    return f"cannot be decoded, damaged or cut short ({f'{kind}: {text}' if text else kind})"


def decode(source: Source, max_pixels: int) -> Image.Image:
    """Decode the source to an upright RGB image, fully loaded; see ``mpiqe.images.read`` for the rules.

    Raises as ``open_photo`` does.
    """
    return open_photo(source, max_pixels).upright()


def open_photo(
    source: Source, max_pixels: int, admit: Admit | None = None, enough: Enough | None = None
) -> DecodedImage:
    """Decode the source, not yet to RGB and upright.

    With ``enough`` a JPEG in RGB or grey is decoded at 1/2, 1/4 or 1/8 where that many pixels are left; ``max_pixels``
    is about the size that the file states then too, ``admit`` is told the one that is decoded.

    Raises ``ImageError``, without the source's name, for what it refuses itself, and whatever Pillow raises for what it
    cannot decode, as the photo's methods do: call them within ``naming``.
    """
    if isinstance(source, (str, os.PathLike)):
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode):
            os.scandir(source).close()  # raises where it cannot be listed; else it would stand for what is in it
            raise ImageError(None, "a folder and no image")
        if not stat.S_ISREG(mode):  # a pipe would block
            raise ImageError(None, "not a regular file")
        with open(source, "rb") as file:
            return _from_file(file, max_pixels, admit, enough, name=os.fsdecode(source))
    if is_open_file(source):
        source = content_of(source, max_pixels)
    if isinstance(source, bytes):
        return _from_file(io.BytesIO(source), max_pixels, admit, enough)
    if isinstance(source, Image.Image):
        _check_size(*source.size, max_pixels)
        if admit:
            admit(*source.size)
        source.load()
        return decoded_image(source)
    if is_tensor(source):
        source = _tensor_pixels(source)
    if not isinstance(source, np.ndarray):
        raise ImageError(None, "not a path, bytes, an open file, a PIL image, an array or a tensor")
    pixels: NDArray[Any] = source
    if pixels.ndim == 3 and pixels.shape[0] == 3 != pixels.shape[2]:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = _eight_bits(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(
            None,
            "an array must be (H, W, 3) or (3, H, W), uint8 or floating point in [0, 1], "
            f"this is {pixels.shape} {pixels.dtype}",
        )
    _check_size(pixels.shape[1], pixels.shape[0], max_pixels)
    return decoded_image(Image.fromarray(np.ascontiguousarray(pixels)))


def load_plugins() -> None:
    """Import what Pillow needs for ``FORMATS``: a third of the time that all of its formats take."""
    for name in _PLUGINS:
        with contextlib.suppress(ModuleNotFoundError):  # no AVIF before Pillow 11.3
            importlib.import_module(f"PIL.{name}ImagePlugin")


def begins_image(prefix: bytes) -> bool:
    """Whether a file whose first bytes, 16 at least, are these is an image that can be read, if with an extra."""
    load_plugins()
    if formats.kind_of(prefix[: formats.PREFIX]) is not None:
        return True
    accepts = (Image.OPEN[name][1] for name in FORMATS if name in Image.OPEN)
    return any(accept is not None and accept(prefix[:16]) for accept in accepts)


def _from_file(
    file: IO[bytes], max_pixels: int, admit: Admit | None, enough: Enough | None, *, name: str = ""
) -> DecodedImage:
    """``Image.open`` for FORMATS only, without Pillow's process-wide pixel limit and its warning: ours comes next.

    ``name`` of a file tells a RAW file from a TIFF where their contents do not.
    """
    load_plugins()
    prefix = file.read(formats.PREFIX)
    if not prefix:
        raise ImageError(None, "empty file")
    kind = formats.kind_of(prefix)
    if kind == "HEIF":
        file.seek(0)
        return _loaded(formats.heif(file), max_pixels, admit, enough)
    if kind == "JXL":
        return _from_jxl(file, max_pixels, admit, enough)
    if kind == "RAW" or formats.is_raw_named(name, prefix):
        return _from_raw(file, max_pixels, admit, enough)
    for form in FORMATS:
        factory, accepts = Image.OPEN.get(form, (None, None))
        if factory and accepts and accepts(prefix[:16]) is True:  # a string: the plugin's library is missing
            if form == "WEBP" and (size := _webp_size(prefix)):  # opening one takes memory for its pixels already
                _check_size(*size, max_pixels)
                if admit:
                    admit(*size)
                    admit = None
            file.seek(0)
            image = factory(file, "")
            if form == "TIFF" and formats.is_raw(getattr(image, "tag_v2", {})):
                return _from_raw(file, max_pixels, admit, enough)
            return _loaded(image, max_pixels, admit, enough)
    if kind == "AVIF":
        raise formats.without_avif()
    known = ", ".join((*FORMATS, *formats.FURTHER))
    as_list = "; if it is a list of photos, put @ before its name" if name.endswith(_LISTS) else ""
    raise ImageError(None, f"not an image in a format that mpiqe reads ({known}){as_list}")


def _from_jxl(file: IO[bytes], max_pixels: int, admit: Admit | None, enough: Enough | None) -> DecodedImage:
    """Its size is read before the package decodes, which does it all at once."""
    size = formats.jxl_size(file)
    _check_size(*size, max_pixels)
    if admit:
        admit(*size)
    file.seek(0)
    decoded = formats.jxl(file.read())
    if isinstance(decoded, bytes):  # a JPEG, with its own EXIF orientation
        return _from_file(io.BytesIO(decoded), max_pixels, None, enough)
    return decoded_image(decoded)


def _from_raw(file: IO[bytes], max_pixels: int, admit: Admit | None, enough: Enough | None) -> DecodedImage:
    file.seek(0)
    preview = formats.raw_preview(file)
    if isinstance(preview.image, bytes):
        if not preview.image.startswith(b"\xff\xd8"):
            raise ImageError(None, "a RAW file whose preview is no JPEG; develop it to JPEG or TIFF")
        decoded = _from_file(io.BytesIO(preview.image), max_pixels, admit, enough)
    else:
        _check_size(*preview.image.size, max_pixels)
        decoded = decoded_image(preview.image)
    if too_small := formats.preview_too_small(*decoded.size):
        raise too_small
    return decoded if says_orientation(decoded.stored) else replace(decoded, turn=preview.turn)


def _webp_size(prefix: bytes) -> tuple[int, int] | None:
    """Return width and height from the first 30 bytes of a WebP file; ``None`` if they are cut short or invalid."""
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


def _loaded(image: ImageFile.ImageFile, max_pixels: int, admit: Admit | None, enough: Enough | None) -> DecodedImage:
    full = image.size
    _check_size(*full, max_pixels)
    least = enough(*full) if enough and image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") else None
    divisor = _divisor(full, least) if least else 1
    keeps_all = divisor == 1 or not _is_decoded_in_passing(image)
    if divisor > 1:
        image.draft(None, (full[0] // divisor, full[1] // divisor))
    if admit:
        admit(*(full if keeps_all else image.size))
    image.load()
    if divisor == 1 and image.size != full:  # libheif: a hostile file's pixels are others than it states
        raise ImageError(
            None, f"damaged: it states {full[0]} x {full[1]} pixels and has {image.width} x {image.height}"
        )
    return decoded_image(image, full=full, divisor=divisor)


def _divisor(full: tuple[int, int], least: tuple[int, int]) -> int:
    """Return the largest divisor of both sides that keeps that many pixels."""
    return next((n for n in _DIVISORS if full[0] >= n * least[0] and full[1] >= n * least[1]), 1)


def _is_decoded_in_passing(image: ImageFile.ImageFile) -> bool:
    """Whether libjpeg needs no memory for a JPEG's coefficients in full size: one scan has all of its components.

    For a file that has just been opened: Pillow has read up to the end of its first scan's header.
    """
    if image.info.get("progressive") or image.fp is None:
        return False
    if image.mode == "L":
        return True
    end = image.fp.tell()
    image.fp.seek(max(0, end - _SCAN_HEADER))
    header = image.fp.read(_SCAN_HEADER)
    image.fp.seek(end)
    return header.startswith(_SCAN_OF_ALL)


def _tensor_pixels(tensor: "torch.Tensor") -> Pixels:
    if (
        tensor.ndim != 3
        or tensor.shape[0] != 3
        or not (tensor.is_floating_point() or str(tensor.dtype) == "torch.uint8")
    ):
        raise ImageError(
            None, f"a tensor must be (3, H, W), uint8 or floating point, this is {tuple(tensor.shape)} {tensor.dtype}"
        )
    values = tensor.detach().cpu()
    planes = (values.float() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    return _eight_bits(planes.transpose(1, 2, 0))


def _eight_bits(values: NDArray[Any]) -> Pixels:
    """Turn floating point in [0, 1] into uint8; anything else stays as it is."""
    if not np.issubdtype(values.dtype, np.floating):
        pixels: Pixels = values
        return pixels
    values = values.astype(np.float32, copy=False)
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # as written, NaN is refused too
        raise ImageError(
            None,
            f"floating point pixels must lie in [0, 1], this is {values.min():g} to {values.max():g}; "
            "undo the normalisation or clamp them",
        )
    rounded: Pixels = np.rint(values * 255).astype(np.uint8)
    return rounded


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        raise ImageError(None, f"{width} x {height} pixels: the image is empty")
    if width * height > max_pixels:
        raise ImageError(
            None,
            f"{width} x {height} pixels are over the limit of {max_pixels}; "
            "raise max_pixels (--max-pixels) if you trust the file",
        )
