"""A second rated set, and a teacher small enough for tests."""

import csv
from pathlib import Path

import pytest
import torch
from transformers import MobileNetV2Config, MobileNetV2Model


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


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network of random weights; for 32 pixels its maps have sides 8, 4, 2 and 1."""
    folder = tmp_path_factory.mktemp("teacher")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, image_size=32)).save_pretrained(folder)
    return folder
