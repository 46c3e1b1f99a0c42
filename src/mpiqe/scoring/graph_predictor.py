"""What predictors that run an exported graph share. Axes: N crops, S pixels of a side."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.images import Pixels
from mpiqe.scoring.graph import INPUT, GraphCard, read_card
from mpiqe.scoring.predictor import Gaze, Prediction

SCORING = ("score", "scene", "distortion")
LOOKING = ("similarity", "attention")


class GraphPredictor(ABC):
    """The graph of a folder on the CPU, described by the card beside it."""

    crops_at_once = 16
    """More are no quicker on a CPU and take more memory."""

    def __init__(self, folder: Path) -> None:
        self.card = card = read_card(folder)
        self.crop_size, self.scale = card.crop_size, card.scale
        self.scenes, self.distortions = card.scenes, card.distortions
        self.window_temperature = card.window_temperature
        self.interval_model = card.interval

    def predict(self, crops: Pixels) -> Prediction:
        """Answer for RGB crops (N, S, S, 3) uint8."""
        found, none = self._run(crops, SCORING), np.zeros((len(crops), 0), dtype=np.float32)
        return Prediction(found["score"], found.get("scene", none), found.get("distortion", none))

    def gaze(self, crops: Pixels) -> Gaze:
        """Where it looks in RGB crops (N, S, S, 3) uint8; raises ``ConfigError`` for a model that cannot tell."""
        found = self._run(crops, LOOKING)
        if "attention" not in found:
            raise ConfigError(
                "this model looks at the whole crop at once, so there is no map of where; take an MP-IQE model"
            )
        none = np.zeros((len(crops), 1, 1, 0), dtype=np.float32)
        return Gaze(found.get("similarity", none), found["attention"])

    @abstractmethod
    def _run(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        """Those of the outputs ``names`` that the graph has."""

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.card.outputs)


def check_ends(
    path: Path, card: GraphCard, *, inputs: list[str], outputs: list[str], sides: dict[str, object], size: object
) -> None:
    """Raise ``WeightsError`` unless a graph has the ends that its card names; ``sides`` are the outputs' last axes."""
    if inputs != [INPUT] or outputs != list(card.outputs):
        found, said = f"takes {inputs} and gives {outputs}", f"{[INPUT]} and {list(card.outputs)}"
    else:
        wanted = {"scene": len(card.scenes), "distortion": len(card.distortions)}
        wanted = {name: number for name, number in wanted.items() if name in outputs}
        if size == card.crop_size and all(sides[name] == number for name, number in wanted.items()):
            return
        found = f"takes crops of {size} and gives { ({name: sides[name] for name in wanted}) } classes"
        said = f"{card.crop_size} and {wanted}"
    raise WeightsError(f"{path} {found}, but its card says {said}: they do not belong together; export the model anew")
