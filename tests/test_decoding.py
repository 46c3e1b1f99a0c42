import errno
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, __version__, features

from mpiqe.errors import ImageError
from mpiqe.images import cut, read, read_crops

PILLOW = int(__version__.partition(".")[0])
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
# Two rows of three: as a camera that is held upright sees them.
UPRIGHT = np.array([[RED, GREEN, BLUE], [WHITE, BLACK, RED]], dtype=np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(height=48, width=64):
    """Smooth enough for any codec, and no two pixels of a row alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x + y, 2 * y + x, 255 - x - y], axis=-1).astype(np.uint8)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, depth, colour, rows=b"", extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def tiff(width, height, *, bits, photometric, data, sample_format=1):
    """A little-endian grey TIFF in one uncompressed strip."""
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, sample_format),
    ]  # fmt: skip
    data += b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + b"\0\0\0\0"


def cmyk_profile(green):
    """A print profile in which paper is white, black ink black, and cyan with yellow the Lab colour ``green``.

    Colours are in lut8's encoding: L* times 2.55, a* + 128, b* + 128.
    """
    inks, grid = 4, 2
    colours = [(0, 128, 128) if ink & 0b0001 else (255, 128, 128) for ink in range(grid**inks)]  # bits: C M Y K
    colours[0b1010] = green
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    table = b"mft1" + b"\0" * 4 + bytes([inks, 3, grid, 0]) + matrix + ramp * inks + bytes(sum(colours, ())) + ramp * 3
    white = b"XYZ " + b"\0" * 4 + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)  # D50
    text = b"text" + b"\0" * 4 + b"none\0\0\0\0"
    tags = [(b"A2B0", table), (b"wtpt", white), (b"cprt", text), (b"desc", b"desc" + b"\0" * 92)]
    offset = 128 + 4 + 12 * len(tags)
    listing, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        data += b"\0" * (-len(data) % 4)
        listing += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + listing + body


# What a camera stores for an upright picture when it is held that way (the inverse of what a viewer must do).
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    file = encoded(Image.fromarray(np.ascontiguousarray(STORED[orientation])), kind, exif=exif, **options)
    np.testing.assert_array_equal(read(file), UPRIGHT)


def kinds():
    """Files of every sort of pixel, 64 x 48, by name."""
    rgb = Image.fromarray(photo())
    alpha = Image.fromarray(photo()[..., 1])
    rgba, la, wide = rgb.copy(), alpha.copy(), Image.fromarray(photo()[..., 0].astype(np.uint16) * 257)
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette, cmyk = rgb.quantize(16), rgb.convert("CMYK")
    return {
        "rgb": (rgb, "PNG", {}),
        "jpeg": (rgb, "JPEG", {}),
        "rgb with a transparent colour": (rgb, "PNG", {"transparency": rgb.getpixel((5, 5))}),
        "rgba": (rgba, "PNG", {}),
        "webp": (rgba, "WEBP", {"lossless": True}),
        "grey": (alpha, "PNG", {}),
        "grey with alpha": (la, "PNG", {}),
        "one bit": (alpha.convert("1"), "PNG", {}),
        "palette": (palette, "PNG", {}),
        "palette with a transparent colour": (palette, "PNG", {"transparency": 3}),
        "palette with alpha": (palette, "PNG", {"transparency": bytes(range(0, 256, 16))}),
        "16 bit grey": (wide, "PNG", {}),
        "16 bit grey with a transparent value": (wide, "PNG", {"transparency": wide.getpixel((5, 5))}),
        "32 bit grey": (wide.convert("I"), "TIFF", {}),
        "cmyk": (cmyk, "TIFF", {}),
        "cmyk with a profile": (cmyk, "TIFF", {"icc_profile": cmyk_profile((128, 100, 150))}),
        **({"YCbCr": (rgb.convert("YCbCr"), "TIFF", {})} if PILLOW >= 13 else {}),  # older ones do not read their own
    }


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", kinds())
def test_crops_that_are_converted_alone_are_those_of_the_whole_photo(kind, orientation):
    image, form, options = kinds()[kind]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(image, form, exif=exif, **options)
    whole = read(file)
    positions = np.array([[0, 0], [7, 3], [whole.shape[1] - 16, whole.shape[0] - 16]])
    crops, size = read_crops(file, size=16, positions=lambda width, height: positions)
    assert size == (whole.shape[1], whole.shape[0]) == ((64, 48) if orientation < 5 else (48, 64))
    np.testing.assert_array_equal(crops, cut(whole, positions, size=16))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_the_size_is_told_before_the_pixels_are_decoded(form):
    def refuse(width, height):
        raise ImageError(None, f"not now, {width} x {height}")

    file = encoded(Image.fromarray(photo()), form)
    damaged = file[:200] + b"\0" * (len(file) - 200) if form == "PNG" else file
    with pytest.raises(ImageError, match="not now, 64 x 48"):
        read_crops(damaged, size=16, positions=None, admit=refuse)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0"])
def test_a_webp_that_is_too_large_is_refused_before_it_is_opened(lossless, exif, monkeypatch):
    file = encoded(Image.fromarray(photo()), "WEBP", lossless=lossless, exif=exif)
    monkeypatch.setitem(Image.OPEN, "WEBP", (pytest.fail, Image.OPEN["WEBP"][1]))
    with pytest.raises(ImageError, match="64 x 48 pixels are over the limit of 3071"):
        read(file, max_pixels=3071)


def test_what_a_file_says_in_an_error_is_one_printable_line():
    class Deceitful(io.BytesIO):
        def read(self, *_):
            raise ValueError("one\n\x1b[31mtwo\r three")

    image = Image.open(io.BytesIO(encoded(Image.fromarray(photo()), "PNG")))
    image.fp = Deceitful()
    with pytest.raises(ImageError, match=r"\(ValueError: one \[31mtwo three\)$"):
        read(image)


def test_a_rotated_jpeg_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.rot90(photo())
    found = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=100, subsampling=0))
    assert found.shape == photo().shape
    assert np.abs(found.astype(int) - photo()).max() <= 4  # JPEG's own rounding


def test_damaged_exif_costs_only_the_turn():
    file = encoded(Image.fromarray(UPRIGHT), "PNG", exif=b"Exif\0\0nonsense" * 3)
    np.testing.assert_array_equal(read(file), UPRIGHT)


def test_a_photo_is_read_alike_from_path_bytes_pillow_array_and_tensors(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo()).save(path)
    with Image.open(path) as unread:
        for source in (
            path,
            str(path),
            path.read_bytes(),
            unread,
            Image.fromarray(photo()),
            photo(),
            photo()[::-1][::-1],
            photo() / 255,
            photo().transpose(2, 0, 1) / 255,
            torch.from_numpy(photo()).permute(2, 0, 1),
            torch.from_numpy(photo()).permute(2, 0, 1) / 255,
            (torch.from_numpy(photo()).permute(2, 0, 1) / 255).double().requires_grad_(),
        ):
            found = read(source)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, photo())


def test_floating_point_tensors_are_rounded_not_cut_off():
    levels = torch.tensor([0.0, 0.4, 0.6, 254.4, 254.6, 255.0]) / 255
    assert read(levels.expand(3, 1, 6))[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]
    assert read(torch.full((3, 1, 1), 0.5, dtype=torch.bfloat16)).tolist() == [[[128] * 3]]


def test_grey_becomes_three_equal_channels():
    grey = np.array([[0, 100, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(grey), "PNG")), [[[0] * 3, [100] * 3, [255] * 3]])


def test_one_bit_becomes_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(read(encoded(image, kind)), [[BLACK, WHITE]])


def test_alpha_is_laid_over_white():
    rgba = np.array([[(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51), (0, 0, 0, 128)]], dtype=np.uint8)
    # 51/255 is a fifth: 0.8 * 255 = 204 of white shines through; 127/255 of white is 127.
    expected = [[RED, WHITE, (255, 204, 204), (127, 127, 127)]]
    np.testing.assert_array_equal(read(encoded(Image.fromarray(rgba), "PNG")), expected)
    np.testing.assert_array_equal(read(Image.fromarray(rgba)), expected)


def test_grey_with_alpha_is_laid_over_white():
    la = Image.fromarray(np.array([[0, 0, 100]], dtype=np.uint8))
    la.putalpha(Image.fromarray(np.array([[255, 0, 51]], dtype=np.uint8)))
    # 100 / 5 + 204
    np.testing.assert_array_equal(read(encoded(la, "PNG")), [[BLACK, WHITE, (224, 224, 224)]])


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", 1), ("PNG", b"\xff\x00\xff"), ("GIF", 1)])
def test_a_transparent_palette_colour_is_white(kind, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "L").convert("P")
    image.putpalette([*RED, *GREEN, *BLUE])
    file = encoded(image, kind, transparency=transparency, optimize=False)
    np.testing.assert_array_equal(read(file), [[RED, WHITE, BLUE]])


def test_a_transparent_colour_of_a_grey_or_rgb_png_is_white():
    grey = Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(read(encoded(grey, "PNG", transparency=0)), [[WHITE, (100, 100, 100), WHITE]])
    colour = Image.fromarray(np.array([[RED, BLACK]], dtype=np.uint8))
    np.testing.assert_array_equal(read(encoded(colour, "PNG", transparency=RED)), [[WHITE, BLACK]])


GREY16 = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
GREY8 = np.array([0, 0, 1, 0x7F, 0x80, 0xFF])  # the upper bytes


def test_sixteen_bit_grey_is_scaled_not_clipped():
    for file in (
        encoded(Image.fromarray(GREY16), "PNG"),
        encoded(Image.fromarray(GREY16), "TIFF"),
        encoded(Image.fromarray(GREY16.astype(np.int32)), "TIFF"),
        b"P5 6 1 65535\n" + GREY16.astype(">u2").tobytes(),
        encoded(Image.fromarray(GREY16.astype(">u2")), "TIFF"),
    ):
        found = read(file)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.stack([GREY8] * 3, axis=-1)[None])


def test_sixteen_bit_colour_and_sixteen_bit_grey_agree():
    values = GREY16.astype(">u2").tobytes()
    colour = np.repeat(GREY16.astype(">u2"), 3).tobytes()
    grey = png(6, 1, depth=16, colour=0, rows=b"\0" + values)
    rgb = png(6, 1, depth=16, colour=2, rows=b"\0" + colour)
    np.testing.assert_array_equal(read(grey), read(rgb))


def test_sixteen_bit_grey_with_a_transparent_value():
    file = png(
        6, 1, depth=16, colour=0, rows=b"\0" + GREY16.astype(">u2").tobytes(), extra=png_chunk(b"tRNS", b"\x00\xff")
    )
    assert read(file)[0, :3, 0].tolist() == [0, 255, 1]


def test_twelve_bit_grey_uses_the_whole_range():
    # 0x000, 0xFFF, 0x800, 0x010: three nibbles each
    file = tiff(4, 1, bits=12, photometric=1, data=bytes.fromhex("000fff800010"))
    assert read(file)[0, :, 0].tolist() == [0, 255, 128, 1]


def test_a_sixteen_bit_scan_where_white_is_zero_is_turned():
    file = tiff(2, 1, bits=16, photometric=0, data=struct.pack("<2H", 0, 0xFFFF))
    assert read(file)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("bits", "sample_format", "data"),
    [(32, 3, struct.pack("<2f", 0.0, 1.0)), (32, 2, struct.pack("<2i", 0, 70000)), (16, 2, struct.pack("<2h", -1, 5))],
    ids=["float", "beyond 16 bits", "negative"],
)
def test_samples_without_an_agreed_white_are_refused(bits, sample_format, data):
    with pytest.raises(ImageError, match="no agreed white"):
        read(tiff(2, 1, bits=bits, photometric=1, data=data, sample_format=sample_format))


def test_cmyk_without_a_profile_is_mixed_as_light():
    inks = np.full((16, 16, 4), (255, 0, 255, 0), dtype=np.uint8)  # cyan and yellow: green
    for kind in ("JPEG", "TIFF"):
        found = read(encoded(Image.fromarray(inks, "CMYK"), kind))
        assert np.abs(found.astype(int) - GREEN).max() <= 2


@pytest.mark.skipif(not features.check("littlecms2"), reason="Pillow was built without LittleCMS")
def test_cmyk_goes_through_its_embedded_profile():
    inks = np.full((16, 16, 4), (255, 0, 255, 0), dtype=np.uint8)
    # L* = 128 / 2.55 = 50.2, a* = b* = 0 is 18.6 % of white's light, which sRGB writes as 119.4.
    profile = cmyk_profile((128, 128, 128))
    for kind in ("JPEG", "TIFF"):
        found = read(encoded(Image.fromarray(inks, "CMYK"), kind, icc_profile=profile))
        assert np.abs(found.astype(int) - 119).max() <= 1


def test_a_broken_cmyk_profile_is_passed_over():
    inks = np.full((16, 16, 4), (255, 0, 255, 0), dtype=np.uint8)
    found = read(encoded(Image.fromarray(inks, "CMYK"), "JPEG", icc_profile=b"no profile at all"))
    assert np.abs(found.astype(int) - GREEN).max() <= 2


def test_an_rgb_profile_is_ignored():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    np.testing.assert_array_equal(read(encoded(Image.fromarray(UPRIGHT), "PNG", icc_profile=profile)), UPRIGHT)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_the_first_frame_is_read(kind, options):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    found = read(encoded(first, kind, save_all=True, append_images=[second], **options))
    np.testing.assert_array_equal(found, np.full((8, 8, 3), RED))


def test_the_first_picture_of_a_camera_pair_is_read():
    first, second = Image.new("RGB", (16, 16), WHITE), Image.new("RGB", (16, 16), BLACK)
    np.testing.assert_array_equal(read(encoded(first, "MPO", save_all=True, append_images=[second])), 255)


LOSSY = [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG2000", {}), ("WEBP", {})]
LOSSLESS = [("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {})]


@pytest.mark.parametrize(("kind", "options"), LOSSY + LOSSLESS)
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path, kind, options):
    whole = encoded(Image.fromarray(photo()), kind, **options)
    assert read(whole).shape == photo().shape
    path = tmp_path / "cut.jpg"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's own, of a TIFF directory that ends early
        for length in range(0, len(whole) - 24, max(1, len(whole) // 60)):  # what follows the last pixel may be missing
            path.write_bytes(whole[:length])
            with pytest.raises(ImageError, match=r"cut\.jpg: "):
                read(path)


@pytest.mark.parametrize(("kind", "options"), LOSSY + LOSSLESS)
def test_a_damaged_file_is_read_or_refused_but_never_anything_else(kind, options):
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(photo(16, 16)), kind, **options)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for start in [*range(0, 48, 2), *rng.integers(0, len(whole), 40).tolist()]:
            try:
                read(whole[:start] + rng.bytes(3) + whole[start + 3 :], max_pixels=1_000_000)
            except ImageError:
                refused += 1
    assert refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"Not a picture, in spite of its name.", "not an image in a format that mpiqe reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format that mpiqe reads"),
        (b"Pf\n1 1\n-1.0\n\0\0\0\0", "no agreed white"),
        (png(0, 5, depth=8, colour=2), "0 x 5|cannot be decoded"),
    ],
    ids=["empty", "text", "postscript", "float map", "no width"],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_list_of_photos_without_its_mark_is_told_of_it(tmp_path):
    (tmp_path / "photos.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(ImageError, match="put @ before its name"):
        read(tmp_path / "photos.txt")


def test_what_is_no_file_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"missing\.jpg: No such file"):
        read(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="a folder and no image"):
        read(tmp_path)


def test_a_folder_that_cannot_be_listed_says_why(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(ImageError, match="Permission denied"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        read(tmp_path / "a.jpg")


def test_a_huge_header_is_refused_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60_000, 60_000, depth=8, colour=2))
    with pytest.raises(ImageError, match=r"bomb\.png: 60000 x 60000 pixels are over the limit of 200000000"):
        read(path)
    gif = b"GIF89a" + struct.pack("<2H", 60_000, 60_000) + b"\0\0\0,\0\0\0\0" + struct.pack("<2H", 9, 9) + b"\0\2\0;"
    with pytest.raises(ImageError, match="over the limit"):
        read(gif)


def test_the_pixel_limit_can_be_set_either_way():
    file = encoded(Image.fromarray(photo()), "PNG")
    for source in (file, photo(), Image.fromarray(photo())):
        assert read(source, max_pixels=48 * 64).shape == (48, 64, 3)
        with pytest.raises(ImageError, match="64 x 48 pixels are over the limit of 3071"):
            read(source, max_pixels=48 * 64 - 1)


def test_pillows_own_pixel_limit_neither_refuses_nor_warns_but_for_webp(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read(encoded(Image.fromarray(photo()), "PNG")).shape == (48, 64, 3)
    webp = encoded(Image.fromarray(photo()), "WEBP")
    if PILLOW < 13:
        assert read(webp).shape == (48, 64, 3)
    else:
        with pytest.raises(ImageError, match="Pillow's own limit"):  # its WebP reader alone asks
            read(webp)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((4, 4), dtype=np.uint8), r"\(H, W, 3\) or .*, this is \(4, 4\) uint8"),
        (np.zeros((4, 4, 3), dtype=np.int16), "int16"),
        (np.full((4, 4, 3), 255.0), r"in \[0, 1\], this is 255 to 255"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "4 x 0 pixels"),
        (torch.zeros(4, 4, 3), r"\(3, H, W\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int8), r"a tensor must be .*torch\.int8"),
        (torch.zeros(3, 0, 4), "4 x 0 pixels"),
        (torch.full((3, 4, 4), -2.0), r"in \[0, 1\], this is -2 to -2"),
        (torch.full((3, 4, 4), torch.nan), "nan"),
        (Image.new("F", (4, 4)), "no agreed white"),
        (7, "not a path"),
    ],
)
def test_a_source_of_the_wrong_kind_is_refused(source, reason):
    with pytest.raises(ImageError, match=reason):
        read(source)
