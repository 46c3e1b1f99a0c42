from pathlib import Path

import pytest
from benchmarks.words import Named, measure, top
from tests.training.test_train import _settings, _train

from benchmarks import words
from mpiqe.data.record import Record


def _record(*scenes: str, distortion: str | None = None) -> Record:
    return Record(name="a.png", image=Path("a.png"), mos=1.0, scenes=scenes, distortion=distortion)


def test_any_of_an_images_scenes_is_right_and_images_without_a_label_do_not_count() -> None:
    records = [_record("animal", "plant"), _record("human"), _record(), _record("plant")]
    trained = [_record("human"), _record("human"), _record("plant")]
    found = measure(["plant", "plant", "plant", "plant"], records, trained, "scene")
    assert found == Named(model=pytest.approx(2 / 3), constant=pytest.approx(1 / 3), images=3)


def test_a_set_without_labels_has_no_share() -> None:
    assert measure(["blur"], [_record("human")], [_record("human")], "distortion") is None
    noisy = _record(distortion="noise")
    assert measure(["noise"], [noisy], [noisy], "distortion") == Named(1.0, 1.0, 1)


def test_the_most_probable_name_is_taken() -> None:
    assert top({"a": 0.2, "b": 0.5, "c": 0.3}) == "b"


def test_a_run_is_asked_about_its_own_test_images(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(tmp_path / "run", _settings(rated_photos, tiny_folder, epochs=1))
    words.main(["--runs", str(tmp_path / "run"), "--data", f"csv:{rated_photos}"])
    assert "mean of 1, scene:" in capsys.readouterr().out
