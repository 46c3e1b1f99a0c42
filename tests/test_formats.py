"""HEIC, JPEG XL and RAW: real files, upright, within the bounds, and what is said without their packages."""

import contextlib
import io
import struct
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data
from tests import made_formats as made
from tests.scoring.conftest import brightness, make_scorer

from mpiqe import formats
from mpiqe.decoding import begins_image
from mpiqe.errors import ImageError
from mpiqe.images import read

__all__ = ["brightness", "make_scorer"]
PHOTO = Image.fromarray(data.coffee())
PLACES = {3: 2, 6: -1, 8: 1}  # quarter turns to the left by EXIF orientation


def near(pixels, expected, most=4):
    return pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected.astype(int)).mean() < most


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_a_heic_is_turned_once(orientation):
    small = PHOTO.resize((96, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(jpeg)))
    assert near(read(made.heic(small, orientation=orientation)), upright, most=10)


@pytest.mark.parametrize("kind", ["heic", "jxl"])
@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "I;16"])
def test_all_kinds_of_pixels_become_rgb(kind, mode):
    grey = np.asarray(PHOTO.resize((96, 64)).convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    assert near(read(getattr(made, kind)(image)), np.stack([grey] * 3, axis=2), most=6)


def test_a_jpeg_xl_keeps_to_the_orientation_of_its_codestream_and_not_of_its_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(made.jxl(PHOTO.resize((96, 64)), exif=exif.tobytes())).shape == (64, 96, 3)  # ISO 18181-2


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_packed_as_jpeg_xl_is_that_jpeg(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    PHOTO.save(content, "JPEG", exif=exif)
    assert np.array_equal(read(made.jxl_of_jpeg(content.getvalue())), read(content.getvalue()))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_raw_file_stands_for_its_preview_upright(orientation):
    expected = np.rot90(data.coffee(), PLACES.get(orientation, 0))
    assert near(read(made.dng(PHOTO, orientation=orientation)), expected)
    for tag, value in ((0x0112, orientation), (0x0110, "Maker One")):  # its own orientation, or none in its EXIF
        exif = Image.Exif()
        exif[tag] = value
        assert near(read(made.dng(PHOTO, orientation=orientation, jpeg_exif=exif)), expected)


def test_an_icon_is_no_preview():
    with pytest.raises(ImageError, match="a preview of only 160 x 107 pixels, an icon; develop it"):
        read(made.dng(PHOTO, icon=PHOTO.resize((160, 107))))


def test_a_raw_file_that_libraw_does_not_know_is_not_read_as_its_thumbnail(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (160, 120)).save(content, "TIFF", tiffinfo={254: 1, 271: "Maker"})
    for source in (content.getvalue(), tmp_path / "a.nef"):
        (tmp_path / "a.nef").write_bytes(content.getvalue())
        with pytest.raises(ImageError, match="a RAW file"):
            read(source)
    plain = io.BytesIO()
    Image.new("RGB", (160, 120)).save(plain, "TIFF", tiffinfo={271: "Maker"})  # a developed one
    assert read(plain.getvalue()).shape == (120, 160, 3)
    (tmp_path / "b.nef").write_bytes(plain.getvalue())
    with pytest.raises(ImageError, match="a RAW file"):
        read(tmp_path / "b.nef")


def files():
    small = PHOTO.resize((96, 64))
    exif = PHOTO.resize((600, 400))
    return {"HEIC": made.heic(small), "JPEG XL": made.jxl(small), "RAW": made.dng(exif)}


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("HEIC", "pillow_heif", "heic"), ("JPEG XL", "pillow_jxl", "jxl"), ("RAW", "rawpy", "raw")],
)
def test_without_its_package_a_file_says_what_to_install(monkeypatch, kind, module, extra):
    content = files()[kind]
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"{kind}.*{module}.*pip install 'mpiqe\[{extra}\]'"):
        read(content)


def test_avif_without_pillows_reader_says_so(monkeypatch):
    content = io.BytesIO()
    PHOTO.resize((96, 64)).save(content, "AVIF")
    assert read(content.getvalue()).shape == (64, 96, 3)
    monkeypatch.delitem(Image.OPEN, "AVIF")
    with pytest.raises(ImageError, match=r"AVIF mpiqe needs Pillow 11\.3"):
        read(content.getvalue())


@pytest.mark.parametrize("kind", ["HEIC", "JPEG XL", "RAW"])
def test_the_size_is_checked_before_the_pixels_are_decoded(kind, monkeypatch):
    content = files()[kind]
    told = []

    def admit(width, height):
        told.append((width, height))
        raise ImageError(None, "not now")

    from mpiqe.decoding import open_photo

    with pytest.raises(ImageError, match="not now"):
        open_photo(content, 10**6, admit)
    assert told == [(600, 400) if kind == "RAW" else (96, 64)]
    monkeypatch.setattr(Image.Image, "frombytes", None)  # nothing is decoded
    with pytest.raises(ImageError, match=r"over the limit of 6143; raise max_pixels"):
        read(content, max_pixels=96 * 64 - 1)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (300, 200), (1200, 1000), (1, 3000), (515, 512)])
@pytest.mark.parametrize("container", [False, True])
def test_a_jpeg_xl_states_its_size_in_its_first_bits(size, container):
    exif = Image.Exif()
    exif[0x010E] = "x" * 3000  # a box before the codestream, perhaps
    options = {"exif": exif.tobytes()} if container else {}
    content = made.jxl(Image.new("RGB", size), use_container=container, effort=1, **options)
    assert formats.jxl_size(io.BytesIO(content)) == size


def test_a_jpeg_xl_whose_codestream_comes_in_small_parts_states_its_size():
    codestream = made.jxl(Image.new("RGB", (1200, 1001)), effort=1)
    assert codestream.startswith(b"\xff\x0a")
    boxes = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I", 20) + b"ftypjxl \0\0\0\0jxl "
    for number in range(10):
        part = codestream[number : number + 1] if number < 9 else codestream[9:]
        boxes += (
            struct.pack(">I", 12 + len(part)) + b"jxlp" + struct.pack(">I", number | 0x80000000 * (number == 9)) + part
        )
    assert formats.jxl_size(io.BytesIO(boxes)) == (1200, 1001)
    assert read(boxes).shape == (1001, 1200, 3)


def test_a_photo_of_each_kind_is_known_by_its_first_bytes():
    for content in files().values():
        assert begins_image(content[:512])
    brands = {
        b"heic": "HEIF", b"hevc": "HEIF", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "RAW", b"mp42": None,
    }  # fmt: skip
    for brand, kind in brands.items():
        assert formats.kind_of(b"\0\0\0\x10ftyp" + brand + b"\0\0\0\0") == kind
        if kind:
            assert formats.kind_of(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0mif1") == kind
    assert formats.kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic") == "HEIF"
    assert formats.kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert formats.kind_of(b"II*\0\x10\0\0\0CR\2\0") == "RAW"


@pytest.mark.parametrize("kind", ["HEIC", "JPEG XL", "RAW"])
def test_a_damaged_file_is_read_or_refused_but_never_anything_else(kind):
    content = files()[kind]
    random = np.random.default_rng(0)
    for cut in (3, 30, 200, len(content) // 2, len(content) - 10):
        with pytest.raises(ImageError):
            read(content[:cut] if kind != "RAW" or cut < 4000 else content[:300])
    for _ in range(40):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(content), 4000), 4):
            damaged[place] = random.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert read(bytes(damaged), max_pixels=10**6).dtype == np.uint8


def test_photos_of_a_folder_and_of_an_archive_are_read_in_processes_apart(make_scorer, tmp_path):
    names = {"HEIC": "a.HEIC", "JPEG XL": "b.jxl", "RAW": "c.dng"}
    for kind, content in files().items():
        (tmp_path / names[kind]).write_bytes(content)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name in names.values():
            archive.add(tmp_path / name, name)
    apart, here = make_scorer(workers=1), make_scorer(isolate=False)
    rows = list(apart.rows(tmp_path))
    assert [row.error for row in rows] == [None] * len(rows)
    assert {row.path for row in rows} >= {str(tmp_path / name) for name in names.values()}
    members = list(apart.rows(tmp_path / "all.tar"))
    assert [row.score for row in members] == [here(tmp_path / name) for name in names.values()]
