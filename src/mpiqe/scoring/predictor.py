"""What a scorer needs of a model, whatever it runs on. Knows nothing of torch.

Axes: N crops, S pixels along a crop's side, w windows along it, g patches along it.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mpiqe.choices import ModelCropMode
from mpiqe.images import Pixels
from mpiqe.intervals import IntervalModel
from mpiqe.scoring.score import Scale
from mpiqe.view import View


class Prediction(NamedTuple):
    """A model's answer for N crops."""

    score: NDArray[np.float32]
    """(N,) in the units of the predictor's scale."""
    scene: NDArray[np.float32]
    """(N, scenes) probabilities; (N, 0) for a model without scenes."""
    distortion: NDArray[np.float32]
    """(N, distortions) probabilities; (N, 0) for a model without distortions."""


class Predictor(Protocol):
    """A trained model that is ready to answer; it must give a crop the same answer in any company."""

    @property
    def crop_size(self) -> int:
        """Side of the crops it takes, in pixels."""

    @property
    def crops_at_once(self) -> int:
        """How many crops suit it in one call, at least 1; a scorer gives it no more."""

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names along the second axis of ``Prediction.scene``."""

    @property
    def distortions(self) -> tuple[str, ...]:
        """Names along the second axis of ``Prediction.distortion``."""

    @property
    def scale(self) -> Scale:
        """What its scores mean."""

    @property
    def computes(self) -> str:
        """What it computes with, as that was resolved and not as it was asked for: ``openvino bf16 cpu``.

        Runtime, precision and kind of device, each a word of small letters and digits. The same photo has the same
        score where this is the same, and need not where it is not.
        """

    def predict(self, crops: Pixels) -> Prediction:
        """Answer for RGB crops (N, S, S, 3) uint8; N >= 1."""


@runtime_checkable
class ViewedPredictor(Protocol):
    """A predictor that knows what its model was trained to be shown; others get seeded crops at native resolution."""

    @property
    def view(self) -> View:
        """What crops are cut from."""

    @property
    def crop_mode(self) -> ModelCropMode:
        """Where they are cut (D12)."""


@runtime_checkable
class CalibratedPredictor(Protocol):
    """A predictor that says how wide the interval around a score is."""

    @property
    def interval_model(self) -> IntervalModel | None:
        """The calibration of its scores, ``None`` for a model without one."""


def interval_model_of(predictor: Predictor) -> IntervalModel | None:
    """The predictor's calibration, if it has one."""
    return predictor.interval_model if isinstance(predictor, CalibratedPredictor) else None


class Gaze(NamedTuple):
    """Where a model looks in N crops."""

    similarity: NDArray[np.float32]
    """(N, w, w, distortions) cosines of Eq. 10, window by window; no distortions for a model without them."""
    attention: NDArray[np.float32]
    """(N, g, g) the decoder's attention to each patch, 1 where it is the even share."""


@runtime_checkable
class Seer(Protocol):
    """What an explanation needs of a predictor beyond its predictions."""

    @property
    def window_temperature(self) -> float:
        """By which Eq. 10 divides the cosines before its softmax over windows."""

    def gaze(self, crops: Pixels) -> Gaze:
        """Where it looks in RGB crops (N, S, S, 3) uint8; N >= 1."""
