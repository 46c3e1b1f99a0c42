import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.experiments.made_runs import FULL, VISUAL_ONLY, write_run

from mpiqe.data import Dataset, read_csv
from mpiqe.errors import ConfigError, DatasetError, MPIQEError, WeightsError
from mpiqe.experiments.figures import figure3 as module
from mpiqe.experiments.figures.figure3 import Column, draw, figure3, worst
from mpiqe.experiments.figures.gradcam import PhotoMap, photo_map
from mpiqe.model.checkpoint import load_checkpoint

pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")


@pytest.fixture(scope="module")
def dataset(rated_photos: Path) -> Dataset:
    return read_csv(rated_photos)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset, tiny_folder: Path) -> tuple[Path, Path]:
    """The full and the visual-only run, tested on every second photo; what they predict starts at 10 and at 30."""
    folder, tested = tmp_path_factory.mktemp("runs"), dataset.records[::2]
    return (
        write_run(folder / "full", tested, tiny_folder, FULL, predicted=10.0),
        write_run(folder / "visual-only", tested, tiny_folder, VISUAL_ONLY, predicted=30.0),
    )


@pytest.mark.slow
def test_the_picture_shows_the_worst_rated_test_photos_with_the_runs_own_scores(
    runs: tuple[Path, Path], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Column] = []

    def keep(columns: list[Column]) -> Any:
        drawn.extend(columns)
        return draw(columns)

    monkeypatch.setattr(module, "draw", keep)
    picture = figure3(*runs, dataset, tmp_path / "new" / "folder", photos=3)
    assert picture.path == tmp_path / "new" / "folder" / "figure3.png"
    with Image.open(picture.path) as image:
        assert image.format == "PNG"
        assert image.width == 1600
        assert 1000 < image.height < 2000

    tested = dataset.records[::2]
    expected = sorted(tested, key=lambda record: record.mos)[:3]
    assert [column.record for column in drawn] == expected
    for column in drawn:
        place = tested.index(column.record)
        assert column.scores == (30.0 + place, 10.0 + place)
        for folder, found in zip(reversed(runs), column.maps, strict=True):
            model, _ = load_checkpoint(folder)
            np.testing.assert_allclose(found.values, photo_map(model, column.record.image).values, atol=1e-5)
    assert "The 3 worst-rated test photos of photos (split: the project's own 1)" in picture.caption
    assert "minus the score" in picture.caption


def test_every_number_stands_under_its_picture(dataset: Dataset) -> None:
    flat = PhotoMap(np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.float32))
    columns = [
        Column(replace(record, mos=mos), (flat, flat), scores)
        for record, mos, scores in zip(dataset.records, (3.0, 4.0), ((20.0, 21.0), (22.0, 23.0)), strict=False)
    ]
    figure = draw(columns).figure
    places = {text.get_text(): text.get_position() for text in figure.texts}
    for row in (
        ("true MOS 3.0", "true MOS 4.0"),
        ("predicted 20.0", "predicted 22.0"),
        ("predicted 21.0", "predicted 23.0"),
    ):
        (left, height), (right, same) = places[row[0]], places[row[1]]
        assert height == same
        assert left < 0.5 < right
    heights = [places[text][1] for text in ("true MOS 3.0", "predicted 20.0", "predicted 21.0")]
    assert heights == sorted(heights, reverse=True)  # visual-only above MP-IQE, as the labels beside them say
    assert places["photo"][1] > places["visual-only"][1] > places["MP-IQE"][1]


def test_photos_of_any_shape_fit_into_the_sheet(dataset: Dataset) -> None:
    shapes = [(20, 200), (200, 20), (60, 80)]
    for count in (1, 3):
        columns = []
        for height, width in shapes[:count]:
            flat = PhotoMap(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32))
            columns.append(Column(dataset.records[0], (flat, flat), (0.0, 0.0)))
        figure = draw(columns).figure
        for axes in figure.axes:
            box = axes.get_position()
            assert box.x0 >= 0
            assert box.x1 <= 1
            assert box.y0 >= 0
            assert box.y1 <= 1


def test_of_equally_bad_photos_the_first_by_name_comes_first(dataset: Dataset) -> None:
    same = [replace(record, mos=5.0) for record in dataset.records]
    assert [record.name for record in worst(same, 3)] == sorted(record.name for record in same)[:3]
    assert len(worst(same, 99)) == len(same)


def _swapped(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    return visual, full, dataset


def _another_dataset(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    return full, visual, replace(dataset, records=dataset.records[1:])


def _other_ratings(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    records = tuple(replace(record, mos=record.mos / 20) for record in dataset.records)
    return full, visual, replace(dataset, records=records)


def _another_split(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    _, config = load_checkpoint(full)
    return write_run(folder / "other", dataset.records[1::2], Path(config.backbone), FULL), visual, dataset


def _no_predictions(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    _, config = load_checkpoint(full)
    made = write_run(folder / "half", dataset.records[::2], Path(config.backbone), FULL)
    (made / "predictions.csv").unlink()
    return made, visual, dataset


def _nothing_tested(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    _, config = load_checkpoint(full)
    return write_run(folder / "whole", (), Path(config.backbone), FULL), visual, dataset


def _no_weights(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    return folder, visual, dataset


def _clip_iqa(full: Path, visual: Path, dataset: Dataset, folder: Path) -> tuple[Path, Path, Dataset]:
    _, config = load_checkpoint(full)
    options = {"windows": 3, "method": "clip-iqa", "scene_prompts": False, "distortion_prompts": False}
    return write_run(folder / "iqa", dataset.records[::2], Path(config.backbone), options), visual, dataset


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (_swapped, ConfigError, r"full has prompts on the text side.*visual-only has no prompts"),
        (_another_dataset, DatasetError, r"1 of 8 photos, .* are not in photos or are rated otherwise"),
        (_other_ratings, DatasetError, "8 of 8 photos"),
        (_another_split, ConfigError, r"tested on different photos \(16 on one side only"),
        (_no_predictions, DatasetError, "no predictions"),
        (_nothing_tested, DatasetError, "none to test on"),
        (_no_weights, WeightsError, r"no mpiqe\.safetensors"),
        (_clip_iqa, ConfigError, "run of clip-iqa, which has no decoder"),
    ],
)
def test_folders_that_do_not_make_the_figure_are_refused(
    make: Callable[..., tuple[Path, Path, Dataset]],
    kind: type[MPIQEError],
    words: str,
    runs: tuple[Path, Path],
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=words):
        figure3(*make(*runs, dataset, tmp_path), tmp_path)
    assert not (tmp_path / "figure3.png").exists()


def test_no_photos_are_no_figure(runs: tuple[Path, Path], dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one photo, not 0"):
        figure3(*runs, dataset, tmp_path, photos=0)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_loaded(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*figure3\.png"):
        figure3(tmp_path, tmp_path, dataset, tmp_path / "file")


def test_without_matplotlib_one_sentence_says_what_to_install(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"to draw figure3 mpiqe needs matplotlib.*pip install 'mpiqe\[plots\]'"):
        figure3(tmp_path, tmp_path, dataset, tmp_path)


@pytest.mark.slow  # five seconds of imports; tests/test_imports.py reads the files of the whole package
def test_importing_the_figures_imports_neither_matplotlib_nor_scikit_learn() -> None:
    code = (
        "import sys, mpiqe.experiments.figures.figure3, mpiqe.experiments.figures.figure4; "
        "print(sorted({'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
