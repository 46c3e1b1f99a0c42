"""Interfaces between a scorer and a model on any runtime. Does not import torch.

Axes: N crops, S pixels along a crop's side, w windows along it, g patches along it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import WeightsError
from mpiqe.images import Pixels
from mpiqe.intervals import IntervalModel
from mpiqe.option_types import ModelCropMode, ScoringPrecision
from mpiqe.view import View


@dataclass(frozen=True)
class Scale:
    """Range, unit and direction of a score."""

    low: float
    """The lowest label that the model was trained on; a score can lie a little below."""
    high: float
    """The highest label that the model was trained on; a score can lie a little above."""
    unit: str
    """For people: "MOS of livec", say."""
    higher_is_better: bool = True
    model: str = ""
    """The model and its version, as "mpiqe-embedded 3" or "checkpoint 1a2b3c4d"; scores of two versions do not mix."""
    shot_difference: float | None = None
    """How far scores of two shots of one scene have to be apart for 90 % to be in the right order, if it was measured
    (``mpiqe.intervals.calibrate_shots``)."""

    @property
    def decimals(self) -> int:
        """Number of decimals to show of a score."""
        span = self.high - self.low
        return 1 if span >= 30 else 2 if span >= 3 else 3

    def quality(self, score: float) -> float:
        """Position of a score on this scale, from 0 (worst) to 1 (best); scores beyond its ends count as at them."""
        place = (score - self.low) / ((self.high - self.low) or 1.0)
        return min(1.0, max(0.0, place if self.higher_is_better else 1.0 - place))

    def __str__(self) -> str:
        direction = "higher" if self.higher_is_better else "lower"
        model = f" ({self.model})" if self.model else ""
        return f"{self.unit}, about {self.low:.3g} to {self.high:.3g}, {direction} is better{model}"


class Prediction(NamedTuple):
    """Predictions for N crops."""

    score: NDArray[np.float32]
    """(N,) in the units of the predictor's scale."""
    scene: NDArray[np.float32]
    """(N, scenes) probabilities; (N, 0) for a model without scenes."""
    distortion: NDArray[np.float32]
    """(N, distortions) probabilities; (N, 0) for a model without distortions."""


class Predictor(Protocol):
    """A trained model on some runtime. Predictions must not depend on the rest of the batch."""

    @property
    def crop_size(self) -> int:
        """Side of the crops it takes, in pixels."""

    @property
    def crops_at_once(self) -> int:
        """Largest number of crops in one call, at least 1."""

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names along the second axis of ``Prediction.scene``."""

    @property
    def distortions(self) -> tuple[str, ...]:
        """Names along the second axis of ``Prediction.distortion``."""

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of its scores."""

    @property
    def computes(self) -> str:
        """Runtime, precision and kind of device that it runs on: ``openvino bf16 cpu``.

        Each is a word of lower-case letters and digits, as it was resolved, not as it was requested. The same image has
        the same score where this is the same, and need not elsewhere.
        """

    def predict(self, crops: Pixels) -> Prediction:
        """Predict for RGB crops (N, S, S, 3) uint8; N >= 1."""


class Request(NamedTuple):
    """Arguments of a runtime's loader; ``mpiqe.load`` has checked that its ``RuntimeSpec`` can do this."""

    weights: str | Path
    """A run folder, a checkpoint file, a hub id or an exported folder."""
    graph: Path | None
    """The exported folder, for weights that are one or have one beside them; ``None`` for those that do not."""
    backbone: str | Path | None = None
    """Where the checkpoint's backbone lies now, if not where it was trained."""
    device: str = "auto"
    precision: ScoringPrecision = "auto"
    threads: int | None = None
    """That compute the model; the runtime's own choice if not given."""


class Loaded(NamedTuple):
    """Result of a runtime's loader."""

    predictor: Predictor
    crops: int
    """Crops per image in training."""


def predict_in_parts(predictor: Predictor, crops: Pixels) -> Prediction:
    """Predict for RGB crops (N, S, S, 3) uint8, ``crops_at_once`` in a call to bound the memory; N >= 1.

    Raises ``WeightsError`` for predictions that are not finite.
    """
    step = predictor.crops_at_once
    parts = [predictor.predict(crops[start : start + step]) for start in range(0, len(crops), step)]
    joined = parts[0] if len(parts) == 1 else Prediction(*map(np.concatenate, zip(*parts, strict=True)))
    if not all(np.isfinite(values).all() for values in joined):
        raise WeightsError("the model's predictions are not finite: its weights are damaged")
    return joined


@runtime_checkable
class ViewedPredictor(Protocol):
    """A predictor with the view and crop mode of its training; others get seeded crops at native resolution."""

    @property
    def view(self) -> View:
        """The view that crops are cut from."""

    @property
    def crop_mode(self) -> ModelCropMode:
        """Where they are cut (D12)."""


@runtime_checkable
class CalibratedPredictor(Protocol):
    """A predictor with calibrated prediction intervals."""

    @property
    def interval_model(self) -> IntervalModel | None:
        """The calibration of its scores, ``None`` for a model without one."""


def interval_model_of(predictor: Predictor) -> IntervalModel | None:
    """The predictor's calibration, if it has one."""
    return predictor.interval_model if isinstance(predictor, CalibratedPredictor) else None


class AttentionMaps(NamedTuple):
    """Similarity and attention maps of N crops."""

    similarity: NDArray[np.float32]
    """(N, w, w, distortions) cosines of Eq. 10, window by window; no distortions for a model without them."""
    attention: NDArray[np.float32]
    """(N, g, g) the decoder's attention to each patch, 1 where it is the even share."""


@runtime_checkable
class ExplainablePredictor(Protocol):
    """A predictor that can return attention maps, as explanations need them."""

    @property
    def window_temperature(self) -> float:
        """Temperature of the softmax over windows in Eq. 10."""

    def attention_maps(self, crops: Pixels) -> AttentionMaps:
        """Return the maps of RGB crops (N, S, S, 3) uint8; N >= 1."""
