import csv
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.synthetic import ORIGINAL, VERSIONS, Row, choose, collect, make, summarise, table, trend, whole_photos
from PIL import Image

from benchmarks import synthetic
from mpiqe.data.synthetic import ALL_KINDS, FURTHER_KINDS, KINDS, LEVELS, class_of
from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring.scorer import Scorer


class Brightness:
    """Brightness is quality, and whatever is dark is under-exposed."""

    crop_size = 32
    crops_at_once = 128
    scenes = ()
    distortions = ("under-exposure", "over-exposure")
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def __init__(self) -> None:
        self.seen = 0

    def predict(self, crops):
        self.seen += len(crops)
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=np.zeros((len(crops), 0), np.float32), distortion=halves)


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(rng.integers(20, 120, (40, 48, 3), dtype=np.uint8)).save(tmp_path / name)
    return {name: tmp_path / name for name in ("a.png", "b.png", "c.png")}


def _rows(scores: dict[str, list[float]], predicted: str = "blur", original: float = 90.0) -> list[Row]:
    """Two photos' rows: every kind scores 5, 4, 3, 2, 1 in the first and as in ``scores`` in the second."""
    falling = [5.0, 4.0, 3.0, 2.0, 1.0]
    rows = [Row(photo, ORIGINAL, 0, original, predicted) for photo in ("first", "second")]
    for kind in ALL_KINDS:
        for photo, values in (("first", falling), ("second", scores.get(kind, falling))):
            rows += [Row(photo, kind, level, value, predicted) for level, value in enumerate(values, start=1)]
    return rows


def test_a_score_that_falls_with_the_level_has_correlation_minus_one() -> None:
    assert trend([9.0, 7.5, 3.0, 2.0, -4.0]) == pytest.approx(-1)
    assert trend([1.0, 2.0, 3.0, 4.0, 50.0]) == pytest.approx(1)


def test_tied_levels_share_their_rank_and_constant_scores_count_as_nothing() -> None:
    # ranks 4.5 4.5 3 2 1 against 1 2 3 4 5: covariance -9.5 of sqrt(9.5 * 10), by hand
    assert trend([5.0, 5.0, 3.0, 2.0, 1.0]) == pytest.approx(-9.5 / 95**0.5)
    assert trend([3.0] * 5) == 0.0


def test_the_summary_is_the_mean_over_photos_with_their_deviation() -> None:
    kind = next(iter(KINDS))
    summary = summarise(_rows({kind: [1.0, 2.0, 3.0, 4.0, 5.0]}))
    first, second = summary["kinds"][:2]
    assert first["kind"] == kind
    assert (first["spearman"], first["spearman_deviation"]) == (pytest.approx(0), pytest.approx(1))
    assert (second["spearman"], second["spearman_deviation"]) == (pytest.approx(-1), pytest.approx(0))
    assert summary["spearman"] == pytest.approx((2 - 2 * len(KINDS)) / (2 * len(KINDS)))  # one of all is +1
    assert first["scores"] == [90.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def test_the_right_class_is_counted_by_level_and_the_most_frequent_wrong_answer_is_named() -> None:
    noisy = next(kind for kind in KINDS if class_of(kind) == "noise")
    rows = [
        row._replace(predicted={1: "contrast", 2: "contrast"}.get(row.level, "noise")) if row.kind == noisy else row
        for row in _rows({})
    ]
    summary = summarise(rows)
    entry = next(entry for entry in summary["kinds"] if entry["kind"] == noisy)
    assert entry["right_by_level"] == [0, 0, 1, 1, 1]
    assert entry["right"] == pytest.approx(0.6)
    assert (entry["most_frequent_wrong"], entry["most_frequent_wrong_share"]) == ("contrast", 0.4)
    blurs = [entry for entry in summary["kinds"] if entry["class"] == "blur"]
    assert all(entry["right"] == 1 and entry["most_frequent_wrong"] == "" for entry in blurs)
    assert summary["originals"] == {"blur": 1.0}
    clear = sum(class_of(kind) == "blur" for kind in KINDS) + 1  # and noise, from level 3 on
    assert summary["right_when_clear"] == pytest.approx(clear / len(KINDS))


def test_further_kinds_stand_below_the_overall_line_and_do_not_count_in_it() -> None:
    rising = {"WebP": [1.0, 2.0, 3.0, 4.0, 5.0]}
    summary = summarise(_rows(rising))
    assert summary["spearman"] == pytest.approx(-1)
    webp = next(entry for entry in summary["further"] if entry["kind"] == "WebP")
    assert webp["spearman"] == pytest.approx(0)
    assert (webp["class"], webp["right"]) == (None, None)
    assert [row[0] for row in table(summary)[-len(FURTHER_KINDS) - 1 :]] == ["all", *FURTHER_KINDS]


def test_a_model_without_distortions_has_correlations_but_no_shares() -> None:
    summary = summarise(_rows({}, predicted=""))
    assert summary["spearman"] == pytest.approx(-1)
    assert summary["right"] is None
    assert all(entry["right_by_level"] == [None] * LEVELS for entry in summary["kinds"])
    assert len({len(line) for line in table(summary)}) == 1


def test_a_csv_gives_its_best_rated_photos_and_a_folder_its_first(tmp_path: Path, photos: dict[str, Path]) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text("image,mos,score,spread\na.png,9.5,1,0\nb.png,80,2,0\nc.png,10,3,0\n")
    assert list(choose(file, 2)) == ["b.png", "c.png"]  # by number: as text 9.5 would come first
    assert choose(file, 1, root=Path("/elsewhere")) == {"b.png": Path("/elsewhere/b.png")}
    assert choose(tmp_path, 2) == {name: photos[name] for name in ("a.png", "b.png")}
    file.write_text("picture,mos\na.png,1\n")
    with pytest.raises(ConfigError, match="columns image,mos"):
        choose(file, 1)


def test_what_is_random_stays_from_level_to_level_and_changes_from_photo_to_photo() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    signs = {
        name: {int(np.sign(make(grey, name, synthetic.Version("mean shift", n), seed=0).mean() - 128)) for n in (1, 5)}
        for name in map(str, range(12))
    }
    assert all(len(found) == 1 for found in signs.values())
    assert len(set.union(*signs.values())) == 2


def test_a_killed_run_continues_with_the_photos_that_are_not_whole(tmp_path: Path, photos: dict[str, Path]) -> None:
    def run(out: Path) -> tuple[list[Row], int]:
        scorer = Scorer(predictor=Brightness(), crops=1, workers=1)
        rows = [row for found in collect(scorer, photos, out, {"seed": 0}, seed=0) for row in found]
        return rows, scorer.predictor.seen  # type: ignore[attr-defined]

    straight, seen = run(tmp_path / "straight")
    assert seen == len(straight) == 3 * len(VERSIONS) == 3 * (1 + LEVELS * len(ALL_KINDS))
    text = (tmp_path / "straight" / "rows.csv").read_text()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "settings.json").write_text(json.dumps({"seed": 0}))
    lines = text.splitlines(keepends=True)
    (torn / "rows.csv").write_text("".join(lines[: 1 + len(VERSIONS) + 7]) + lines[200][:9])  # in the second photo
    assert {row.photo for row in whole_photos(torn / "rows.csv")} == {"a.png"}
    again, seen = run(torn)
    assert again == straight
    assert seen == 2 * len(VERSIONS)
    assert (torn / "rows.csv").read_text() == text
    assert run(torn) == (straight, 0)


def test_the_last_line_without_its_end_is_not_believed(tmp_path: Path) -> None:
    rows = [Row("a.png", *version, 1.5, "JPEG2000 compression") for version in VERSIONS]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Row._fields, *rows])
    text = (tmp_path / "rows.csv").read_text()
    assert whole_photos(tmp_path / "rows.csv") == rows
    (tmp_path / "rows.csv").write_text(text[: -len("2000 compression\n")])
    assert whole_photos(tmp_path / "rows.csv") == []


def test_a_run_with_other_settings_is_refused(tmp_path: Path, photos: dict[str, Path]) -> None:
    scorer = Scorer(predictor=Brightness(), crops=1, workers=1)
    next(collect(scorer, photos, tmp_path / "out", {"seed": 0}, seed=0))
    with pytest.raises(ConfigError, match="seed was 0 and is 1 now"):
        next(collect(scorer, photos, tmp_path / "out", {"seed": 1}, seed=1))


def test_the_command_writes_tables_that_its_rows_give_again(
    tmp_path: Path, photos: dict[str, Path], rated_photos: Path, tiny_folder: Path
) -> None:
    from mpiqe.training.options import resolve
    from mpiqe.training.reporter import Silent
    from mpiqe.training.run_folder import RunFolder
    from mpiqe.training.train import train

    small = {"windows": 3, "decoder_layers": 1, "crops": 1, "epochs": 1, "workers": 0, "device": "cpu"}
    given = {**small, "data": f"csv:{rated_photos}", "backbone": str(tiny_folder), "precision": "fp32"}
    train(resolve(given), RunFolder(tmp_path / "run"), reporter=Silent())
    folder = next(iter(photos.values())).parent
    (folder / "list.csv").write_text("image,mos\nb.png,2\n")
    out = tmp_path / "out"
    synthetic.main(["--photos", str(folder / "list.csv"), "--weights", str(tmp_path / "run"), "--out", str(out)])
    summary = json.loads((out / "summary.json").read_text())
    settings = summary.pop("settings")
    assert settings["photos"] == ["b.png"]
    assert len(settings["weights_digest"]) == 64
    assert [len(part) for part in settings["backbone_digest"].split(":")] == [1, 64, 64]
    assert summarise(whole_photos(out / "rows.csv")) == summary
    with (out / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["kind"] for line in lines] == [*KINDS, "all", *FURTHER_KINDS]
    assert (out / "table.md").read_text().count("\n| ") == len(ALL_KINDS) + 1
