import numpy as np
import pytest
from PIL import Image

from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring.scorer import Scorer


class Brightness:
    """A real predictor, though a modest one: brightness is quality."""

    crop_size = 32
    crops_at_once = 128
    scenes = ("night", "day")
    distortions = ("dull", "red-eyed", "none")
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def __init__(self):
        self.batches = []

    def predict(self, crops):
        assert crops.shape[1:] == (32, 32, 3)
        assert crops.dtype == np.uint8
        self.batches.append(len(crops))
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        day = score / 255
        red = crops[..., 0].mean(axis=(1, 2)) / 510
        return Prediction(
            score=score,
            scene=np.stack([1 - day, day], axis=1).astype(np.float32),
            distortion=np.stack([red, 0.5 - red, np.full_like(red, 0.5)], axis=1).astype(np.float32),
        )


@pytest.fixture
def brightness():
    return Brightness()


@pytest.fixture
def make_scorer(brightness):
    def make(**options):
        return Scorer(predictor=brightness, **options)

    return make


@pytest.fixture
def photos(tmp_path):
    """Ten photos of ten sizes, two of them smaller than a crop, with all kinds of brightness within."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(10):
        width, height = 20 + 13 * i, 100 - 7 * i
        tiles = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = tmp_path / f"photo{i}.png"
        Image.fromarray(tiles).resize((width, height)).save(path)
        paths.append(str(path))
    return paths
