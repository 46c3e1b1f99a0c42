"""The interval of a run: calibrated on its validation images, stored with its weights, given with its scores."""

import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mpiqe
from mpiqe.data import choose_split, read_csv
from mpiqe.model.checkpoint import read_config
from mpiqe.training.assess import Evaluated, Part, assess
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train

COUNT = 120  # 84 to train on, 12 to validate on, 24 to test on


def _rated(folder: Path, name: str, seed: int, *, low: float, high: float) -> Path:
    """Grey images of noise, the brighter the better."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mos"])
        for number in range(COUNT):
            share = rng.random()
            pixels = (255 * share + rng.normal(0, 20, (36, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}-{number}.png")
            rows.writerow([f"{name}-{number}.png", low + (high - low) * share])
    return folder / f"{name}.csv"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("rated")
    return _rated(folder, "first", 0, low=0, high=100), _rated(folder, "second", 1, low=1, high=5)


def _settings(tables: tuple[Path, Path], tiny_folder: Path, **changes: object) -> dict[str, object]:
    first, second = tables
    return {
        "windows": 3, "decoder_layers": 1, "crops": 2, "batch_size": 28, "epochs": 1, "warmup_epochs": 0,
        "learning_rate": 1e-2, "workers": 0, "device": "cpu", "precision": "fp32",
        "data": f"csv:{first}", "extra_data": [f"csv:{second}"], "backbone": str(tiny_folder), **changes,
    }  # fmt: skip


def _train(folder: Path, settings: dict[str, object]) -> dict[str, float | None]:
    return train(resolve(settings), RunFolder(folder), reporter=Silent())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tables: tuple[Path, Path], tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "two-sets"
    _train(folder, _settings(tables, tiny_folder))
    return folder


def _assess(run: Path, table: Path, part: Part = "test", crops: int | None = None) -> dict[str, float | None]:
    on = Evaluated(data=f"csv:{table}", splits="auto", part=part)
    return assess(str(run), on=on, crops=crops, backbone=None, device="cpu", precision="fp32", reporter=Silent())[0]


def test_a_run_is_calibrated_on_the_validation_images_of_all_its_sets(run: Path, tables: tuple[Path, Path]) -> None:
    interval = read_config(run / "mpiqe.safetensors").interval
    assert interval is not None
    assert interval.photos == {"first": 12, "second": 12}
    assert interval.crops == 2
    dataset = read_csv(tables[0])
    ratings = [dataset.records[index].mos for index in choose_split(dataset, 1).train]
    assert (interval.mos_mean, interval.mos_deviation) == pytest.approx(
        (statistics.fmean(ratings), statistics.pstdev(ratings))
    )


def test_the_test_figures_have_coverage_and_width(run: Path, tables: tuple[Path, Path]) -> None:
    figures = json.loads((run / "test.json").read_text())
    with (run / "predictions.csv").open(newline="") as file:
        rows = [{key: float(row[key]) for key in ("mos", "score", "spread")} for row in csv.DictReader(file)]
    interval = read_config(run / "mpiqe.safetensors").interval
    assert interval is not None
    ends = [interval.around(row["score"], row["spread"]) for row in rows]
    inside = [low <= row["mos"] <= high for row, (low, high) in zip(rows, ends, strict=True)]
    assert figures["interval_coverage"] == pytest.approx(statistics.fmean(inside))
    assert figures["interval_width"] == pytest.approx(statistics.fmean(high - low for low, high in ends))
    assert _assess(run, tables[0]) == pytest.approx(figures)


def test_the_coverage_of_another_set_is_measured_on_the_models_scale(run: Path, tables: tuple[Path, Path]) -> None:
    """Both sets are alike but for their scales: on the second's own, 1 to 5, next to nothing would be covered."""
    parts: tuple[Part, ...] = ("test", "all")
    for part in parts:
        coverage = _assess(run, tables[1], part)["interval_coverage"]
        assert coverage is not None
        assert coverage > 0.6


def test_another_set_of_the_same_name_is_another_set(run: Path, tables: tuple[Path, Path], tmp_path: Path) -> None:
    header, *rows = tables[1].read_text().splitlines()
    namesake = tmp_path / tables[0].name
    namesake.write_text("\n".join([header, *(f"{tables[1].parent}/{row}" for row in rows)]))
    coverage = _assess(run, namesake, "all")["interval_coverage"]
    assert coverage == _assess(run, tables[1], "all")["interval_coverage"]


def test_fewer_crops_than_in_calibration_have_no_coverage(run: Path, tables: tuple[Path, Path]) -> None:
    assert "interval_coverage" not in _assess(run, tables[0], crops=1)


def test_scores_of_a_run_have_intervals_and_its_scale_names_its_weights(run: Path, tables: tuple[Path, Path]) -> None:
    scorer = mpiqe.load(run, device="cpu", isolate=False, workers=1)
    score = scorer(tables[0].with_name("first-0.png"))
    interval = read_config(run / "mpiqe.safetensors").interval
    assert interval is not None
    assert score.interval == interval.around(score.score, score.spread)
    name, _, digest = scorer.scale.model.partition(" ")
    assert name == "checkpoint"
    assert len(digest) == 8
    assert str(scorer.scale).endswith(f"({scorer.scale.model})")


def test_a_run_without_validation_images_has_no_interval(
    tmp_path: Path, tables: tuple[Path, Path], tiny_folder: Path
) -> None:
    figures = _train(tmp_path / "run", _settings(tables, tiny_folder, validation=False))
    assert read_config(tmp_path / "run" / "mpiqe.safetensors").interval is None
    assert "interval_coverage" not in figures
    assert mpiqe.load(tmp_path / "run", device="cpu")(tables[0].with_name("first-0.png")).interval is None
