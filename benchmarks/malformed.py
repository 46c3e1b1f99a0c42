"""Files that no camera makes: what a hostile or broken source may hand to a decoder. Made here, byte by byte.

``corpus`` yields all of them by name; the name's suffix is what the file claims to be.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms, features

Named = tuple[str, bytes]


def corpus() -> Iterator[Named]:
    """All of them, about 1,500."""
    whole = dict(photos())
    yield from whole.items()
    yield from truncated(whole)
    yield from renamed(whole)
    yield from odd_shapes()
    yield from bombs()
    yield from broken_tiffs()
    yield from damaged(whole)


def photos() -> Iterator[Named]:
    """Sound files of each kind, unusual ones among them, 96 x 64."""
    y, x = np.mgrid[:64, :96]
    rgb = Image.fromarray(np.stack([2 * x + y, 3 * y + x, 255 - x - y], axis=-1).astype(np.uint8))
    rgba, palette, cmyk = rgb.copy(), rgb.quantize(16), rgb.convert("CMYK")
    rgba.putalpha(rgb.getchannel("R"))
    grey16 = Image.fromarray((np.asarray(rgb.convert("L")).astype(np.uint16)) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x" * 60_000
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def moving(form: str) -> bytes:  # Pillow leaves what it needs for one format in the images
        return encoded(rgb.copy(), form, save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)])

    yield from (
        ("baseline.jpg", encoded(rgb, "JPEG")),
        ("progressive.jpg", encoded(rgb, "JPEG", progressive=True)),
        ("grey.jpg", encoded(rgb.convert("L"), "JPEG")),
        ("cmyk.jpg", encoded(cmyk, "JPEG")),
        ("rotated.jpg", encoded(rgb, "JPEG", exif=exif)),
        ("profile.jpg", encoded(rgb, "JPEG", icc_profile=profile)),
        ("pair.mpo", moving("MPO")),
        ("rgb.png", encoded(rgb, "PNG", icc_profile=profile)),
        ("rgba.png", encoded(rgba, "PNG", exif=exif)),
        ("palette.png", encoded(palette, "PNG", transparency=bytes(range(0, 256, 16)))),
        ("grey16.png", encoded(grey16, "PNG")),
        ("rgb16.png", png(96, 64, depth=16, colour=2, rows=(b"\0" + b"\x12\x34" * 288) * 64)),
        ("animated.png", moving("PNG")),
        ("raw.tif", encoded(rgb, "TIFF")),
        ("lzw.tif", encoded(rgb, "TIFF", compression="tiff_lzw")),
        ("deflate.tif", encoded(cmyk, "TIFF", compression="tiff_adobe_deflate")),
        ("jpeg.tif", encoded(rgb, "TIFF", compression="jpeg")),
        ("grey16.tif", encoded(grey16, "TIFF")),
        ("pages.tif", moving("TIFF")),
        ("lossy.webp", encoded(rgb, "WEBP")),
        ("lossless.webp", encoded(rgba, "WEBP", lossless=True, exif=exif)),
        ("animated.webp", moving("WEBP")),
        ("still.gif", encoded(palette, "GIF", transparency=3)),
        ("animated.gif", moving("GIF")),
        ("rgb.bmp", encoded(rgb, "BMP")),
        ("palette.bmp", encoded(palette, "BMP")),
        ("rgb.ppm", encoded(rgb, "PPM")),
    )
    if features.check("jpg_2000"):
        yield "rgb.jp2", encoded(rgb, "JPEG2000")
    if features.check("avif"):
        yield "rgb.avif", encoded(rgb, "AVIF")


def truncated(whole: dict[str, bytes]) -> Iterator[Named]:
    """Each cut where one of its parts begins, has told its length, is half there and ends."""
    for name, data in whole.items():
        stem, _, suffix = name.partition(".")
        for end in sorted({end for end in boundaries(data) if 0 <= end < len(data)}):
            yield f"{stem}-cut-{end}.{suffix}", data[:end]


def boundaries(data: bytes) -> Iterator[int]:
    """Where the parts of a file begin and end, by its format; for those without parts, byte by byte at first."""
    yield from (0, 1, len(data) // 2, len(data) - 1)
    if data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            yield from (at, at + 2, at + 4, at + 2 + length // 2, at + 2 + length)
            if data[at + 1] == 0xDA:
                return
            at += 2 + length
    elif data.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            yield from (at, at + 4, at + 8, at + 8 + length // 2, at + 8 + length)
            at += 12 + length
    elif data.startswith(b"RIFF"):
        at = 12
        yield from (4, 8)
        while at + 8 <= len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            yield from (at, at + 4, at + 8, at + 8 + length // 2, at + 8 + length)
            at += 8 + length + length % 2
    elif data.startswith(b"II*\0"):
        directory = int.from_bytes(data[4:8], "little")
        entries = int.from_bytes(data[directory : directory + 2], "little")
        yield from (4, 8, directory, directory + 1)
        yield from (directory + 2 + 12 * i for i in range(entries + 1))
    else:
        yield from range(2, 60, 4)


def renamed(whole: dict[str, bytes]) -> Iterator[Named]:
    """What is not what its name says."""
    yield from (
        ("png-in.jpg", whole["rgb.png"]),
        ("jpeg-in.png", whole["baseline.jpg"]),
        ("gif-in.webp", whole["still.gif"]),
        ("text.jpg", b"This is not a photo.\n" * 100),
        ("script.png", b"#!/bin/sh\nrm -rf /\n"),
        ("postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
        ("svg.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("pdf.tif", b"%PDF-1.4\n" + bytes(500)),
        ("empty.webp", b""),
        ("zeros.bmp", bytes(4096)),
        ("zip.gif", b"PK\3\4" + bytes(300)),
    )


def odd_shapes() -> Iterator[Named]:
    """No pixels, one pixel, strips."""
    for form, suffix in (("PNG", "png"), ("TIFF", "tif"), ("BMP", "bmp"), ("GIF", "gif"), ("JPEG", "jpg")):
        for width, height in ((1, 1), (1, 300), (300, 1), (1, 20_000), (20_000, 1)):
            yield f"{width}x{height}.{suffix}", encoded(Image.new("RGB", (width, height), "grey"), form)
    for width, height in ((0, 0), (0, 5), (5, 0)):
        yield f"{width}x{height}.png", png(width, height, depth=8, colour=2, rows=b"")
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"{width}x{height}.bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header
        yield f"{width}x{height}.gif", b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"
        yield f"{width}x{height}.ppm", f"P6 {width} {height} 255\n".encode()
        yield f"{width}x{height}.tif", tiff([(256, 3, 1, width), (257, 3, 1, height), (262, 3, 1, 1)])


def bombs() -> Iterator[Named]:
    """Small files that claim to be large, that become large, or that take long."""
    rows = zlib.compress(bytes(1 << 20), 9)
    yield "black.png", png(13_000, 13_000, depth=1, colour=0, rows=_zeros((13_000 // 8 + 2) * 13_000))
    for side in (13_000, 16_000, 65_000):
        yield f"claims-{side}.png", png(side, side, depth=8, colour=6, rows=b"")
        frame = struct.pack(">BHHB", 8, side, side, 3) + b"\1\x22\0\2\x11\0\3\x11\0"
        yield f"claims-{side}.jpg", b"\xff\xd8" + jpeg_segment(0xC2, frame) + b"\xff\xd9"
        yield f"claims-{side}.gif", b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6) + b";"
        header = struct.pack("<IiiHHIIiiII", 40, side, -side, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"claims-{side}.bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header
        yield f"claims-{side}.ppm", f"P6 {side} {side} 65535\n".encode()
        yield f"deflate-{side}.tif", one_strip_tiff(side, side, rows, compression=8)
        canvas = (min(side, 16_384) - 1).to_bytes(3, "little") * 2
        yield f"claims-{side}.webp", riff(b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas)
        bits = (min(side, 16_384) - 1) * ((1 << 14) + 1)
        yield f"lossless-{side}.webp", riff(b"VP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", bits) + b"\0")
    text = zlib.compress(bytes(80 << 20), 9)
    for name, body in (
        (b"zTXt", b"key\0\0" + text),
        (b"iCCP", b"key\0\0" + text),
        (b"iTXt", b"key\0\1\0\0\0" + text),
        (b"eXIf", b"II*\0\xff\xff\xff\xff"),
        (b"tEXt", b"key\0" + b"\x1b[2J\n" * 50_000),
    ):
        extra = png_chunk(name, body)
        rows = (b"\0" + bytes(96 * 3)) * 64
        yield f"{name.decode()}.png", png(96, 64, depth=8, colour=2, rows=rows, extra=extra)
        yield f"{name.decode()}-100.png", png(96, 64, depth=8, colour=2, rows=rows, extra=extra * 100)
    yield "slow.jpg", slow_jpeg(scans=500)


def broken_tiffs() -> Iterator[Named]:
    """Directories that lead to themselves or nowhere, and tags that nobody means."""
    size = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    strip = [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 4096)]
    yield "self.tif", tiff(size + strip, following=8)
    yield "no-strips.tif", tiff(size)
    yield "strip-nowhere.tif", tiff([*size, (273, 4, 1, 0xFFFFFFF0), *strip[1:]])
    yield "strips-endless.tif", tiff([*size, (273, 4, 0xFFFFFFFF, 8), strip[1], strip[2], (279, 4, 0xFFFFFFFF, 8)])
    yield "strips-many.tif", tiff([*size, (273, 4, 4_000_000, 8), strip[1], (278, 3, 1, 1), (279, 4, 4_000_000, 8)])
    yield "strip-of-itself.tif", tiff([*size, *strip[:3], (279, 4, 1, 0xFFFFFFFF)])
    yield "rows-0.tif", tiff([*size, strip[0], strip[1], (278, 3, 1, 0), strip[3]])
    yield "samples-60000.tif", tiff([*size, strip[0], (277, 3, 1, 60_000), strip[2], strip[3]])
    yield "bits-65535.tif", tiff([*size[:2], (258, 3, 1, 65_535), *size[3:], *strip])
    yield "bits-many.tif", tiff([*size[:2], (258, 3, 1_000_000, 8), *size[3:], *strip])
    yield "tiles-1x1.tif", tiff([*size, strip[1], (322, 3, 1, 1), (323, 3, 1, 1), (324, 4, 4096, 8), (325, 4, 4096, 8)])
    yield "tile-huge.tif", tiff([*size, strip[1], (322, 4, 1, 1 << 31), (323, 4, 1, 1 << 31), (324, 4, 1, 8)])
    yield "tags-65535.tif", tiff([(i, 2, 0x7FFFFFFF, 8) for i in range(65_535)])
    yield "tag-types.tif", tiff([(256 + i, i, 3, 8) for i in range(30)])
    for compression in (2, 3, 4, 5, 6, 7, 8, 32773, 34676, 34712, 34925, 50000, 50001, 65535):
        yield f"compression-{compression}.tif", one_strip_tiff(64, 64, bytes(range(256)) * 4, compression=compression)


def damaged(whole: dict[str, bytes]) -> Iterator[Named]:
    """Each with one byte in each sixteenth, and one in each of the first bytes, turned around."""
    for name, data in whole.items():
        stem, _, suffix = name.partition(".")
        for at in sorted({*range(0, min(48, len(data)), 6), *range(48, len(data), len(data) // 16 + 1)}):
            yield f"{stem}-flip-{at}.{suffix}", data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def slow_jpeg(*, scans: int, side: int = 4096) -> bytes:
    """A grey progressive JPEG which takes about a millisecond a scan to decode and 40 bytes a scan to store.

    Each scan says in a few codes that all blocks are empty, and the decoder visits them all.
    """
    blocks = (side // 8) ** 2
    codes = -(-blocks // 16384)  # each of 15 bits: "the next 16384 blocks have ended"
    return (
        b"\xff\xd8"
        + jpeg_segment(0xDB, b"\0" + b"\1" * 64)
        + jpeg_segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
        + jpeg_segment(0xC4, b"\0\1" + b"\0" * 15 + b"\0")  # DC: one code, no difference
        + jpeg_segment(0xC4, b"\x10\1" + b"\0" * 15 + b"\xe0")  # AC: one code, a run of ended blocks
        + jpeg_segment(0xDA, b"\1\1\0\0\0\0")
        + b"\0" * (blocks // 8)
        + (jpeg_segment(0xDA, b"\1\1\0\1\x3f\0") + b"\0" * -(-codes * 15 // 8)) * scans
        + b"\xff\xd9"
    )


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """As Pillow writes it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """A marker and what belongs to it."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG; ``rows`` as they are before they are packed, or packed already if they begin as zlib does."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = rows if rows.startswith(b"\x78\xda") else zlib.compress(rows)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_chunk(name: bytes, body: bytes) -> bytes:
    """With its length and check sum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def riff(chunks: bytes) -> bytes:
    """A WebP file of these chunks."""
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiff(tags: list[tuple[int, int, int, int]], *, following: int = 0, data: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory, at byte 8: (tag, type, count, value) each, and where the next one is."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + data


def one_strip_tiff(width: int, height: int, data: bytes, *, compression: int) -> bytes:
    """Grey, all in one strip of ``data``."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    start = 8 + 2 + 12 * 9 + 4
    tags += [(273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(data))]
    return tiff(tags, data=data)


def _zeros(count: int) -> bytes:
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block[: count - done]) for done in range(0, count, len(block))]
    return b"".join([*parts, packer.flush()])
