"""When and with which camera a photo was taken, from its EXIF."""

from datetime import datetime, timezone
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

_FORMAT = "%Y:%m:%d %H:%M:%S"


class Capture(NamedTuple):
    """Moment and camera."""

    seconds: float
    """Since 1970, as if the camera's clock were UTC, with its fraction where the camera wrote one."""
    camera: str
    """Make, model and serial number, as far as they are there: photos of two cameras are no burst."""


def read_capture(path: str) -> Capture | None:
    """The capture of a file; ``None`` where it has no readable time. Pixels are not decoded."""
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            detail = exif.get_ifd(ExifTags.IFD.Exif)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # scoring will say what is wrong with it
    text = detail.get(ExifTags.Base.DateTimeOriginal) or detail.get(ExifTags.Base.DateTimeDigitized)
    try:
        moment = datetime.strptime(str(text).strip("\0 ")[:19], _FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    fraction = str(detail.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
    named = (exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model), detail.get(ExifTags.Base.BodySerialNumber))
    return Capture(
        moment.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() and fraction.isascii() else 0.0),
        " ".join(str(part).strip("\0 ") for part in named if part),
    )
