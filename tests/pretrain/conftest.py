"""A teacher small enough for tests."""

from pathlib import Path

import pytest
import torch
from transformers import MobileNetV2Config, MobileNetV2Model


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network of random weights; for 32 pixels its maps have sides 8, 4, 2 and 1."""
    folder = tmp_path_factory.mktemp("teacher")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, image_size=32)).save_pretrained(folder)
    return folder
