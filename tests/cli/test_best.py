"""``mpiqe best``: groups, the best of each, and whether that can be told."""

import csv
import json
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import Brightness

from mpiqe.cli.main import main
from mpiqe.intervals import IntervalModel
from mpiqe.scoring import loading
from mpiqe.scoring.scorer import Scorer

LEVELS = {"a/1.png": 50, "a/2.png": 120, "a/3.png": 110, "b/1.png": 20, "b/2.png": 220, "c/1.png": 9}


class Sure(Brightness):
    interval_model = IntervalModel(level=0.9, quantile=10.0, crops=1)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, level in LEVELS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (level,) * 3).save(path)
    return Path("photos")


@pytest.fixture
def best(monkeypatch, capsys):
    def load(weights, *, predictor, **options):
        del options["runtime"], options["device"], options["precision"]
        return Scorer(predictor=predictor, isolate=False, **options)

    def run(*arguments, predictor=None):
        monkeypatch.setattr(loading, "load", partial(load, predictor=predictor or Sure()))
        monkeypatch.setattr(sys, "argv", ["mpiqe", "best", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


def test_each_group_shows_its_best_and_whether_it_can_be_told(best, photos):
    status, out, err = best(photos, "--group-by", "folder")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "group 1: cannot tell (margin 0.71)",  # 10 levels, and intervals of 10 to both sides: 10 / sqrt(200)
        "  *  120.0  photos/a/2.png",
        "     110.0  photos/a/3.png",
        "      50.0  photos/a/1.png",
        "group 2: best of 2 (margin 14.14)",
        "  *  220.0  photos/b/2.png",
        "      20.0  photos/b/1.png",
        "2 groups of 5 photos, 1 with a clear best; 1 alone, not shown",
    ]


def test_json_has_the_best_shot_and_how_far_the_others_are_behind(best, photos):
    _, out, _ = best(photos, "--group-by", "folder", "--json", "--singles")
    first, second, third = json.loads(out)
    assert (first["best_shot"], first["can_tell"]) == ("photos/a/2.png", False)
    assert (second["best_shot"], second["can_tell"]) == ("photos/b/2.png", True)
    assert (third["best_shot"], third["margin"]) == ("photos/c/1.png", None)
    assert [photo["behind"] for photo in first["photos"]] == pytest.approx([0, 10 / 200**0.5, 70 / 200**0.5])
    assert first["photos"][0] == {
        "path": "photos/a/2.png",
        "score": 120.0,
        "quality": pytest.approx(120 / 255),
        "interval_low": 110.0,
        "interval_high": 130.0,
        "behind": 0.0,
    }


def test_decisions_reject_what_is_clearly_behind_and_leave_the_rest_open(best, photos):
    assert best(photos, "--group-by", "folder", "--decisions", "d.csv")[0] == 0
    with open("d.csv", newline="") as file:
        rows = [(row["path"], row["decision"]) for row in csv.DictReader(file)]
    assert rows == [
        ("photos/a/2.png", "pick"),
        ("photos/a/3.png", ""),
        ("photos/a/1.png", "reject"),
        ("photos/b/2.png", "pick"),
        ("photos/b/1.png", "reject"),
    ]
    assert best(photos, "--group-by", "folder", "--clear-from", "0.5", "--decisions", "e.csv")[0] == 0
    assert Path("e.csv").read_text().splitlines()[1:3] == ["photos/a/2.png,pick,", "photos/a/3.png,reject,"]
    status, _, err = best(photos, "--group-by", "folder", "--decisions", "d.csv")
    assert status == 2
    assert "d.csv is there already" in err


def test_a_model_without_intervals_cannot_tell(best, photos):
    _, out, _ = best(photos, "--group-by", "folder", predictor=Brightness())
    assert out.splitlines()[0] == "group 1: cannot tell"


class Calibrated(Sure):
    """Two shots whose scores are 8 levels apart are in the right order nine times of ten."""

    scale = replace(Sure.scale, shot_difference=8.0)


def test_margins_are_in_units_of_the_difference_of_two_shots_where_bursts_calibrated_it(best, photos):
    _, out, _ = best(photos, "--group-by", "folder", predictor=Calibrated())
    assert [line for line in out.splitlines() if line.startswith("group")] == [
        "group 1: best of 3 (margin 1.25)",  # 120 and 110 levels
        "group 2: best of 2 (margin 25.00)",
    ]
    _, out, _ = best(photos, "--group-by", "folder", "--json", predictor=Calibrated())
    first = json.loads(out)[0]
    assert first["margin_by"] == "difference"
    assert [photo["behind"] for photo in first["photos"]] == pytest.approx([0, 10 / 8, 70 / 8])


def test_margins_are_in_units_of_the_shots_own_intervals_on_request(best, photos):
    _, out, _ = best(photos, "--group-by", "folder", "--margin-by", "intervals", predictor=Calibrated())
    assert out.splitlines()[0] == "group 1: cannot tell (margin 0.71)"


def test_a_model_that_no_bursts_calibrated_says_so(best, photos):
    status, out, err = best(photos, "--group-by", "folder", "--margin-by", "difference")
    assert (status, out) == (2, "")
    assert "no bursts have calibrated" in err


def test_of_a_scale_where_less_is_better_the_lowest_is_the_best(best, photos):
    class Darkness(Sure):
        scale = replace(Sure.scale, higher_is_better=False)

    _, out, _ = best(photos / "b", "--group-by", "folder", "--json", predictor=Darkness())
    (group,) = json.loads(out)
    assert group["best_shot"] == "photos/b/1.png"


def test_photos_that_cannot_be_read_are_named_and_left_out(best, photos):
    (photos / "b/0.png").touch()
    status, out, err = best(photos, "--group-by", "folder")
    assert status == 1
    assert "mpiqe: left out: photos/b/0.png: empty file" in err
    assert "best of 2" in out


def test_an_archive_in_a_folder_is_passed_over_and_one_that_is_named_is_an_error(best, photos):
    with zipfile.ZipFile(photos / "a/more.zip", "w") as archive:
        archive.write(photos / "a/1.png", "1.png")
    status, out, err = best(photos, "--group-by", "folder")
    assert (status, err) == (0, "mpiqe: passed over: 1 archives (unpack them first)\n")
    assert "2 groups of 5 photos" in out
    status, _, err = best(photos, photos / "a/more.zip")
    assert status == 2
    assert "more.zip::1.png is not a file of its own" in err


def test_a_folder_for_decisions_that_is_not_there_is_told_before_anything_is_scored(best, photos, monkeypatch):
    monkeypatch.setattr(Scorer, "rows", lambda *_: pytest.fail("photos were scored"))
    status, out, err = best(photos, "--group-by", "folder", "--decisions", "none/d.csv")
    assert (status, out) == (2, "")
    assert "there is no folder none; make it first" in err


def test_no_photos_and_missing_ones_are_errors(best, photos):
    (photos / "none").mkdir()
    assert best(photos / "none")[0] == 2
    assert "there is no image" in best(photos / "none")[2]
    assert best("nosuch")[0] == 2
    assert "nosuch: there is no such file or folder" in best("nosuch")[2]


def test_photos_without_a_time_are_alone_and_other_ways_to_group_are_named(best, photos):
    status, out, err = best(photos)
    assert status == 0
    assert out == "0 groups of 0 photos, 0 with a clear best; 6 alone, not shown\n"
    assert "--group-by similarity or folder" in err
