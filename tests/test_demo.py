import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpiqe import demo
from mpiqe.cli.main import app
from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring import loading
from mpiqe.scoring.scorer import Scorer

pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")


class Brightness:
    crop_size = 32
    crops_at_once = 128
    scenes = ("night scene", "others")
    distortions = ("under-exposure", "spatially-localized")
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def predict(self, crops):
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=halves, distortion=halves)


@pytest.fixture(scope="module")
def series() -> list[demo.Series]:
    return demo.score_photos(Scorer(predictor=Brightness(), crops=2, workers=1))


def test_each_version_has_the_score_of_its_own_pixels(series: list[demo.Series]) -> None:
    scorer = Scorer(predictor=Brightness(), crops=2, workers=1)
    assert [one.name for one in series] == ["astronaut", "chelsea", "coffee", "rocket"]
    for one in series:
        assert one.score == scorer(one.photo)
        assert list(one.versions) == ["blur", "noise", "JPEG", "darkness"]
        for versions in one.versions.values():
            assert len(versions) == 5
            assert versions[3][1] == scorer(versions[3][0])
        dark = [one.score.score, *(score.score for _, score in one.versions["darkness"])]
        assert dark == sorted(dark, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo.png", "demo.jpg"])
def test_the_picture_is_small_enough_to_put_into_a_page(series: list[demo.Series], name: str, tmp_path: Path) -> None:
    demo.save(demo.draw(series, Brightness.scale), tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert picture.size[0] == 1600
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 200
    assert (tmp_path / name).stat().st_size < 700_000


def test_a_model_without_classes_can_be_shown(series: list[demo.Series], tmp_path: Path) -> None:
    class Bare(Brightness):
        scenes = distortions = ()

        def predict(self, crops):
            none = np.zeros((len(crops), 0), np.float32)
            return super().predict(crops)._replace(scene=none, distortion=none)

    shown = demo.score_photos(Scorer(predictor=Bare(), crops=1, workers=1), ["coffee"])
    demo.save(demo.draw(shown, Bare.scale), tmp_path / "bare.jpg")
    assert demo.table(shown, Bare.scale).splitlines()[1].endswith("0")


@pytest.mark.slow
def test_the_command_draws_and_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading, "load", lambda weights: Scorer(predictor=Brightness(), crops=1, workers=1))
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo.jpg")])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[-1] == str(tmp_path / "demo.jpg")
    assert len(lines) == 1 + 4 * 4 + 1
    assert "under-exposure, night scene" in done.stdout
    assert (tmp_path / "demo.jpg").is_file()


@pytest.mark.parametrize(("name", "words"), [("demo.gif", "must end in .png"), ("no/demo.png", "there is no folder")])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_scored(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "load", lambda weights: pytest.fail("loaded"))
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / name)])
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'mpiqe\[plots\]'"):
        demo.check_libraries()
