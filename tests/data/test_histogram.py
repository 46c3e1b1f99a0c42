import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from mpiqe.data import Dataset, Record
from mpiqe.data.describe import describe
from mpiqe.data.histogram import COLOURS, NONE, bins, check, draw, save
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES

pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")

# Machado, Oliveira and Fernandes (2009), severity 1.0: what eyes without one kind of cone see, in linear RGB.
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.fixture
def dataset():
    """Every distortion and every scene, and some images without either."""
    labels = [*itertools.product(SCENES, DISTORTIONS), (None, None)]
    records = [
        Record(Path(f"{n}.png"), f"{n}.png", n % 37 / 9, (scene,) if scene else (), distortion)
        for n, (scene, distortion) in enumerate(labels)
    ]
    return Dataset("mine", tuple(records))


@pytest.mark.parametrize(("low", "high", "width"), [(3.42, 92.43, 2.5), (1, 4.93, 0.1), (0, 1.1, 0.05), (-3, 112, 5)])
def test_bins_have_round_widths_and_there_are_at_most_forty(low, high, width):
    found, numbers = bins(np.linspace(low, high, 1000).tolist())
    assert found == pytest.approx(width)
    assert np.ptp(numbers) <= 40


def test_a_rating_on_an_edge_is_in_the_bin_that_begins_there():
    width, numbers = bins([value / 10 for value in range(10, 51)] * 20)  # 2.6 / 0.1 is 25.999999999999996
    assert width == pytest.approx(0.1)
    assert numbers[:41].tolist() == list(range(10, 51))


def test_few_ratings_have_few_bins_and_equal_ones_have_one():
    assert len(set(bins([1.0, 2.0, 3.0, 4.0])[1].tolist())) == 4
    assert bins([-3.0, -3.0])[1].tolist() == [-3, -3]


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_colours_can_be_told_apart_by_any_eyes(eyes):
    srgb = np.array([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in (*COLOURS.values(), NONE)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ np.array(EYES[eyes]).T
    linear = linear.clip(0, 1)
    seen = rgb2lab(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))
    apart = [deltaE_ciede2000(seen[a], seen[b]) for a, b in itertools.combinations(range(len(seen)), 2)]
    assert min(apart) > 13


def test_every_distortion_has_its_colour():
    assert set(COLOURS) == set(DISTORTIONS)


def _texts(figure):
    canvas = figure.canvas
    canvas.draw()
    shown = [*figure.texts, *(text for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label))]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown if text.get_text()]
    return boxes, figure.bbox


@pytest.fixture
def agg():
    """A figure on a canvas that can measure text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def on_canvas(figure):
        FigureCanvasAgg(figure)
        return figure

    return on_canvas


@pytest.mark.parametrize("labelled", ["both", "distortions", "scenes", "neither"])
def test_no_text_lies_on_another_or_leaves_the_sheet(dataset, labelled, agg):
    records = dataset.records
    if labelled in ("scenes", "neither"):
        records = [replace(record, distortion=None) for record in records]
    if labelled in ("distortions", "neither"):
        records = [replace(record, scenes=()) for record in records]
    shown = replace(dataset, records=tuple(records))
    boxes, sheet = _texts(agg(draw(shown, describe(shown, None))))
    names = {name for name, _ in boxes}
    assert ({"distortions", "spatially-localized"} <= names) == (labelled in ("both", "distortions"))
    assert ({"scenes", "night scene"} <= names) == (labelled in ("both", "scenes"))
    for name, box in boxes:
        assert sheet.x0 <= box.x0, name
        assert box.x1 <= sheet.x1, name
        assert sheet.y0 <= box.y0, name
        assert box.y1 <= sheet.y1, name
    for (name, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not box.overlaps(beside), f"{name!r} lies on {other!r}"


@pytest.mark.parametrize("mos", [[*[1.0] * 99, 400.0], [*[-1.0] * 99, -400.0], [2.0, 2.0]])
def test_the_names_of_mean_and_median_keep_clear_of_each_other_where_ratings_are_skewed(mos, agg):
    shown = Dataset("skewed", tuple(Record(Path(f"{n}"), f"{n}", value) for n, value in enumerate(mos)))
    boxes, sheet = _texts(agg(draw(shown, describe(shown, None))))
    (mean,), (median,) = ([box for name, box in boxes if name.startswith(word)] for word in ("mean ", "median "))
    assert not mean.overlaps(median)
    assert sheet.x0 < min(mean.x0, median.x0)
    assert max(mean.x1, median.x1) < sheet.x1


def test_bars_of_the_histogram_add_up_to_the_images(dataset):
    bars = draw(dataset, describe(dataset, None)).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == len(dataset.records) == 9 * 11 + 1


def test_a_name_with_dollars_is_no_formula(dataset, tmp_path):
    odd = replace(dataset, name="a $\\broken{ $ name " * 9)
    save(draw(odd, describe(odd, None)), tmp_path / "odd.png")


def test_the_picture_is_a_png_of_many_colours(dataset, tmp_path):
    save(draw(dataset, describe(dataset, None)), tmp_path / "mine.png")
    with Image.open(tmp_path / "mine.png") as picture:
        assert (picture.format, picture.size[0]) == ("PNG", 1600)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {tuple(bytes.fromhex(code[1:])) for code in (*COLOURS.values(), NONE)} <= colours
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


@pytest.mark.parametrize(("name", "words"), [("a.jpg", "must end in .png"), ("no/a.png", "there is no folder")])
def test_a_name_that_the_picture_cannot_have_is_refused(name, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        check(tmp_path / name)


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'mpiqe\[plots\]'"):
        check(Path("mine.png"))
