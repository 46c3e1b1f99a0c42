"""A photo that is refused keeps no memory: neither through its error nor until a garbage collection comes round."""

import gc
import io
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from mpiqe import images
from mpiqe.errors import ImageError
from mpiqe.scoring.explanation import explain

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


def saved(form, image=PHOTO, **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def damaged(content):
    """With zeros from its middle on."""
    return content[: len(content) // 2] + bytes(len(content) // 4)


REFUSED = {
    "cut.jpg": saved("JPEG")[:20_000],
    "cut.png": saved("PNG")[:100_000],
    "cut.tif": saved("TIFF")[:100_000],
    "cut.bmp": saved("BMP")[:100_000],
    "cut.webp": saved("WEBP")[:9_000],
    "broken lzw.tif": damaged(saved("TIFF", compression="tiff_lzw", strip_size=1 << 14)),
    "broken deflate.tif": damaged(saved("TIFF", compression="tiff_adobe_deflate")),
    "broken jpeg.tif": damaged(saved("TIFF", compression="jpeg")),
    "broken.png": damaged(saved("PNG")),
    "float.tif": saved("TIFF", Image.new("F", (400, 300), 0.5)),
    "strip.png": saved("PNG", Image.new("RGB", (40_000, 1))),
}
MAX_PIXELS = 10_000_000


@pytest.fixture(scope="module", autouse=True)
def _what_was_there_before():
    """Is neither collected nor counted here, which would take a second a test."""
    gc.collect()
    gc.freeze()


@contextmanager
def no_collection():
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about damaged files
            yield
    finally:
        gc.enable()


def images_in_memory():
    return sum(isinstance(each, Image.Image) for each in gc.get_objects())


class Sent:
    name = "sent.jpg"

    def __init__(self, content):
        self.content = content

    def fetch(self):
        return self.content


USES = {
    "one": lambda scorer, content: scorer(content),
    "several": lambda scorer, content: scorer([PHOTO, content, PHOTO]),
    "explain": lambda scorer, content: explain(scorer, content, score=scorer(PHOTO)),
    "read": lambda _, content: images.read(content, max_pixels=MAX_PIXELS),
    "read_canvas": lambda _, content: images.read_canvas(content, size=300, max_pixels=MAX_PIXELS),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("use", USES)
def test_the_pixels_of_a_refused_photo_go_with_its_error(make_scorer, brightness, name, use):
    if use == "read" and name == "strip.png":
        pytest.skip("a strip can be read; it is refused when it is to be enlarged")
    brightness.window_temperature, brightness.attention_maps = (
        1.0,
        lambda crops: None,
    )  # of no use: no photo gets that far
    scorer = make_scorer(workers=1, batch_size=2, max_pixels=MAX_PIXELS)
    with no_collection():
        before = images_in_memory()
        for _ in range(2):
            with pytest.raises(ImageError):
                USES[use](scorer, REFUSED[name])
        assert images_in_memory() == before


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_that_is_kept_holds_no_pixels_and_still_says_where_it_came_from(make_scorer, name):
    scorer = make_scorer(workers=1, batch_size=2, max_pixels=MAX_PIXELS)
    with no_collection():
        before = images_in_memory()
        kept = []
        for source in (REFUSED[name], [REFUSED[name]]):
            try:
                scorer(source)
            except ImageError as error:
                kept.append(error)
        assert images_in_memory() == before
    assert len(kept) == 2
    assert all(error.__traceback__ for error in kept)


@pytest.mark.parametrize("name", REFUSED)
def test_rows_of_refused_photos_keep_no_pixels_while_others_are_scored(make_scorer, name):
    scorer = make_scorer(workers=1, batch_size=8, isolate=False, max_pixels=MAX_PIXELS)
    with no_collection():
        before, most = images_in_memory(), 0
        for row in scorer.rows(Sent(REFUSED[name]) for _ in range(20)):
            assert row.error
            most = max(most, images_in_memory() - before)
        assert most <= 4  # the one that is being read, and what it is converted to
        assert images_in_memory() == before
