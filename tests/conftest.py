"""A CLIP small enough for tests, real photos, and a rated folder of them.

What takes seconds to import is imported where it is used: pytest reads this file in the process that only hands the
tests out, too.
"""

import csv
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mpiqe.labels import DISTORTIONS, SCENES

if TYPE_CHECKING:
    import torch
    from playwright.sync_api import Browser

    from mpiqe.model.clip import FrozenCLIP
    from mpiqe.model.mpiqe import MPIQE

# Every process has one thread: several on one tiny model wait for each other more than they compute. Torch reads this
# when it is first imported, here, by the other conftest.py files and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).resolve().parents[2] / "shared"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes ``-n auto`` starts: none for a single processor or for named files, else one for each.

    The quick tests have half as many again, since they wait for time limits and for processes of their own; slow ones
    start clusters, browsers and servers.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = all(".py" in argument for argument in config.args)
    more = usable // 2 if config.option.markexpr == "not slow" else 0
    return 0 if named or usable == 1 else min(usable + more, 8)


def pytest_collection_finish() -> None:
    """Take what is imported and collected by now, a million objects, out of every garbage collection that follows.

    What a test leaves behind is collected, and found by ``gc.get_objects``, as ever.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU that torch can use")


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter", config: pytest.Config) -> None:
    """Say that the slow tests were left out."""
    if config.option.markexpr == "not slow":
        terminalreporter.write_line("Tests marked slow were left out: `pytest -m slow` runs them, `pytest -m ''` all.")


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the published label files in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Debian's Chromium, driven by playwright; where one of them is missing the test is skipped, or fails in CI."""
    reason = None
    browser = os.environ.get("MPIQE_CHROMIUM") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        reason = "needs playwright: pip install -e '.[test]'"
    if browser is None:
        reason = "needs Chromium: apt-get install chromium, or set MPIQE_CHROMIUM to its path"
    if reason is not None:
        if os.environ.get("MPIQE_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"{reason} (MPIQE_REQUIRE_CHROMIUM is set)")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights, saved as the hub saves one."""
    from tests.tiny import TINY

    from mpiqe.model.compact import create_compact

    folder = tmp_path_factory.mktemp("backbone") / "tiny-clip"
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    create_compact(folder, words=words, options=TINY, seed=1)
    return folder


@pytest.fixture(scope="session")
def stem_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a convolutional stem of three stages, whose maps have sides 16, 8 and 4."""
    from tests.tiny import STEM

    from mpiqe.model.compact import create_compact

    folder = tmp_path_factory.mktemp("backbone") / "tiny-stem"
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    create_compact(folder, words=words, options=STEM, seed=2)
    return folder


@pytest.fixture(scope="session")
def lite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small compact backbone with an EfficientNet stem."""
    from mpiqe.model.compact import CompactOptions, create_compact

    folder = tmp_path_factory.mktemp("lite")
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    options = CompactOptions(
        stem="efficientnet-lite0",
        image_size=96,
        vision_width=64,
        vision_layers=1,
        text_width=64,
        text_layers=1,
        joint_width=32,
    )
    create_compact(folder, words=words, options=options)
    return folder


@pytest.fixture
def tiny_clip(tiny_folder: Path) -> "FrozenCLIP":
    from mpiqe.model.clip import FrozenCLIP

    return FrozenCLIP.from_pretrained(tiny_folder)


@pytest.fixture
def tiny_model(tiny_clip: "FrozenCLIP") -> "MPIQE":
    from tests.tiny import TINY_OPTIONS

    from mpiqe.model.build import build_model

    return build_model(tiny_clip, TINY_OPTIONS)


@pytest.fixture
def pixels() -> "torch.Tensor":
    """Three crops of noise, (3, 3, 32, 32)."""
    import torch

    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def rated_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of real photos and blurred, noisy and dark versions of them, with made-up ratings; returns the CSV."""
    from skimage import data as photos_of_scikit_image

    from mpiqe.data.synthetic import distort

    folder = tmp_path_factory.mktemp("rated")
    scenes = {"astronaut": "human|indoor scene", "chelsea": "animal", "coffee": "still-life", "rocket": "landscape"}
    rows = []
    for name in PHOTOS:
        photo = getattr(photos_of_scikit_image, name)()[:160, :200]
        for kind, distortion, level in (
            ("", "", 0),
            ("gaussian blur", "blur", 4),
            ("white noise", "noise", 3),
            ("darken", "under-exposure", 5),
        ):
            made = distort(photo, kind, level, seed=0) if kind else photo
            file = f"{name}-{level}-{kind.replace(' ', '-')}.png"
            Image.fromarray(made).save(folder / file)
            rows.append([file, f"{80 - 12 * level + len(name)}", scenes[name], distortion, name])
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "mos", "scene", "distortion", "reference"], *rows])
    return folder / "photos.csv"


@pytest.fixture(scope="session")
def further_photos(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path) -> Path:
    """The same photos as another set of the same file name, rated from 1 to 5."""
    folder = tmp_path_factory.mktemp("further")
    with rated_photos.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / rated_photos.name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "reference"])
        writer.writerows(
            [rated_photos.parent / row["image"], 1 + float(row["mos"]) / 25, row["reference"]] for row in rows
        )
    return folder / rated_photos.name
