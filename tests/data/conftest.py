"""Small pictures, and LIVE Challenge without its 400 MB: real .mat and JPEG files, tiny stand-ins for the BMPs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpiqe.data import label_child, label_files
from mpiqe.data.label_process import Kind, read_apart

pytest.register_assert_rewrite("tests.data.liqe_files")

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

Painter = Callable[..., Path]


@pytest.fixture
def paint() -> Painter:
    """Write one picture of noise; another seed is another picture."""

    def write(path: Path, *, width: int = 40, height: int = 30, seed: int = 0) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def labels_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label files are read in this process: starting one for each is left to the tests that are of it."""

    def read_here(file: Path, kind: Kind) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(json.dumps(label_child.KINDS[kind](str(file))))
        except Exception:
            return read_apart(file, kind)  # which says what is wrong with it
        return value

    monkeypatch.setattr(label_files, "read_apart", read_here)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared data, or a skip."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def liqe_labels(shared: Path) -> Path:
    """LIQE's published label files, or a skip."""
    folder = shared / "liqe_labels"
    if not folder.is_dir():
        pytest.skip(f"no LIQE labels at {folder}")
    return folder


@pytest.fixture(scope="session")
def packed_livec(shared: Path) -> Path:
    """The packed release of LIVE Challenge, or a skip."""
    folder = shared / "livec" / "packed"
    if not folder.is_dir():
        pytest.skip(f"no LIVE Challenge at {folder}")
    return folder


@pytest.fixture(scope="session")
def livec_root(packed_livec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ChallengeDB_release in its official layout; every BMP is a stand-in of 8 x 8 pixels."""
    root = tmp_path_factory.mktemp("livec")
    release = root / "ChallengeDB_release"
    (release / "Images" / "trainingImages").mkdir(parents=True)
    shutil.copytree(packed_livec / "Data", release / "Data")
    for line in (packed_livec / "SHA256SUMS").read_text().splitlines():
        target = release / line[66:]
        if target.suffix == ".JPG":
            target.symlink_to(packed_livec / line[66:])
        elif target.suffix == ".bmp":
            seed = int.from_bytes(target.stem.encode(), "big")
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(target)
    return root
