"""Real files in the formats that need an extra: HEIC and JPEG XL by their packages, a DNG as a camera lays one out."""

import io
import struct

import numpy as np
from PIL import Image

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}  # bytes of a TIFF value by its type


def heic(image, *, orientation=None, **options):
    """A HEIC file; ``orientation`` is stated as iPhones do: in the container and in EXIF."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    content = io.BytesIO()
    image.save(content, "HEIF", **{"quality": 90, **options})
    return content.getvalue()


def jxl(image, **options):
    """A JPEG XL file."""
    import pillow_jxl  # noqa: F401

    content = io.BytesIO()
    image.save(content, "JXL", **options)
    return content.getvalue()


def jxl_of_jpeg(content):
    """A JPEG, packed without loss as JPEG XL."""
    from pillow_jxl import Encoder

    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    encoder = Encoder(mode="RGB", lossless=True, quality=100, use_container=True)
    return encoder(content, width, height, jpeg_encode=True)


def dng(preview, *, orientation=1, jpeg_exif=None, icon=None):
    """A DNG of 64 x 48 raw pixels, whose first directory is a thumbnail and whose sub-directory has a JPEG preview.

    ``jpeg_exif``: EXIF of the preview itself. ``icon``: another, smaller preview in place of ``preview``.
    """
    jpeg = io.BytesIO()
    options = {} if jpeg_exif is None else {"exif": jpeg_exif}
    (icon or preview).save(jpeg, "JPEG", quality=95, **options)
    jpeg = jpeg.getvalue()
    if jpeg_exif is not None:  # right at the beginning, as cameras have it, and not behind a JFIF block
        jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]
    width, height = (icon or preview).size
    raw = np.tile(np.arange(64, dtype=np.uint16) * 40, (48, 1)).astype("<u2").tobytes()
    thumbnail = np.full((24, 32, 3), 99, dtype=np.uint8).tobytes()
    make, model = b"Maker\0", b"Maker One\0"
    first = [
        (254, 4, [1]), (256, 4, [32]), (257, 4, [24]), (258, 3, [8, 8, 8]), (259, 3, [1]), (262, 3, [2]),
        (271, 2, make), (272, 2, model), (273, 4, ["thumbnail"]), (274, 3, [orientation]), (277, 3, [3]),
        (278, 4, [24]), (279, 4, [len(thumbnail)]), (330, 4, ["raw", "preview"]), (50706, 1, [1, 4, 0, 0]),
        (50707, 1, [1, 1, 0, 0]), (50708, 2, model),
        (50721, 10, [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]), (50778, 3, [21]),
    ]  # fmt: skip
    sensor = [
        (254, 4, [0]), (256, 4, [64]), (257, 4, [48]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803]),
        (273, 4, ["sensor"]), (277, 3, [1]), (278, 4, [48]), (279, 4, [len(raw)]), (33421, 3, [2, 2]),
        (33422, 1, [0, 1, 1, 2]), (50717, 4, [4095]),
    ]  # fmt: skip
    seen = [
        (254, 4, [1]), (256, 4, [width]), (257, 4, [height]), (258, 3, [8, 8, 8]), (259, 3, [7]), (262, 3, [6]),
        (273, 4, ["jpeg"]), (277, 3, [3]), (278, 4, [height]), (279, 4, [len(jpeg)]),
    ]  # fmt: skip
    return _tiff(
        {"first": first, "raw": sensor, "preview": seen},
        {"thumbnail": thumbnail, "sensor": raw, "jpeg": jpeg},
    )


def _tiff(directories, blocks):
    """A little-endian TIFF of directories and blocks, whose values may be names of either."""
    places, at = {}, 8
    for name, tags in directories.items():
        places[name] = at
        at += 2 + 12 * len(tags) + 4 + sum(_padded(len(_packed(kind, values, {}))) for _, kind, values in tags)
    for name, block in blocks.items():
        places[name] = at
        at += _padded(len(block))
    out = io.BytesIO(b"II*\0" + struct.pack("<I", 8))
    for name, tags in directories.items():
        rest = places[name] + 2 + 12 * len(tags) + 4
        out.seek(places[name])
        out.write(struct.pack("<H", len(tags)))
        extra = b""
        for tag, kind, values in tags:
            value = _packed(kind, values, places)
            out.write(struct.pack("<HHI", tag, kind, len(value) // _SIZES[kind]))
            if len(value) <= 4:
                out.write(value.ljust(4, b"\0"))
            else:
                out.write(struct.pack("<I", rest + len(extra)))
                extra += value.ljust(_padded(len(value)), b"\0")
        out.write(struct.pack("<I", 0) + extra)
    for name, block in blocks.items():
        out.seek(places[name])
        out.write(block)
    return out.getvalue()


def _packed(kind, values, places):
    if isinstance(values, bytes):
        return values
    letter = {1: "B", 3: "H", 4: "I", 10: "i"}[kind]
    return struct.pack(
        f"<{len(values)}{letter}", *(places.get(value, 0) if isinstance(value, str) else value for value in values)
    )


def _padded(length):
    return length + length % 2
