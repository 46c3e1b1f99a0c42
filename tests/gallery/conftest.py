"""Pages made by ``mpiqe report`` with a modest model, and how Chromium opens them."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpiqe.cli.main import main
from mpiqe.runtimes.base import AttentionMaps, Prediction, Scale
from mpiqe.scoring import loading
from mpiqe.scoring.scorer import Scorer


class Brightness:
    """Brightness is quality, and what is dark is dull; its windows of 4 x 4 pixels are brighter or darker."""

    crop_size = 32
    crops_at_once = 128
    scenes = ("night", "day")
    distortions = ("dull", "none")
    scale = Scale(low=0, high=255, unit="grey levels", model="brightness 1", shot_difference=30.0)
    computes = "numpy fp64 cpu"
    window_temperature = 0.1

    def predict(self, crops):
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=halves, distortion=halves)

    def attention_maps(self, crops):
        light = crops.reshape(len(crops), 8, 4, 8, 4, 3).mean(axis=(2, 4, 5)).astype(np.float32) / 255
        return AttentionMaps(np.stack([1 - light, light], axis=-1), np.ones((len(crops), 8, 8), dtype=np.float32))


def load(weights=None, *, crops=None, runtime="auto", device="auto", precision="auto", **options):
    return Scorer(predictor=Brightness(), crops=4 if crops is None else crops, **options)


@pytest.fixture
def mpiqe(monkeypatch, capsys):
    """Runs the command in this process, which reads the photos too: (exit status, stdout, stderr)."""
    monkeypatch.setattr(loading, "load", partial(load, isolate=False))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpiqe", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


@pytest.fixture
def photos(tmp_path):
    return save_photos(tmp_path / "photos")


def save_photos(folder):
    """Six photos in two folders, three of them taken within a second each of the other, and a file that is none."""
    for name, level, taken in (
        ("a/IMG_10.jpg", 40, "2024:05:01 10:00:00"),
        ("a/IMG_2.jpg", 80, "2024:05:01 10:00:01"),
        ("a/IMG_3.jpg", 120, "2024:05:01 10:00:02"),
        ("b/IMG_4.jpg", 160, "2024:05:01 12:00:00"),
        ("b/wide.png", 200, None),
        ("b/tall.png", 240, None),
    ):
        size = {"wide": (160, 40), "tall": (40, 160)}.get(Path(name).stem, (96, 64))
        photo = Image.new("RGB", size, (level, level, level))
        exif = Image.Exif()
        if taken:
            exif.get_ifd(0x8769)[0x9003] = taken
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / name, exif=exif)
    (folder / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return folder


def make_page(root):
    """The page of ``save_photos``, which lie in the folder ``photos`` beside it."""
    arguments = ["mpiqe", "report", str(save_photos(root / "photos")), "--out", str(root / "page"), "--worst", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", partial(load, isolate=False))
        patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code == 1  # one of them cannot be read
    return root / "page" / "index.html"


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """A page for all tests that leave its files as they are: what is decided on it stays in the browser's context."""
    return make_page(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def open_page(chromium):
    """Opens a page from disk; the test fails if the page reports an error or asks any server for anything."""
    contexts, faults = [], []

    def open_(file, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
        page.on(
            "request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or faults.append(request.url)
        )
        page.faults = faults
        page.goto(Path(file).resolve().as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []
