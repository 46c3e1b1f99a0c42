"""Image formats that Pillow itself does not read: HEIC, JPEG XL and cameras' RAW, through packages of the extras.

What a file is, is told by its first bytes, so without the package too. A RAW file stands for the preview that the
camera put into it: what its owner has seen, with the camera's own tones, and no developing of our taste.

Does not import torch; imports a package when the first file needs it.
"""

from collections.abc import Mapping
from typing import IO, Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from PIL import Image, ImageFile

from mpiqe.errors import ConfigError, ImageError
from mpiqe.extras import needing

Kind: TypeAlias = Literal["AVIF", "HEIF", "JXL", "RAW"]

FURTHER = ("HEIC", "JPEG XL", "RAW")
PREFIX = 512  # bytes that are enough for ``kind_of``
LEAST_PREVIEW = 512
"""Pixels along the longer side of a RAW file's preview: less is an icon for the camera's menu."""
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".srw", ".raf", ".orf", ".rw2", ".rwl"}
    | {".pef", ".x3f", ".3fr", ".fff", ".iiq", ".erf", ".mrw", ".dcr", ".kdc", ".mos", ".mef", ".gpr"}
)
SUFFIXES = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs", ".jxl"}) | RAW_SUFFIXES

_TIFF = (b"II*\0", b"MM\0*")
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF = {b"avif", b"avis"}
_PLAIN_HEIF = {b"mif1", b"msf1", b"mif2"}
_JXL_CODESTREAM = b"\xff\x0a"
_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_JXL_HEADER = 16  # bytes that hold its size
_MOST_BOXES = 1000  # of a JPEG XL container before its codestream
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

_MAKE, _SUBFILE_TYPE, _COMPRESSION, _DNG_VERSION = 271, 254, 259, 50706
_REDUCED = 1  # of the subfile type: a thumbnail
_RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}  # of Sony, Samsung, Nikon, Kodak, Pentax
_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}


class Preview(NamedTuple):
    """The preview in a RAW file."""

    image: bytes | Image.Image
    """The bytes of a JPEG, or pixels."""
    turn: Image.Transpose | None
    """What makes the camera's photo upright, for a JPEG that does not say so itself."""


def kind_of(prefix: bytes) -> Kind | None:
    """Return which of these formats a file has, by its first ``PREFIX`` bytes; ``None`` for all others.

    RAW files that begin as a TIFF does are told by ``is_raw``, those of Canon's by their second mark.
    """
    if prefix[4:8] == b"ftyp":
        return _kind_of_brands(prefix)
    if prefix.startswith((_JXL_CODESTREAM, _JXL_CONTAINER)):
        return "JXL"
    canon = prefix.startswith(_TIFF) and prefix[8:10] == b"CR"
    return "RAW" if canon or prefix.startswith(_RAW) else None


def is_raw(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF with these tags in its first directory is a camera's RAW file.

    Pillow would read the thumbnail that many of them begin with, 160 pixels wide.
    """
    if _DNG_VERSION in tags:
        return True
    thumbnail = bool(int(tags.get(_SUBFILE_TYPE, 0)) & _REDUCED)
    return _MAKE in tags and (thumbnail or tags.get(_COMPRESSION) in _RAW_COMPRESSIONS)


def is_raw_named(name: str, prefix: bytes) -> bool:
    """Whether a file with the name of a RAW file begins as a TIFF does, as most of them do."""
    return prefix.startswith(_TIFF) and name.lower().endswith(tuple(RAW_SUFFIXES))


def without_avif() -> ImageError:
    """Return the error for an AVIF file where Pillow does not read any."""
    return ImageError(None, "to read AVIF mpiqe needs Pillow 11.3 or newer: pip install 'pillow>=11.3'")


def heif(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a HEIC or HEIF file, whose pixels are decoded later.

    libheif applies the turn that its container states, and pillow-heif removes that of its EXIF block, so that none is
    applied twice. Raises ``ImageError`` where pillow-heif is not installed, and what that raises.
    """
    try:
        with needing("to read HEIC and HEIF"):
            from pillow_heif import options
            from pillow_heif.as_plugin import HeifImageFile
    except ConfigError as error:
        raise ImageError(None, str(error)) from error
    options.DECODE_THREADS = 1  # photos are read side by side already
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False  # of no use here
    return cast("ImageFile.ImageFile", HeifImageFile(file, ""))  # type: ignore[no-untyped-call]


def jxl(content: bytes) -> bytes | Image.Image:
    """Decode a JPEG XL file to pixels, upright, or to the JPEG that it was made of without loss.

    Check ``jxl_size`` first. Raises ``ImageError`` where pillow-jxl-plugin is not installed, and what that raises.
    """
    try:
        with needing("to read JPEG XL"):
            from pillow_jxl import Decoder
    except ConfigError as error:
        raise ImageError(None, str(error)) from error
    try:
        was_jpeg, header, pixels, *_ = Decoder(num_threads=0)(content)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        raise ImageError(None, "cannot be decoded, damaged or cut short") from error
    if was_jpeg:
        return bytes(pixels)
    return Image.frombytes(header.mode.partition(";16F")[0], (header.width, header.height), bytes(pixels))


def jxl_size(file: IO[bytes]) -> tuple[int, int]:
    """Return width and height as a JPEG XL file states them, not yet upright; raises ``ImageError``."""
    header = _jxl_codestream(file)
    if not header.startswith(_JXL_CODESTREAM):
        raise ImageError(None, "cannot be decoded, damaged or cut short: a JPEG XL file without a codestream")
    bits = _Bits(header[len(_JXL_CODESTREAM) :])
    is_small = bits.take(1)
    height = _jxl_side(bits, is_small)
    ratio = bits.take(3)
    if not ratio:
        return _jxl_side(bits, is_small), height
    across, down = _JXL_RATIOS[ratio - 1]
    return height * across // down, height


def raw_preview(file: IO[bytes]) -> Preview:
    """Return the largest preview that LibRaw finds in a RAW file.

    Raises ``ImageError`` where rawpy is not installed, for a file without a preview, and for what LibRaw cannot read.
    """
    try:
        with needing("to read the preview in a camera's RAW file"):
            import rawpy
    except ConfigError as error:
        raise ImageError(None, str(error)) from error
    try:
        with rawpy.imread(cast("BinaryIO", file)) as raw:
            turn = _TURNS.get(raw.sizes.flip)
            preview = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        raise ImageError(None, "a RAW file without a preview in it; develop it to JPEG or TIFF") from None
    except rawpy.LibRawFileUnsupportedError:
        raise ImageError(None, "a RAW file of a kind that LibRaw does not read; develop it to JPEG or TIFF") from None
    if preview.format == rawpy.ThumbFormat.JPEG:
        return Preview(bytes(preview.data), turn)
    return Preview(Image.fromarray(np.asarray(preview.data)), turn)


def preview_too_small(width: int, height: int) -> ImageError | None:
    """Return why a preview of that size does not stand for its RAW file; ``None`` where it does."""
    if max(width, height) >= LEAST_PREVIEW:
        return None
    return ImageError(
        None,
        f"a RAW file with a preview of only {width} x {height} pixels, an icon; develop it to JPEG or TIFF",
    )


def _kind_of_brands(prefix: bytes) -> Kind | None:
    """Of a file of boxes, by the first of its brands, its own and the compatible ones, that says which it is."""
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    brands = [prefix[8:12], *(prefix[start : start + 4] for start in range(16, end - 3, 4))]
    if brands[0] == b"crx ":
        return "RAW"
    for brand in brands:
        if brand in _HEIC:
            return "HEIF"
        if brand in _AVIF:
            return "AVIF"
    return "HEIF" if _PLAIN_HEIF & set(brands) else None


def _jxl_codestream(file: IO[bytes]) -> bytes:
    """The first bytes of the codestream, which may lie in boxes of a container, in parts and behind others."""
    file.seek(0)
    start = file.read(_JXL_HEADER)
    if not start.startswith(_JXL_CONTAINER):
        return start
    at, found = 0, b""
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        size, kind, length = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, length = int.from_bytes(head[8:16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            skipped = length + (4 if kind == b"jxlp" else 0)  # the number of a part
            file.seek(at + skipped)
            found += file.read(_JXL_HEADER if not size else max(0, min(_JXL_HEADER, size - skipped)))
        if len(found) >= _JXL_HEADER or kind == b"jxlc" or size < length:  # enough, or the last box, or damaged
            break
        at += size
    return found


class _Bits:
    """Bits from the least significant of each byte on, as JPEG XL has them; those behind the end are 0."""

    def __init__(self, content: bytes) -> None:
        self._bits = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value


def _jxl_side(bits: _Bits, is_small: int) -> int:
    if is_small:
        return (bits.take(5) + 1) * 8
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
