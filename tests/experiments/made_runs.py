"""Run folders without the training: fresh weights, and predictions that say what a test wants them to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpiqe.data.record import Record
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.training.evaluate import Prediction, to_csv

CROPS = 2
FULL = {"windows": 3, "decoder_layers": 2}
VISUAL_ONLY = {"windows": 3, "decoder_layers": 1, "scene_prompts": False, "distortion_prompts": False}


def write_run(
    folder: Path, tested: Sequence[Record], backbone: Path, options: dict[str, Any], *, predicted: float = 0.0
) -> Path:
    """``predicted`` is the first test photo's score; every next is one higher."""
    folder.mkdir(parents=True)
    clip = FrozenCLIP.from_pretrained(backbone)
    chosen = ModelOptions(**options)
    config = CheckpointConfig(
        options=chosen,
        backbone=str(backbone),
        backbone_digest=clip.digest(),
        target_mean=50.0,
        target_std=10.0,
        dataset="photos",
        mos_low=0.0,
        mos_high=100.0,
        crops=CROPS,
        split="the project's own 1",
    )
    save_checkpoint(folder / FILE_NAME, build_model(clip, chosen, seed=3), config)
    rows = [Prediction(record.name, record.mos, predicted + index, 0.0) for index, record in enumerate(tested)]
    (folder / "predictions.csv").write_text(to_csv(rows))
    return folder
