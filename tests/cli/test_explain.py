"""The command line on a real, if tiny and untrained, MP-IQE and real photos."""

import csv
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpiqe.batch import figures, local
from mpiqe.cli.main import app
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.scoring import explanation, loading, render

OPTIONS = ModelOptions(windows=3, decoder_layers=2)


@pytest.fixture(scope="module")
def weights(tiny_folder, tmp_path_factory):
    clip = FrozenCLIP.from_pretrained(tiny_folder)
    config = CheckpointConfig(
        options=OPTIONS,
        backbone=str(tiny_folder),
        backbone_digest=clip.digest(),
        target_mean=50.0,
        target_std=20.0,
        dataset="livec",
        mos_low=3.0,
        mos_high=92.5,
        crops=3,
    )
    path = tmp_path_factory.mktemp("run") / "mpiqe.safetensors"
    save_checkpoint(path, build_model(clip, OPTIONS), config)
    return path


@pytest.fixture
def photos(rated_photos, tmp_path):
    """Two photos of one name, one of the same stem, a panorama, a tiny one, and a file that is no photo."""
    made = sorted(rated_photos.parent.glob("*.png"))
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(made[0], folder / "a.png")
    shutil.copy(made[1], folder / "deep" / "a.png")
    with Image.open(made[2]) as photo:
        photo.save(folder / "a.webp")
        photo.resize((400, 50)).save(folder / "panorama.jpg")
        photo.resize((20, 9)).save(folder / "tiny.gif")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    return folder


@pytest.fixture
def mpiqe(weights):
    def run(*arguments, stdin=""):
        done = CliRunner().invoke(app, [*map(str, arguments), "--weights", str(weights), "--device", "cpu"], stdin)
        return done.exit_code, done.stdout, done.stderr

    return run


def pictures(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


EXPECTED = ["a-2.png", "a.png", "deep/a.png", "panorama.png", "tiny.png"]


def test_every_photo_has_its_picture_and_a_broken_one_a_row(mpiqe, photos, tmp_path):
    out = tmp_path / "new" / "out"
    status, stdout, stderr = mpiqe("explain", photos, "--out", out)
    assert status == 1
    assert stderr == "mpiqe: 1 of 6 photos could not be explained; their rows say why\n"
    assert pictures(out) == EXPECTED
    for name in EXPECTED:
        with Image.open(out / name) as picture:
            picture.load()
            assert min(picture.size) > 500
    lines = stdout.splitlines()[3:]
    assert [line.split()[0] == "failed" for line in lines] == [False, False, True, False, False, False]
    assert "broken.jpg: cannot be decoded" in lines[2]
    assert lines[1].endswith(f"{photos / 'a.webp'} -> {out / 'a-2.png'}")
    assert lines[3].endswith(f"{photos / 'deep' / 'a.png'} -> {out / 'deep' / 'a.png'}")


def test_the_photo_and_its_maps_are_in_the_picture(mpiqe, photos, tmp_path):
    assert mpiqe("explain", photos / "a.png", "--out", tmp_path / "out")[0] == 0
    with Image.open(photos / "a.png") as photo, Image.open(tmp_path / "out" / "a.png") as picture:
        expected = np.asarray(photo.convert("RGB").resize((600, 480), Image.Resampling.BICUBIC), np.int64)
        found = np.asarray(picture, np.int64)
    assert np.abs(found[104:584, 36:636] - expected).max() == 0  # below the margin, the caption and the note
    panels = [found[104:584, 36 + 628 * i : 636 + 628 * i] for i in range(3)]
    assert np.abs(panels[1] - panels[0]).mean() > 10
    assert np.abs(panels[2] - panels[1]).mean() > 3


@pytest.mark.slow
def test_scores_are_those_of_score_whatever_else_is_written(mpiqe, photos, tmp_path):
    plain = mpiqe("score", photos, "--format", "csv")
    assert mpiqe("score", photos, "--format", "csv", "--explain", tmp_path / "by-score") == plain
    assert pictures(tmp_path / "by-score") == EXPECTED
    table = mpiqe("score", photos)[1]
    explained = mpiqe("explain", photos, "--out", tmp_path / "out")[1]
    assert [line.partition(" -> ")[0] for line in explained.splitlines()] == table.splitlines()
    assert pictures(tmp_path / "out") == EXPECTED
    for name in EXPECTED:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "by-score" / name).read_bytes()


def test_the_score_in_the_picture_is_the_scorers_bit_for_bit(mpiqe, weights, photos, tmp_path, monkeypatch):
    explained = []
    draw = render.draw

    def recording(explanation):
        explained.append(explanation.score)
        return draw(explanation)

    monkeypatch.setattr(figures, "draw", recording)
    mpiqe("explain", photos, "--out", tmp_path / "out")
    paths = [photos / name for name in ("a.png", "a.webp", "broken.jpg", "deep/a.png", "panorama.jpg", "tiny.gif")]
    rows = loading.load(weights, device="cpu").rows(paths)
    assert explained == [row.score for row in rows if row.score]


def test_paths_come_from_stdin_and_names_collide_without_harm(mpiqe, photos, tmp_path):
    stdin = f"{photos / 'a.png'}\n{photos / 'deep' / 'a.png'}\n"
    status, _, stderr = mpiqe("explain", "-", "--out", tmp_path / "out", stdin=stdin)
    assert (status, stderr) == (0, "")
    assert pictures(tmp_path / "out") == ["a-2.png", "a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() != (tmp_path / "out" / "a-2.png").read_bytes()


def test_a_second_run_does_not_take_the_pictures_of_the_first_for_photos(mpiqe, photos):
    first = mpiqe("explain", photos / "deep", "--out", photos / "deep" / "why")
    assert first[0] == 0
    status, out, err = mpiqe("explain", photos / "deep", "--out", photos / "deep" / "why")
    assert (status, out, err) == (0, first[1], "mpiqe: passed over: 1 figures of mpiqe\n")
    assert pictures(photos / "deep" / "why") == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "{photos}"], "--out"),
        (["explain", "--out", "{out}"], "PATH"),
        (["explain", "{photos}", "--out", "{photos}"], "lies in the folder that figures are to be written to"),
        (["score", "{photos}", "--explain", "{photos}"], "lies in the folder that figures are to be written to"),
        (["explain", "{photos}", "--out", "{photos}/a.png"], "mpiqe: cannot write figures to "),
        (["explain", "{out}/nothing", "--out", "{out}"], "lies in the folder"),
        (["explain", "-", "--out", "{out}"], "mpiqe: there is no image in -"),
        (["explain", "{photos}", "--out", "{out}", "--crops", "0"], "mpiqe: crops must be at least 1, not 0"),
    ],
)
def test_wrong_usage_ends_with_two_and_touches_nothing(mpiqe, photos, tmp_path, arguments, message):
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    status, out, err = mpiqe(*(word.format(photos=photos, out=tmp_path / "out") for word in arguments))
    assert status == 2
    assert out == ""
    assert message in err
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "out").exists()


def test_a_photo_that_vanishes_between_score_and_explanation_is_a_row(mpiqe, photos, tmp_path, monkeypatch):
    explain = explanation.explain

    def vanishing(scorer, source, **options):
        if source.endswith("tiny.gif"):
            (photos / "tiny.gif").unlink()
        return explain(scorer, source, **options)

    monkeypatch.setattr(local, "explain", vanishing)
    status, out, err = mpiqe("score", photos, "--format", "csv", "--explain", tmp_path / "out")
    rows = {row["path"].rpartition("/")[2]: row["error"] for row in csv.DictReader(io.StringIO(out))}
    assert status == 1
    assert rows["tiny.gif"] == "No such file or directory"
    assert "2 of 6 photos" in err
    assert pictures(tmp_path / "out") == EXPECTED[:-1]


def test_options_reach_the_scorer(photos, tmp_path, monkeypatch):
    options = {}

    def load(weights, **others):
        options.update(others, weights=weights)
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load", load)
    arguments = {
        "weights": "RUN", "crops": 3, "seed": 7, "batch-size": 5, "workers": 2, "runtime": "torch", "device": "cuda:1",
        "precision": "bf16", "max-pixels": 1000,
    }  # fmt: skip
    words = [str(word) for key, value in arguments.items() for word in (f"--{key}", value)]
    done = CliRunner().invoke(app, ["explain", str(photos), "--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 130
    expected = {key.replace("-", "_"): value for key, value in arguments.items()}
    assert options == {**expected, "read_timeout": 60.0, "view_side": None, "crop_mode": None}
