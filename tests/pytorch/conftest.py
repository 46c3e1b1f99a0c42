"""A tiny model, saved as a training run saves one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos_of_scikit_image
from tests.tiny import TINY_OPTIONS
from torch import Tensor

from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.view import View

TINY_VIEW = View("scaled", 48)


@pytest.fixture(scope="session")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: crops of 32 pixels, three in a grid, of photos brought down to 48 x 48 pixels."""
    clip = FrozenCLIP.from_pretrained(tiny_folder)
    config = CheckpointConfig(
        options=TINY_OPTIONS,
        backbone=str(tiny_folder),
        backbone_digest=clip.digest(),
        target_mean=50.0,
        target_std=20.0,
        dataset="livec",
        mos_low=0.0,
        mos_high=100.0,
        crops=3,
        view=TINY_VIEW,
        crop_mode="grid",
    )
    folder = tmp_path_factory.mktemp("run")
    save_checkpoint(folder / "mpiqe.safetensors", build_model(clip, TINY_OPTIONS, seed=3), config)
    return folder


def photo(width: int, height: int, *, seed: int = 0) -> Tensor:
    """A piece of a real photo with some noise, (3, H, W) uint8."""
    noise = np.random.default_rng(seed).integers(-30, 31, (height, width, 3))
    image = Image.fromarray(photos_of_scikit_image.coffee()).resize((width, height))
    return torch.from_numpy((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
