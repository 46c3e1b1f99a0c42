"""A finished run with its model, its test photos and what it said of them: what the figures are drawn from."""

import math
from dataclasses import dataclass
from pathlib import Path

from mpiqe.data import Dataset, Record
from mpiqe.data.registry import title_of
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.experiments.protocol import read_predictions
from mpiqe.model.checkpoint import CheckpointConfig, load_checkpoint
from mpiqe.model.mpiqe import MPIQE
from mpiqe.training.device import accelerator_for
from mpiqe.training.run_folder import PREDICTIONS


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One run."""

    folder: Path
    model: MPIQE
    """In eval mode, on the device."""
    config: CheckpointConfig
    tested: tuple[Record, ...]
    """The test photos, in the order of ``predictions.csv``."""
    scores: dict[str, float]
    """Test photo's name -> the score in ``predictions.csv``, in MOS units."""

    @property
    def what(self) -> str:
        """The dataset and the split, for a caption."""
        name = self.config.dataset
        return f"{title_of(name)} (split: {self.config.split})"

    @property
    def has_text(self) -> bool:
        """Whether any prompt bank questions the image; the visual-only model has one learned query instead."""
        return self.config.options.scene_prompts or self.config.options.distortion_prompts


def read_trained_run(
    folder: Path, dataset: Dataset, *, backbone: str | Path | None, device: str = "auto"
) -> TrainedRun:
    """A run of MP-IQE, or of a variant of it, that has predicted the test photos of ``dataset``.

    Raises ``WeightsError`` without usable weights, ``ConfigError`` for a model of another kind, ``DatasetError``
    without predictions and for predictions about other photos or by other ratings than the dataset's.
    """
    model, config = load_checkpoint(folder, backbone=backbone)
    if not isinstance(model, MPIQE):
        raise ConfigError(f"{folder} is a run of {config.options.method}, which has no decoder; give one of mp-iqe")
    rated = read_predictions(folder / PREDICTIONS)
    if not rated:
        raise DatasetError(f"{folder / PREDICTIONS} has no photos: a run on the whole dataset leaves none to test on")
    records = {record.name: record for record in dataset.records}
    foreign = [
        name for name, (mos, _) in rated.items() if name not in records or not math.isclose(records[name].mos, mos)
    ]
    if foreign:
        raise DatasetError(
            f"{folder / PREDICTIONS}: {len(foreign)} of {len(rated)} photos, {foreign[0]!r} among them, are not in "
            f"{dataset.name} or are rated otherwise there; was the run on another dataset?"
        )
    place = accelerator_for(device=device, precision="fp32").device
    scores = {name: score for name, (_, score) in rated.items()}
    return TrainedRun(folder, model.to(place), config, tuple(records[name] for name in rated), scores)
