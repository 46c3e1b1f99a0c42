"""A predictor that runs a graph with ONNX Runtime: the light path, without torch. Axes: N crops, S pixels of a side."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.images import Pixels
from mpiqe.scoring.graph import INPUT, ONNX, GraphCard, read_card
from mpiqe.scoring.predictor import Gaze, Prediction

CROPS_AT_ONCE = 16  # more are no quicker on a CPU and take more memory
_ERRORS_ONLY = 3


class OnnxPredictor:
    """The graph of a folder on the CPU in fp32; ``threads`` is ONNX Runtime's own choice if not given.

    Raises ``WeightsError`` for a graph that is missing, damaged or foreign.
    """

    computes = "onnx fp32 cpu"

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        import onnxruntime

        self.card = read_card(folder)
        path = folder / ONNX
        if not path.is_file():
            raise WeightsError(f"there is no {ONNX} in {folder}; mpiqe export --format onnx writes one")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            raise WeightsError(f"{path} cannot be loaded, damaged or incomplete: {_first_line(error)}") from error
        self._wanted_only = onnxruntime.RunOptions()
        self._wanted_only.add_run_config_entry("only_execute_path_to_fetches", "1")
        check_ends(
            path,
            self.card,
            inputs=[end.name for end in self._session.get_inputs()],
            outputs=[end.name for end in self._session.get_outputs()],
            sides={end.name: end.shape[-1] for end in self._session.get_outputs()},
            size=self._session.get_inputs()[0].shape[1],
        )
        self.crop_size, self.scale = self.card.crop_size, self.card.scale
        self.scenes, self.distortions = self.card.scenes, self.card.distortions
        self.window_temperature = self.card.window_temperature
        self.crops_at_once = CROPS_AT_ONCE

    def predict(self, crops: Pixels) -> Prediction:
        """Answer for RGB crops (N, S, S, 3) uint8."""
        return prediction(self._run(crops, ("score", "scene", "distortion")), crops)

    def gaze(self, crops: Pixels) -> Gaze:
        """Where it looks in RGB crops (N, S, S, 3) uint8."""
        return gaze(self._run(crops, ("similarity", "attention")), crops)

    def _run(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        wanted = [name for name in names if name in self.card.outputs]
        if not wanted:
            return {}
        found: list[Any] = self._session.run(wanted, {INPUT: crops}, self._wanted_only)
        return dict(zip(wanted, found, strict=True))


def prediction(found: dict[str, NDArray[np.float32]], crops: Pixels) -> Prediction:
    """A graph's outputs by name -> its answer for N crops."""
    none = np.zeros((len(crops), 0), dtype=np.float32)
    return Prediction(found["score"], found.get("scene", none), found.get("distortion", none))


def gaze(found: dict[str, NDArray[np.float32]], crops: Pixels) -> Gaze:
    """A graph's outputs by name -> where it looks in N crops; raises ``ConfigError`` for one that cannot tell."""
    if "attention" not in found:
        raise ConfigError(
            "this model looks at the whole crop at once, so there is no map of where; take an MP-IQE model"
        )
    return Gaze(found.get("similarity", np.zeros((len(crops), 1, 1, 0), dtype=np.float32)), found["attention"])


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
