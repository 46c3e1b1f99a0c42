"""A real but modest model for the command line: in this process or, run as a program, behind ``mpiqe`` itself."""

import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mpiqe.cli.start import main
from mpiqe.scoring import loading
from mpiqe.scoring.predictor import Prediction
from mpiqe.scoring.score import Scale
from mpiqe.scoring.scorer import Scorer


class Brightness:
    crop_size = 32
    crops_at_once = 128
    scenes = ("night", "day")
    distortions = ("dull", "none")
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def predict(self, crops):
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=halves, distortion=halves)


def load(weights, *, crops, runtime, device, precision, **options):
    return Scorer(predictor=Brightness(), crops=8 if crops is None else crops, **options)


@pytest.fixture
def modest_model(monkeypatch):
    """In this process, as all that it reads: starting processes apart is left to the tests that are of them."""
    monkeypatch.setattr(loading, "load", partial(load, isolate=False))


@pytest.fixture
def folder(tmp_path):
    """Three photos, the brighter the later, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, level in (("a.png", 50), ("b.png", 100), ("d.png", 200)):
        Image.new("RGB", (60, 40), (level, level, level)).save(folder / name)
    (folder / "c.jpg").touch()
    return folder


if __name__ == "__main__":
    loading.load = load
    sys.exit(main())
