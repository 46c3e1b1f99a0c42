"""What crops are cut from: sizes, JSON, and the pixels of a photo that is brought down."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mpiqe import decoding
from mpiqe.errors import ConfigError, ImageError
from mpiqe.images import Pixels, crop_positions, read, read_canvas, read_crops, sliding_positions
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.view import LARGEST_SIDE, NATIVE, View

SIZE = 32
SMALL = View("scaled", 64)


def scene(width: int, height: int) -> Pixels:
    """Waves, long and short, and an edge: what a filter can spoil."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    wave = 60 * np.sin(x / 40) + 50 * np.cos(y / 23) + 20 * np.sin((x + 2 * y) / 5)
    return np.clip(np.stack([wave, wave[::-1], np.where(x > width / 3, 90, -90)], axis=-1) + 128, 0, 255).astype(
        np.uint8
    )


def encoded(pixels: Pixels, form: str = "JPEG", *, turn: int = 1, **options: object) -> bytes:
    image, file, exif = Image.fromarray(pixels), io.BytesIO(), Image.Exif()
    exif[0x0112] = turn
    image.save(file, form, exif=exif, **options)
    return file.getvalue()


def whole(source: object, view: View = SMALL, **options: object) -> tuple[Image.Image, tuple[int, int]]:
    """All that a view shows, put together from the crops that cover it, and the photo's own size."""
    shown: list[tuple[int, int]] = []

    def everywhere(width: int, height: int) -> np.ndarray:
        shown.append((width, height))
        return sliding_positions(width, height, size=SIZE, most=1000)

    crops, size = read_crops(source, size=SIZE, positions=everywhere, view=view, **options)  # type: ignore[arg-type]
    (width, height), image = shown[0], Image.new("RGB", shown[0])
    for crop, (left, top) in zip(crops, everywhere(width, height).tolist(), strict=True):
        image.paste(Image.fromarray(crop), (left, top))
    return image, size


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean over pixels, in grey levels."""
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 600), st.integers(1, 300))
def test_a_photo_is_brought_down_and_never_up_and_keeps_its_shape(
    width: int, height: int, side: int, crop: int
) -> None:
    scaled = View("scaled", side).size(width, height, crop=crop)
    assert View("scaled", side).size(height, width, crop=crop) == scaled[::-1]
    assert scaled[0] <= width
    assert scaled[1] <= height
    if width * height <= side * side:
        assert scaled == (width, height)
    elif min(scaled) > crop:
        assert scaled[0] * scaled[1] <= side * side < (scaled[0] + 1) * (scaled[1] + 1)
    assert min(scaled) >= min(crop, width, height)
    factor = (scaled[0] / width, scaled[1] / height)
    assert abs(factor[0] - factor[1]) <= max(1 / width, 1 / height)
    assert NATIVE.size(width, height, crop=crop) == (width, height)


def test_sizes_of_usual_photos() -> None:
    view = View("scaled", 384)
    assert view.size(4000, 3000, crop=192) == (443, 332)
    assert view.size(500, 500, crop=192) == (384, 384)
    assert view.size(384, 384, crop=192) == (384, 384)
    assert view.size(400, 300, crop=192) == (400, 300)
    assert view.size(8000, 1000, crop=192) == (1536, 192)  # a strip: its short side is a crop's


@pytest.mark.parametrize("view", [NATIVE, SMALL, View("square", 64)])
def test_a_view_comes_back_from_json(view: View) -> None:
    assert View.from_json(view.to_json()) == view
    assert View.of_side(view.side or 0, square=view.kind == "square") == view


@pytest.mark.parametrize(("width", "height"), [(643, 481), (40, 20), (64, 64), (20, 900)])
def test_a_square_view_shows_the_whole_photo_whatever_its_shape_and_size(width: int, height: int) -> None:
    pixels = scene(width, height)
    image, size = whole(pixels, View("square", 64))
    assert (size, image.size) == ((width, height), (64, 64))
    expected = Image.fromarray(pixels).resize((64, 64), Image.Resampling.LANCZOS)
    assert difference(image, expected) < 1.0  # a large photo is first averaged over blocks
    _, canvas = read_canvas(pixels, size=SIZE, view=View("square", 64))
    assert np.array_equal(np.asarray(canvas), np.asarray(image))


def test_a_small_photo_that_a_square_enlarges_is_admitted_and_bounded() -> None:
    assert admitted(scene(40, 20), View("square", 300)) == [(300, 300)]
    with pytest.raises(ImageError, match="the view of 300 x 300 pixels is over the limit of 10000"):
        whole(scene(40, 20), View("square", 300), max_pixels=10_000)
    with pytest.raises(ImageError, match="the view of 300 x 300 pixels is over the limit of 10000"):
        read_canvas(scene(40, 20), size=SIZE, view=View("square", 300), max_pixels=10_000)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "square", "side": None}, "side must be a whole number from 1"),
        ({"kind": "scaled", "side": None}, "side must be a whole number from 1"),
        ({"kind": "scaled", "side": 0}, "not 0"),
        ({"kind": "scaled", "side": True}, "not True"),
        ({"kind": "scaled", "side": 3.5}, "not 3.5"),
        ({"kind": "scaled", "side": LARGEST_SIDE + 1}, "not 16385"),
        ({"kind": "native", "side": 9}, "a native view has no side, this has 9"),
        ({"kind": "enlarged", "side": 9}, "kind must be one of native, scaled, square, not 'enlarged'"),
        ({"kind": "native"}, "expected"),
        ("native", "expected"),
        (None, "expected"),
    ],
)
def test_a_view_that_cannot_be_meant_is_refused(values: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        View.from_json(values)


def test_a_photo_is_brought_down_by_a_filter_that_lets_no_fine_pattern_through() -> None:
    checked = (np.indices((480, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image, size = whole(np.stack([checked] * 3, axis=-1), View("scaled", 40))
    assert size == (640, 480)
    assert image.size == (46, 34)
    inner = np.asarray(image, dtype=float)[2:-2, 2:-2]
    assert np.abs(inner - 127.5).max() < 3


def test_a_photo_that_is_small_already_is_cut_as_it_is() -> None:
    pixels = scene(60, 50)
    assert np.array_equal(np.asarray(whole(pixels)[0]), pixels)
    tiny = scene(40, 20)  # enlarged to hold a crop, as ever
    assert np.array_equal(np.asarray(whole(tiny)[0]), np.asarray(whole(tiny, NATIVE)[0]))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_format_and_turn_shows_the_same_photo(form: str, turn: int) -> None:
    pixels = scene(643, 481)  # no multiples of 8: of the last blocks a JPEG uses a part
    more = {
        "JPEG": {"quality": 95},
        "MPO": {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (8, 8))]},
    }
    source = encoded(pixels, form, turn=turn, **more.get(form, {}))
    upright = Image.fromarray(read(source))
    image, size = whole(source)
    assert size == upright.size == ((643, 481) if turn < 5 else (481, 643))
    expected = upright.resize(SMALL.size(*upright.size, crop=SIZE), Image.Resampling.LANCZOS)
    assert image.size == expected.size
    assert difference(image, expected) < 1.0  # 0.1 to 0.6 when this was written; a pixel's shift makes 4 and more
    assert difference(image, expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 20


def admitted(source: object, view: View = SMALL) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    corner = np.zeros((1, 2), dtype=np.int64)
    read_crops(source, size=SIZE, positions=lambda *_: corner, view=view, admit=lambda *size: told.append(size))  # type: ignore[arg-type]
    return told


def test_a_large_jpeg_is_decoded_at_a_fraction_and_that_is_what_is_admitted() -> None:
    source = encoded(scene(1203, 901))  # to be brought to 73 x 55, so 95 x 72 are enough
    assert admitted(source) == [(151, 113)]
    assert admitted(source, View("scaled", 150)) == [(301, 226)]
    assert admitted(source, View("scaled", 300)) == [(602, 451)]
    assert admitted(source, View("scaled", 600)) == [(1203, 901)]
    assert admitted(source, NATIVE) == [(1203, 901)]
    grey = io.BytesIO()
    Image.fromarray(scene(1203, 901)).convert("L").save(grey, "JPEG")
    assert admitted(grey.getvalue()) == [(151, 113)]


@pytest.mark.parametrize("kind", ["PNG", "CMYK", "progressive", "not interleaved"])
def test_what_takes_the_memory_of_the_whole_photo_is_admitted_as_such(kind: str) -> None:
    """libjpeg keeps all coefficients of a JPEG whose scans do not have all components each."""
    pixels, file = scene(1203, 901), io.BytesIO()
    if kind == "CMYK":
        Image.fromarray(pixels).convert("CMYK").save(file, "JPEG")
    elif kind == "PNG":
        Image.fromarray(pixels).save(file, "PNG")
    else:
        Image.fromarray(pixels).save(file, "JPEG", progressive=kind == "progressive")
    content = file.getvalue()
    if kind == "not interleaved":
        start = content.index(b"\xff\xda\x00\x0c\x03")
        one = b"\xff\xda\x00\x08\x01" + content[start + 5 : start + 7] + content[start + 11 : start + 14]
        content = content[:start] + one + content[start + 14 :]  # the first scan has the first component alone
        photo = decoding._from_file(io.BytesIO(encoded(pixels)), 10**9, None, lambda *_: (100, 100))
        assert photo.divisor == 8
        with pytest.raises(ImageError, match="so large"):
            read_crops(content, size=SIZE, positions=lambda *_: np.zeros((1, 2)), view=SMALL, admit=refuse_full)
        return
    assert admitted(content) == [(1203, 901)]


def refuse_full(width: int, height: int) -> None:
    if (width, height) == (1203, 901):
        raise ImageError(None, "so large")


def test_the_limit_of_pixels_is_about_the_size_that_the_file_states() -> None:
    source = encoded(scene(1203, 901))
    with pytest.raises(ImageError, match="1203 x 901 pixels are over the limit of 1083902"):
        whole(source, max_pixels=1203 * 901 - 1)


def test_an_image_of_the_callers_is_left_as_it_was() -> None:
    with Image.open(io.BytesIO(encoded(scene(1203, 901)))) as image:
        found, size = whole(image)
        assert (image.size, size, found.size) == ((1203, 901), (1203, 901), (73, 55))


def test_a_fraction_shows_nearly_what_the_whole_decode_does() -> None:
    pixels = scene(1203, 901)
    source = encoded(pixels, quality=92)
    assert difference(whole(source)[0], whole(read(source))[0]) < 0.5


def test_the_canvas_is_what_crops_are_cut_from_and_the_photo_is_whole() -> None:
    source = encoded(scene(1203, 901), turn=6)
    photo, canvas = read_canvas(source, size=SIZE, view=SMALL)
    assert np.array_equal(np.asarray(photo), read(source))
    assert np.array_equal(np.asarray(canvas), np.asarray(whole(source)[0]))


def test_a_reader_process_cuts_the_same_crops() -> None:
    source = encoded(scene(1203, 901), turn=8)
    cutting = Cutting(size=SIZE, count=3, mode="grid", seed=0, max_pixels=10**8, view=SMALL)
    readers = Readers(cutting=cutting, timeout=60)
    try:
        crops, size, _ = readers.read(source)
    finally:
        readers.close()
    expected, _ = read_crops(
        source,
        size=SIZE,
        positions=lambda width, height: crop_positions(width, height, size=SIZE, count=3, mode="grid"),
        view=SMALL,
    )
    assert size == (901, 1203)
    assert np.array_equal(crops, expected)
