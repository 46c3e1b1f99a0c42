"""A thumbnail of a photo, and when and with which camera it was taken, from the decode that its crops come from."""

import contextlib
import io
from datetime import datetime, timezone
from typing import NamedTuple

from PIL import ExifTags, Image, ImageCms, features

from mpiqe.orientation import REDUCING_GAP, DecodedImage

MOST_BYTES = 1 << 20
"""No thumbnail is larger."""
LARGEST_SIDE = 512
"""Pixels along the longer side of the largest thumbnail."""
LONGEST_CAMERA = 200
"""Letters of a camera's name; what is longer is cut."""
_QUALITY = 50  # about 5 kB of 256 x 192 pixels


class Preview(NamedTuple):
    """What a page shows of a photo before it is opened."""

    thumbnail: bytes
    """WebP, or JPEG where Pillow lacks WebP; upright, in sRGB."""
    taken: float | None
    """When the photo was taken, in seconds since 1970 by the camera's own clock; ``None`` if its EXIF does not say."""
    camera: str = ""
    """Make, model and serial number of the camera, as far as the EXIF says them."""


def preview(photo: DecodedImage, canvas: "DecodedImage | Image.Image", *, longest: int) -> Preview:
    """Return the preview of a photo, the thumbnail's longer side at most ``longest`` pixels.

    ``canvas`` is what crops are cut from. Where that is the photo scaled down, still larger than the thumbnail, the
    thumbnail is made of it, else of the decoded photo itself.
    """
    factor = min(1.0, longest / max(photo.size))
    size = max(1, round(photo.size[0] * factor)), max(1, round(photo.size[1] * factor))
    if isinstance(canvas, Image.Image) and all(map(_between, size, canvas.size, photo.size)):
        small = canvas.resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    else:
        small = photo.scaled(size)
    return Preview(_encoded(_in_srgb(small, photo.stored)), *_capture(photo.stored))


class Previews:
    """Takes previews while photos are read, the ``last`` of which is kept; with ``longest`` 0 it takes none."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.last: Preview | None = None

    def take(self, photo: DecodedImage, canvas: "DecodedImage | Image.Image") -> None:
        """Make the preview of a photo that was decoded."""
        if self._longest:
            self.last = preview(photo, canvas, longest=self._longest)


def _between(low: int, value: int, high: int) -> bool:
    return low <= value <= high


def _in_srgb(image: Image.Image, stored: Image.Image) -> Image.Image:
    """The RGB image, converted if the stored one has an RGB profile. Scores are of the numbers as they are stored."""
    profile = stored.info.get("icc_profile")
    if profile and stored.mode != "CMYK":  # which went through its profile on the way to RGB
        with contextlib.suppress(ImageCms.PyCMSError):  # damaged, or of another kind of colour
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.buildTransform(io.BytesIO(profile), srgb, "RGB", "RGB").apply(image)
            converted.info.clear()
            return converted
    return image


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    if features.check("webp"):
        image.save(content, "WEBP", quality=_QUALITY, method=2, icc_profile=None, exif=b"")
    else:
        image.save(content, "JPEG", quality=_QUALITY, icc_profile=None)
    return content.getvalue()


def _capture(stored: Image.Image) -> tuple[float | None, str]:
    """When a photo was taken, and with which camera."""
    try:
        exif = stored.getexif()
        detail = exif.get_ifd(ExifTags.IFD.Exif)
        named = (
            exif.get(ExifTags.Base.Make),
            exif.get(ExifTags.Base.Model),
            detail.get(ExifTags.Base.BodySerialNumber),
        )
        camera = " ".join(_text(part) for part in named if part)[:LONGEST_CAMERA]
        digitized = detail.get(ExifTags.Base.DateTimeDigitized)
        text = _text(detail.get(ExifTags.Base.DateTimeOriginal) or digitized)[:19]
        fraction = _text(detail.get(ExifTags.Base.SubsecTimeOriginal, ""))
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc)
        seconds = float(f"0.{fraction}") if fraction.isdecimal() and fraction.isascii() else 0.0
        return moment.timestamp() + seconds, camera
    except Exception:  # no EXIF block, one without a time, or a damaged one, which makes Pillow raise nearly anything
        return None, ""


def _text(value: object) -> str:
    return str(value).strip(" \0")
