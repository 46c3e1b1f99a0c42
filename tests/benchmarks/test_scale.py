import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.scale import FULL_SIZE, VERSIONS, damaged, mosaics, ratios, shown, summarise, to_long_side
from PIL import Image

from benchmarks import scale
from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring.scorer import Scorer


class Brightness:
    """Brightness is quality."""

    crop_size = 32
    crops_at_once = 128
    scenes = ()
    distortions = ()
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def predict(self, crops):
        nothing = np.zeros((len(crops), 0), np.float32)
        return Prediction(crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32), nothing, nothing)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty photos, the darker the later, of two shapes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        grain = np.random.default_rng(number).integers(0, 20, (60, 60 + 20 * (number % 2), 3))
        Image.fromarray((200 - 8 * number + grain).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "LARGE", (160, 120))
    monkeypatch.setattr(scale, "SIZES", (80, 64))
    monkeypatch.setattr(scale, "SCREEN", 80)
    monkeypatch.setattr(scale, "THUMBNAILS", (20,))


def test_mosaics_are_made_of_neighbours_and_differ(photos: Path) -> None:
    found = [photo for _, photo in mosaics(sorted(photos.iterdir()), 3, size=(160, 120), across=4)]
    assert [photo.shape for photo in found] == [(120, 160, 3)] * 3
    assert found[0][:40, :40].mean() == pytest.approx(209.5, abs=1)
    assert found[0].mean() > found[1].mean() + 20 > found[2].mean() + 40
    assert found[2][80:, 120:].mean() == pytest.approx(200 - 8 * 19 + 9.5, abs=1)


@pytest.mark.parametrize(("kind", "level"), VERSIONS[1:])
def test_damage_is_as_visible_at_512_pixels_as_it_is_large(kind: str, level: int, photos: Path) -> None:
    with Image.open(photos / "00.png") as tile:
        photo = np.asarray(tile.resize((1024, 768), Image.Resampling.NEAREST))
    version = damaged(photo, kind, level)
    assert version.shape == photo.shape
    assert version.dtype == np.uint8
    change = np.abs(to_long_side(version, 512).astype(float) - to_long_side(photo, 512)).mean()
    assert change > (0 if kind == FULL_SIZE else 1)
    assert damaged(photo, kind, 0) is photo


def test_the_figures_are_those_of_the_scores() -> None:
    def photo(name: str, low: float) -> dict[str, object]:
        versions = {f"{name}, original 0": [60.0 + low, 61.0 + low], f"{name}, blur 4": [20.0 + low, 17.0 + low]}
        return {"versions": versions, "thumbnails": {256: 50.0, 128: 30.0}, "decodes": [[60.0, 60.5], [20.0, 20.0]]}

    summary = summarise([photo("a", 0), photo("b", 5)], span=50, sizes=(512,))
    assert summary["versions"] == 4
    assert summary["sizes"][512] == pytest.approx(
        {"mean": 4.0, "largest": 6.0, "mean of undamaged": 2.0, "spearman": 1.0}
    )
    assert summary["thumbnails"][128] == {"mean fall": 65.0, "least fall": 60.0}
    assert summary["decodes"] == {"mean": 0.5, "largest": 1.0, "files": 4}
    assert "512 px: mean 4.00 (undamaged 2.00), largest 6.00, Spearman 1.000; under 4 % and over 0.95: NO" in shown(
        summary
    )


def test_ratios_are_taken_turn_by_turn() -> None:
    assert ratios({"a": [1.0, 4.0], "b": [2.0, 2.0]}, "a", "b") == [0.5, 2.0]


def test_a_whole_run_prints_its_figures_and_writes_them(
    photos: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: object, **asked: object) -> Scorer:
        return Scorer(predictor=Brightness(), crops=2, workers=1, isolate=False, **asked)  # type: ignore[arg-type]

    monkeypatch.setattr(scale.mpiqe, "load", load)
    arguments = ["scale.py", "--photos", photos, "--count", 2, "--files", 1, "--repeats", 2]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    with pytest.raises(SystemExit, match="give it a view with --view-side N"):
        scale.main()
    more = ["--view-side", 40, "--crop-mode", "grid", "--json", tmp_path / "scale.json"]
    monkeypatch.setattr("sys.argv", list(map(str, arguments + more)))
    scale.main()
    printed, written = capsys.readouterr().out, json.loads((tmp_path / "scale.json").read_text())
    assert f"{2 * len(VERSIONS)} versions of large photos" in printed
    assert "photos/s" in printed
    assert written["view"] == {"kind": "scaled", "side": 40}
    assert len(written["scores"]) == 2 * len(VERSIONS) == written["versions"]
    assert [len(shares) for shares in (*written["share_of_time"].values(), written["gain"])] == [2, 2, 2]
    assert written["sizes"]["64"]["mean"] < 4
