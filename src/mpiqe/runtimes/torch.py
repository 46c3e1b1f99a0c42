"""A predictor that runs MP-IQE with torch. Axes: N crops, S pixels along a crop's side."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpiqe.errors import ConfigError
from mpiqe.images import Pixels
from mpiqe.model.build import QualityModel
from mpiqe.model.checkpoint import CheckpointConfig, fingerprint, load_checkpoint
from mpiqe.option_types import ScoringPrecision
from mpiqe.runtimes.base import AttentionMaps, Loaded, Prediction, Request, Scale
from mpiqe.runtimes.graph import name_of_checkpoint, read_card

_PROCESS = os.getpid()  # that imported this module


def load(request: Request) -> Loaded:
    """Load the checkpoint of ``request``; raises as ``load_checkpoint`` and ``TorchPredictor`` do.

    ``threads`` are those of the whole process. A graph beside the checkpoint names the version, so that it is the same
    in every runtime. In a process that was forked from one that had imported torch it computes with one thread:
    OpenMP's threads are not there after a fork, and waiting for them would never end.
    """
    if os.getpid() != _PROCESS:
        torch.set_num_threads(1)
    elif request.threads:
        torch.set_num_threads(request.threads)
    model, config = load_checkpoint(request.weights, backbone=request.backbone)
    card = read_card(request.graph) if request.graph else None
    version = (card and card.version) or version_of(model, config)
    if card and card.interval:  # bursts may have calibrated it after the export (benchmarks/bursts.py)
        config = replace(config, interval=card.interval)
    model.clip.fuse()
    predictor = TorchPredictor(
        model=model, config=config, device=request.device, precision=request.precision, version=version
    )
    return Loaded(predictor, config.crops)


class TorchPredictor:
    """MP-IQE on one device, with everything that does not depend on the photo computed once.

    ``device``: ``auto`` (CUDA, else MPS, else the CPU) or any name of torch's, ``cuda:1`` say. ``precision``: ``fp32``,
    ``bf16``, or ``auto``, which is bf16 on CUDA and fp32 elsewhere. Raises ``ConfigError`` for a device that is not
    there and for an unknown precision. ``version`` names the model, by default as its config says or by the digest of
    its weights; give it where they were fused before.
    """

    def __init__(
        self,
        *,
        model: QualityModel,
        config: CheckpointConfig,
        device: str = "auto",
        precision: ScoringPrecision = "auto",
        version: str | None = None,
    ) -> None:
        self.device = _device(device)
        self.dtype = _dtype(precision, self.device)
        self.computes = f"torch {'fp32' if self.dtype is torch.float32 else 'bf16'} {self.device.type}"
        self.model = model.to(self.device).eval()
        self.crop_size = model.image_size
        self.crops_at_once = 64 if self.device.type == "cpu" else 256
        self.scenes = config.scenes if config.options.names_scenes else ()
        self.distortions = config.distortions if config.options.names_distortions else ()
        self.scale = Scale(
            low=config.mos_low,
            high=config.mos_high,
            unit=f"MOS of {config.dataset}",
            model=version or version_of(model, config),
            shot_difference=config.interval.shot_difference if config.interval else None,
        )
        self.interval_model = config.interval
        self.window_temperature = config.options.window_temperature
        self.view, self.crop_mode = config.view, config.crop_mode
        with torch.inference_mode():
            self._folded: Any = self.model.fold()

    def predict(self, crops: Pixels) -> Prediction:
        """Predict for RGB crops (N, S, S, 3) uint8."""
        with self._ready():
            output = self.model(self._pixels(crops), self._folded)
        return Prediction(
            score=output.score.float().cpu().numpy(),
            scene=_numbers(output.scene_probabilities, len(crops)),
            distortion=_numbers(output.distortion_probabilities, len(crops)),
        )

    def attention_maps(self, crops: Pixels) -> AttentionMaps:
        """Return the maps of RGB crops (N, S, S, 3) uint8.

        The attention is the mean over the decoder's layers, heads and queries. What goes to CLS is left out, since it
        has no place; an even share is that of one among CLS and the patches (``looks``).
        """
        with self._ready():
            similarity, attention = self.model.attention_maps(self._pixels(crops), self._folded)
        if similarity is None:
            similarity = attention.new_zeros(len(crops), 1, 0)
        return AttentionMaps(square(similarity).float().cpu().numpy(), looks(attention).float().cpu().numpy())

    @contextmanager
    def _ready(self) -> Iterator[None]:
        lower = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=self.dtype, enabled=lower):
            yield

    def _pixels(self, crops: Pixels) -> Tensor:
        return torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)  # (N, S, S, 3) -> (N, 3, S, S)


def version_of(model: QualityModel, config: CheckpointConfig) -> str:
    """Name and version of a model: the config's, or the digest of the weights."""
    return config.version or name_of_checkpoint(fingerprint(model, config))


def looks(attention: Tensor) -> Tensor:
    """Attention weights (N, layers, heads, queries, 1 + g^2) -> maps over patches (N, g, g); 1 is uniform attention."""
    places = attention.shape[-1]
    return square((attention.mean(dim=(1, 2, 3))[:, 1:] * places)[..., None])[..., 0]


def square(values: Tensor) -> Tensor:
    """(N, side^2, C) -> (N, side, side, C)."""
    count, places, classes = values.shape
    side = round(places**0.5)
    return values.reshape(count, side, side, classes)


def _numbers(probabilities: Tensor | None, count: int) -> NDArray[np.float32]:
    if probabilities is None:
        return np.zeros((count, 0), dtype=np.float32)
    numbers: NDArray[np.float32] = probabilities.float().cpu().numpy()
    return numbers


def _device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    known = [kind for kind, available in there.items() if available]
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device {name!r}; choose auto or one of {', '.join(known)}") from error
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if not there.get(device.type) or beyond:
        raise ConfigError(f"this machine has no device {name!r} that torch can use; it has {', '.join(known)}")
    return device


def _dtype(precision: ScoringPrecision, device: torch.device) -> torch.dtype:
    dtypes = {
        "auto": torch.bfloat16 if device.type == "cuda" else torch.float32,
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
    }
    if precision not in dtypes:
        raise ConfigError(f"precision must be one of {', '.join(dtypes)}, not {precision!r}")
    return dtypes[precision]
