import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.experiments.made_runs import CROPS, FULL, VISUAL_ONLY, write_run

from mpiqe.data import Dataset, read_csv
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.experiments.figures import figure4 as module
from mpiqe.experiments.figures.figure4 import (
    Agreement,
    Group,
    draw,
    extract,
    figure4,
    head_input,
    neighbourhood,
    plane,
)
from mpiqe.experiments.trained_run import read_trained_run
from mpiqe.images import crop_positions, read_crops
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE

pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")
pytest.importorskip("sklearn", reason="needs mpiqe[plots]")


@pytest.fixture(scope="module")
def dataset(rated_photos: Path) -> Dataset:
    return read_csv(rated_photos)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset, tiny_folder: Path) -> Path:
    tested = dataset.records[::-1][:13]  # in an order of their own
    return write_run(tmp_path_factory.mktemp("runs") / "full", tested, tiny_folder, FULL)


def _group(planes, mos, agreement: Agreement, near: int, *, edges: np.ndarray | None = None) -> Group:
    return Group("test photos", planes, np.array(mos), agreement, near, 5.0, edges)


def _angles(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], axis=1)


def test_the_neighbourhood_is_what_it_is_by_hand() -> None:
    features, mos = _angles(0, 10, 90, 100), np.array([1.0, 2.0, 10.0, 20.0])
    # nearest are 1, 0, 3, 2, with 2, 1, 20, 10: ranks 2 1 4 3 against 1 2 3 4, so 1 - 6 * 4 / (4 * 15)
    assert neighbourhood(features, mos, count=1) == pytest.approx(0.6)
    lengths = np.array([[1.0], [50.0], [0.1], [3.0]])
    assert neighbourhood(lengths * features, mos, count=1) == pytest.approx(0.6)
    # the two nearest: (10, 90), (0, 90), (100, 10), (90, 10) degrees, with means 6, 5.5, 11, 6
    assert neighbourhood(features, mos, count=2) == pytest.approx(np.corrcoef([2.5, 1, 4, 2.5], [1, 2, 3, 4])[0, 1])


def test_features_in_the_order_of_quality_are_told_from_features_that_know_nothing_of_it() -> None:
    generator = np.random.default_rng(0)
    mos = generator.uniform(0, 100, 200)
    assert neighbourhood(_angles(*mos), mos, count=10) > 0.99
    assert abs(neighbourhood(generator.normal(size=(200, 8)), mos, count=10)) < 0.2


def test_what_the_head_reads_is_what_it_answers_from(tiny_model: MPIQE, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        folded = tiny_model.fold()
        read, cls = head_input(tiny_model, pixels, folded)
        prediction = tiny_model(pixels, folded).prediction
        assert torch.equal(tiny_model.decoder.head(read).squeeze(-1), prediction)
        assert torch.equal(cls, tiny_model.encode_image(pixels).cls)
    assert not tiny_model.decoder.head._forward_pre_hooks


def test_features_are_means_over_the_scorers_crops_in_the_order_of_the_predictions(
    full: Path, dataset: Dataset, tiny_folder: Path
) -> None:
    run = read_trained_run(full, dataset, backbone=None, device="cpu")
    features = extract(run, FrozenCLIP.from_pretrained(tiny_folder), run.tested)
    assert {each.shape for each in features} == {(13, 32)}
    for each in features:
        np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1)

    def positions(width: int, height: int):
        return crop_positions(width, height, size=32, count=CROPS, mode="seeded", seed=0)

    clip = FrozenCLIP.from_pretrained(tiny_folder)
    for place in (0, 12):
        crops, _ = read_crops(run.tested[place].image, size=32, positions=positions)
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)
        with torch.no_grad():
            before = clip.project(clip.encode_image(clip.preprocess(pixels))[0])
            after, tower = head_input(run.model, pixels, run.model.fold())
        for parts, found in zip((before, after, tower), features, strict=True):
            mean = parts.double().mean(dim=0)
            np.testing.assert_allclose(found[place], mean / mean.norm(), atol=1e-5)
    assert np.abs(features.before - features.tower).max() > 1e-3  # the one without prompts, the other with them


def test_a_whole_tuned_backbone_is_compared_with_the_one_it_was(
    dataset: Dataset, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "tuned", dataset.records, tiny_folder, {**FULL, "tune": "all"})
    run = read_trained_run(folder, dataset, backbone=None, device="cpu")
    with torch.no_grad():
        for parameter in run.model.clip.parameters():
            parameter.mul_(1.5)
    features = extract(run, FrozenCLIP.from_pretrained(run.model.clip.name), run.tested)
    plain = write_run(tmp_path / "plain", dataset.records, tiny_folder, FULL)
    same = extract(read_trained_run(plain, dataset, backbone=None), FrozenCLIP.from_pretrained(tiny_folder), run.tested)
    np.testing.assert_allclose(features.before, same.before, atol=1e-6)
    assert np.abs(features.tower - same.tower).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("options", [FULL, VISUAL_ONLY])
def test_the_same_run_makes_the_same_picture(
    options: dict[str, object], dataset: Dataset, tiny_folder: Path, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", dataset.records, tiny_folder, options)
    first, second = (figure4(run, dataset, tmp_path / name, backbone=tiny_folder) for name in ("a", "b"))
    assert first.path == tmp_path / "a" / "figure4.png"
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.caption == second.caption
    with Image.open(first.path) as image:
        assert image.format == "PNG"
        assert image.width == 1600
        assert 700 < image.height < 1000
    assert "perplexity 5, PCA start, seed 0) of the 16 test photos" in first.caption  # a third of 16
    assert "of its 4 nearest neighbours" in first.caption  # a quarter of 16


def test_the_caption_and_the_titles_carry_the_figures(dataset: Dataset, full: Path, tmp_path: Path) -> None:
    run = read_trained_run(full, dataset, backbone=None)
    mos = np.array([record.mos for record in run.tested])
    features = extract(run, FrozenCLIP.from_pretrained(run.model.clip.name), run.tested)
    told = Agreement(*(neighbourhood(each, mos, count=3) for each in features))
    caption = figure4(full, dataset, tmp_path).caption
    assert f"{told.before:.3f} before, {told.after:.3f} after, and {told.tower:.3f} for" in caption
    planes = [np.zeros((13, 2)), np.ones((13, 2))]
    texts = [text.get_text() for text in draw([_group(planes, mos, told, 3)]).figure.texts]
    assert f"a photo's MOS and that of its 3 nearest neighbours: SRCC {told.before:.3f}" in texts
    assert f"a photo's MOS and that of its 3 nearest neighbours: SRCC {told.after:.3f}" in texts


def test_no_text_runs_out_of_its_panel() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw([_group([np.eye(2)] * 2, [1.0, 2.0], Agreement(-0.123, -0.456, 0.0), 10)] * 2).figure
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    panels = [axes.get_window_extent() for axes in figure.axes]
    assert len(panels) == 6  # two rows of two planes and a bar
    for panel, texts in zip([*panels[:2], *panels[3:5]], (boxes[:3], boxes[3:6], boxes[6:9], boxes[9:]), strict=True):
        assert all(panel.x0 - 1 <= box.x0 and box.x1 <= panel.x1 for box in texts)


def test_training_photos_stand_below_in_intervals_of_mos_as_in_the_paper(
    dataset: Dataset, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Group] = []
    monkeypatch.setattr(module, "draw", lambda groups: shown.extend(groups) or draw(groups))
    run = write_run(tmp_path / "run", dataset.records[:8], tiny_folder, FULL)  # of 16
    caption = figure4(run, dataset, tmp_path, backbone=tiny_folder).caption
    test, training = shown
    assert (len(test.mos), len(training.mos), test.edges) == (8, 8, None)
    assert sorted([*test.mos, *training.mos]) == sorted(record.mos for record in dataset.records)
    np.testing.assert_allclose(training.edges, np.linspace(dataset.low, dataset.high, 6))
    assert "in intervals of MOS as in the paper" in caption
    assert "among 8 training photos" in caption


def test_the_plane_keeps_apart_what_is_apart() -> None:
    generator = np.random.default_rng(0)
    groups = np.concatenate([generator.normal(place, 0.05, (15, 6)) for place in (-1, 1)])
    placed = plane(groups, perplexity=8)
    assert placed.shape == (30, 2)
    middles = placed[:15].mean(axis=0), placed[15:].mean(axis=0)
    assert np.linalg.norm(middles[0] - middles[1]) > 2 * placed[:15].std()


def test_too_few_photos_are_refused(dataset: Dataset, tiny_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", dataset.records[:7], tiny_folder, FULL)
    with pytest.raises(ConfigError, match=r"at least 8 test photos, and .*run has 7"):
        figure4(run, dataset, tmp_path)


def test_a_folder_without_a_run_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no mpiqe\.safetensors"):
        figure4(tmp_path, dataset, tmp_path)


@pytest.mark.parametrize("library", ["matplotlib", "sklearn"])
def test_without_its_libraries_one_sentence_says_what_to_install(
    library: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"to draw figure4 mpiqe needs {library}.*pip install 'mpiqe\[plots\]'"):
        figure4(tmp_path, dataset, tmp_path)
