"""Base of the predictors that run an exported graph. Axes: N crops, S pixels of a side."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.images import Pixels
from mpiqe.printable import printable
from mpiqe.runtimes.base import AttentionMaps, Prediction
from mpiqe.runtimes.graph import INPUT, GraphCard, read_card

SCORING = ("score", "scene", "distortion")
LOOKING = ("similarity", "attention")
_MOST_CROPS, _MOST_PIXELS = 16, 2**19  # of a call: more are no quicker on a CPU and take more memory


class GraphPredictor(ABC):
    """The graph of a folder on the CPU, described by the card beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = card = read_card(folder)
        self.crop_size, self.scale = card.crop_size, card.scale
        self.crops_at_once = max(1, min(_MOST_CROPS, _MOST_PIXELS // card.crop_size**2))
        self.scenes, self.distortions = card.scenes, card.distortions
        self.window_temperature = card.window_temperature
        self.view, self.crop_mode = card.view, card.crop_mode
        self.interval_model = card.interval

    def predict(self, crops: Pixels) -> Prediction:
        """Predict for RGB crops (N, S, S, 3) uint8; raises ``WeightsError`` if the graph fails."""
        found, none = self._answer(crops, SCORING), np.zeros((len(crops), 0), dtype=np.float32)
        return Prediction(found["score"], found.get("scene", none), found.get("distortion", none))

    def attention_maps(self, crops: Pixels) -> AttentionMaps:
        """Return the maps of RGB crops (N, S, S, 3) uint8; raises ``ConfigError`` for a model without attention."""
        found = self._answer(crops, LOOKING)
        if "attention" not in found:
            raise ConfigError(
                "this model has no attention over patches, so there is no map to draw; take an MP-IQE model"
            )
        none = np.zeros((len(crops), 1, 1, 0), dtype=np.float32)
        return AttentionMaps(found.get("similarity", none), found["attention"])

    def _answer(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        """What ``_run`` gives, if that is what the card says."""
        try:
            found = self._run(crops, names)
        except Exception as error:  # the runtimes' exceptions have no class in common, and any of them may come here
            raise WeightsError(
                f"the graph in {self.folder} failed on {len(crops)} crops: {first_line(error)}; export the model anew"
            ) from error
        for name, values in found.items():
            self._check_shape(name, values, len(crops))
        return found

    def _check_shape(self, name: str, values: NDArray[np.float32], crops: int) -> None:
        scenes, distortions, shape = len(self.card.scenes), len(self.card.distortions), tuple(np.shape(values))
        wanted: dict[str, tuple[int | None, ...]] = {
            "score": (crops,),
            "scene": (crops, scenes),
            "distortion": (crops, distortions),
            "similarity": (crops, None, None, distortions),
            "attention": (crops, None, None),
        }
        fits = len(shape) == len(wanted[name]) and all(
            place is None or side == place for side, place in zip(shape, wanted[name], strict=True)
        )
        if not fits or values.dtype != np.float32:
            raise WeightsError(
                f"the graph in {self.folder} answers {crops} crops with a {name} of {values.dtype} {shape} and not of "
                f"float32 {wanted[name]}; export the model anew"
            )

    @abstractmethod
    def _run(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        """Those of the outputs ``names`` that the graph has."""

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.card.outputs)


def joined(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Concatenate one output of several calls; a single call's is returned as it is."""
    return np.concatenate(parts) if len(parts) > 1 else np.asarray(parts[0])


def first_line(error: Exception) -> str:
    """Return the first line of a runtime's error, printable: it may contain names from the file."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])[:500]


def check_ends(
    path: Path, card: GraphCard, *, inputs: list[str], outputs: list[str], sides: dict[str, object], size: object
) -> None:
    """Raise ``WeightsError`` unless a graph has its card's inputs and outputs; ``sides`` are the outputs' last axes."""
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
