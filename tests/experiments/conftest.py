"""LIVE Challenge as it is released, but for its pictures: 1,162 stand-ins of 40 x 32 pixels with made-up ratings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mpiqe.experiments.study import Study, read_roots
from mpiqe.experiments.tables import tables

QUICK: dict[str, Any] = {
    "windows": 3,
    "decoder_layers": 1,
    "crops": 1,
    "epochs": 1,
    "warmup_epochs": 0,
    "learning_rate": 1e-2,
    "batch_size": 256,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def livec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds ChallengeDB_release; the brighter a picture, the better it is rated."""
    root = tmp_path_factory.mktemp("livec")
    release = root / "ChallengeDB_release"
    (release / "Images" / "trainingImages").mkdir(parents=True)
    (release / "Data").mkdir()
    names = [f"t{number}.bmp" for number in range(1, 8)] + [f"{number}.bmp" for number in range(1, 1163)]
    generator = np.random.default_rng(0)
    ratings = generator.uniform(5, 90, len(names))
    for name, rating in zip(names, ratings, strict=True):
        noise = generator.integers(0, 40, (32, 40, 3))
        Image.fromarray((noise + 2 * rating).astype(np.uint8)).save(release / "Images" / name)
    savemat(release / "Data" / "AllImages_release.mat", {"AllImages_release": np.array(names, dtype=object)[:, None]})
    savemat(release / "Data" / "AllMOS_release.mat", {"AllMOS_release": ratings[None]})
    return root


@pytest.fixture(scope="session")
def roots(livec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A roots file with that one dataset."""
    file = tmp_path_factory.mktemp("roots") / "roots.toml"
    file.write_text(f'livec = "{livec.as_posix()}"\n')
    return file


@pytest.fixture
def make_study(roots: Path, tiny_folder: Path, tmp_path: Path) -> Callable[..., Study]:
    """A study of some tables with settings that take a second a run."""

    def make(*keys: str, **changes: Any) -> Study:
        known = tables()
        places, labels = read_roots(roots)
        places, labels = changes.pop("places_of", places), changes.pop("labels_of", labels)
        settings = {**QUICK, "backbone": str(tiny_folder), **changes.pop("settings", {})}
        defaults: dict[str, Any] = {"out": tmp_path / "out", "datasets": None, "repeats": 2}
        return Study(
            tables=tuple(known[key] for key in keys),
            places=places,
            labels=labels,
            settings=settings,
            **{**defaults, **changes},
        )

    return make
