"""Going on from a whole trained model (``mpiqe train --from``). Axes: n images, K crops of an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mpiqe.data.crop_dataset import CropDataset, collate
from mpiqe.data.record import Dataset
from mpiqe.errors import ConfigError
from mpiqe.model.build import QualityModel
from mpiqe.model.checkpoint import CheckpointConfig, backbone_of, check_backbone, load_tensors, locate, read_config
from mpiqe.model.clip_files import EMBEDDED
from mpiqe.model.mpiqe import MPIQE, MPIQEOutput
from mpiqe.model.options import ModelOptions, to_mapping
from mpiqe.training.refit import fit, put_into, widened
from mpiqe.training.stem_cache import StemCache
from mpiqe.training.stem_head import ShiftedTargets

_FREE = frozenset({"tune", "lora_rank", "lora_alpha", "window_temperature", "scene_labels", "distortion_labels"})
"""Model options that may differ from those of the model that a run goes on from: they change no trained tensor."""
_AT_ONCE = 16  # images


@dataclass(frozen=True)
class Start:
    """The model that a run goes on from."""

    source: str
    """As it was named."""
    path: Path
    config: CheckpointConfig

    def to_json(self) -> dict[str, Any]:
        """What a run and its checkpoint keep of it."""
        config = self.config
        about = {"source": self.source, "version": config.version, "dataset": config.dataset, "split": config.split}
        data = {
            key: config.training.get(key) for key in ("data", "extra_data", "train_on_all", "data_digest", "began_from")
        }
        return {**about, **{key: value for key, value in data.items() if value}}


def read_start(source: str) -> Start:
    """Find ``embedded``, a run folder, a checkpoint file or a hub id; raises ``WeightsError`` for anything else."""
    path = locate(source)
    return Start(source, path, read_config(path))


def settings_of(start: Start) -> dict[str, Any]:
    """The settings that a run takes over where it is not told otherwise: what the model is, and what it sees."""
    config = start.config
    backbone = EMBEDDED if start.source == EMBEDDED else backbone_of(config, start.path)
    return {
        **to_mapping(config.options),
        "crops": config.crops,
        "view_side": config.view.side or 0,
        "view_shape": "square" if config.view.kind == "square" else "photo",
        "crop_mode": config.crop_mode,
        "backbone": backbone,
    }


def load_start(model: QualityModel, start: Start, options: ModelOptions) -> None:
    """Put the trained tensors and the scale of ``start`` into ``model``.

    Raises ``ConfigError`` for ``options`` of another model, ``WeightsError`` for another backbone.
    """
    before, now = to_mapping(start.config.options), to_mapping(options)
    faults = [
        f"{key} is {before[key]!r} there and {value!r} here"
        for key, value in now.items()
        if key not in _FREE and value != before[key]
    ]
    if before["tune"] != "prompts" and options.tune != before["tune"]:
        faults.append(f"tune is {before['tune']!r} there: its backbone is tuned, so that has to stay")
    elif before["tune"] == "lora":
        faults += [
            f"{key} is {before[key]!r} there and {now[key]!r} here"
            for key in ("lora_rank", "lora_alpha")
            if before[key] != now[key]
        ]
    if faults:
        raise ConfigError(f"cannot go on from {start.source}, which is another model: {'; '.join(faults)}")
    check_backbone(start.config, start.path, model.clip)
    load_tensors(model, start.path, beside="clip.")
    model.target_mean, model.target_std = start.config.target_mean, start.config.target_std


def make_room(model: QualityModel) -> None:
    """Widen a stem head for what ``align`` puts into it, and class heads, which have the same width.

    A run that goes on from a state has to do so too.
    """
    if isinstance(model, MPIQE) and model.stem_head is not None:
        for name in ("stem_head", "scene_head", "distortion_head"):
            head = getattr(model, name)
            setattr(model, name, None if head is None else widened(head))


def align(
    model: QualityModel, items: CropDataset | StemCache, accelerator: Accelerator
) -> tuple[CropDataset | StemCache | ShiftedTargets, str]:
    """Bring the scores of ``model`` to the MOS of ``items``, before anything is trained.

    The MOS of another set have another scale, and perhaps another way to use it. A model with a stem head gets a
    ridge regression on the stem's pooled features and its own number (``refit``); the decoder is then asked for what a
    fit without the image leaves, as ``fit_stem_head`` has it. Any other model gets a line by least squares over
    images, the score being the mean over their crops; where it would fall, mean and deviation of the scores are brought
    to those of the MOS instead. Returns the items to train on and a line about it.
    """
    found, pooled, ratings = [], [], []
    with torch.inference_mode():
        with accelerator.autocast():
            folded: Any = model.fold()
        for begin in range(0, len(items), _AT_ONCE):
            batch = collate([items[1, index] for index in range(begin, min(begin + _AT_ONCE, len(items)))])
            crops = batch.crops.flatten(0, 1).to(accelerator.device)
            with accelerator.autocast():
                output, features = _look(model, crops, folded)
            found.append(output.prediction.double().cpu().view(len(batch.mos), -1).mean(dim=1))
            if features is not None:
                pooled.append(features.float().cpu().view(len(batch.mos), -1, features.shape[1]).mean(dim=1))
            ratings.append(batch.mos.double())
    said, mos = torch.cat(found), torch.cat(ratings)
    if isinstance(model, MPIQE) and model.stem_head is not None:
        mean, deviation = float(mos.mean()), float(mos.std(correction=0))
        refit = fit(torch.cat(pooled), said, (mos - mean) / deviation)
        put_into(model, refit)
        model.target_mean, model.target_std = mean, deviation
        shifted = ShiftedTargets(items, ((refit.fitted - refit.left_out) * deviation).tolist())
        about = f"penalty {refit.penalty:g}, its own number counts {refit.trust:g} times"
        return shifted, f"its head is fitted to the MOS of the {len(mos)} training images ({about})"
    covariance = ((said - said.mean()) * (mos - mos.mean())).mean()
    variance = (said - said.mean()).square().mean()
    if variance <= 0:
        raise ConfigError("the model that the run goes on from gives the same number for every training image")
    slope, how = float(covariance / variance), "by least squares"
    if slope <= 0:
        slope, how = float(mos.std() / said.std()), "by mean and deviation, since they do not agree with the MOS"
    model.target_std = slope
    model.target_mean = float(mos.mean() - slope * said.mean())
    return items, f"its scores are brought to the MOS of the {len(mos)} training images {how}"


def _look(model: QualityModel, crops: Tensor, folded: Any) -> tuple[MPIQEOutput, Tensor | None]:
    """The output for pixels (B, 3, S, S), or what a ``StemCache`` keeps of them, and the pooled features (B, F)."""
    clip = model.clip
    embedded = clip.split_embedded(crops) if crops.is_floating_point() else clip.embed(clip.preprocess(crops))
    return model.forward_embedded(embedded, folded), embedded.pooled


def what_it_may_have_seen(start: Start, dataset: Dataset, split: str) -> str | None:
    """What to say where the model may have been trained on images that are test images here; ``None`` if not known to.

    ``split`` describes the split, as a checkpoint's config does.
    """
    training = start.config.training
    earlier: dict[str, Any] | None = {**training, "dataset": start.config.dataset, "split": start.config.split}
    while earlier:
        digests = str(earlier.get("data_digest", "")).split("+")
        same = earlier.get("dataset") == dataset.name or dataset.digest in digests
        if same and ((earlier.get("train_on_all") or earlier.get("whole")) or earlier.get("split") != split):
            return (
                f"careful: {start.source} was trained on {dataset.name} (split: {earlier.get('split')}), perhaps on "
                "some of this split's test images: figures on them are too high"
            )
        earlier = earlier.get("began_from")
    return None
