"""A predictor that runs a graph with OpenVINO, in bf16 where the CPU multiplies it. Axes: N crops, S pixels of a side.

Scoring and looking are two models, each without the other's outputs.

In bf16 a product of few rows is summed otherwise than one of many, so that a crop's answer would depend on how many
crops it came with, by up to 0.005 in a probability. So all calls in bf16 have the same number of crops, and the last
ones of a call are filled up with black ones.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError, MPIQEError, WeightsError
from mpiqe.images import Pixels
from mpiqe.option_types import ScoringPrecision
from mpiqe.printable import printable
from mpiqe.runtimes import registry
from mpiqe.runtimes.base import Loaded, Request
from mpiqe.runtimes.external_data import check_external_data
from mpiqe.runtimes.graph import ONNX, OPENVINO, PACKAGE_FOLDER, check_files
from mpiqe.runtimes.graph_predictor import SCORING, GraphPredictor, check_ends, joined
from mpiqe.runtimes.onnx import open_session
from mpiqe.runtimes.openvino_core import openvino_core, openvino_settings

if TYPE_CHECKING:
    import openvino


BF16_CROPS = 8
"""In every call in bf16. More would cost photos of few crops more, and calls of fewer are slower for all."""


def load(request: Request) -> Loaded:
    """Load the graph of ``request``; raises as ``OpenVINOPredictor``."""
    if request.graph is None:
        raise ConfigError(f"{request.weights} holds no exported graph, which OpenVINO needs here")
    predictor = OpenVINOPredictor(request.graph, precision=request.precision, threads=request.threads)
    return Loaded(predictor, predictor.card.crops)


class OpenVINOPredictor(GraphPredictor):
    """The graph of a folder on the CPU. ``precision``: ``fp32``, ``bf16``, or ``auto``, which is bf16 in hardware.

    ``threads`` is OpenVINO's own choice if not given. It reads ONNX graphs too. Raises ``WeightsError`` for a graph
    that is missing, damaged or foreign, ``ConfigError`` where OpenVINO is not installed or the CPU has no bf16.
    """

    def __init__(self, folder: Path, *, precision: ScoringPrecision = "auto", threads: int | None = None) -> None:
        core = openvino_core()
        super().__init__(folder)
        if self.card.precision != "fp32":
            own = self.card.precision
            others = [spec.name for spec in registry.RUNTIMES.values() if own in spec.graph_precisions]
            raise ConfigError(f"{folder} was exported in {own}, which the runtime {' or '.join(others)} runs")
        paths = [folder / name for name in (OPENVINO, ONNX) if (folder / name).is_file()]
        if not paths:
            raise WeightsError(f"there is neither {OPENVINO} nor {ONNX} in {folder}; mpiqe export writes one")
        self.precision = _precision(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        self.computes = f"openvino {self.precision} cpu"
        self._crops_a_call = BF16_CROPS if self.precision == "bf16" else None
        self.crops_at_once = max(self.crops_at_once, self._crops_a_call or 0)
        self._compile = core.compile_model
        self._lock = threading.Lock()
        self._settings = openvino_settings(self.precision, threads=threads)
        check_files(folder, self.card)
        if paths[0].name == ONNX:
            check_external_data(paths[0])
            if folder.resolve() != PACKAGE_FOLDER.resolve():  # OpenVINO dies of axes that do not fit
                open_session(paths[0], threads=1, optimised=False)
        else:
            _check_is_xml(paths[0])
        try:
            self._model = core.read_model(paths[0])
            names = [[end.any_name for end in ends] for ends in (self._model.inputs, self._model.outputs)]
            check_ends(
                paths[0],
                self.card,
                inputs=names[0],
                outputs=names[1],
                sides={end.any_name: _axis(end, -1) for end in self._model.outputs},
                size=_axis(self._model.inputs[0], 1) if names[0] else None,
            )
            self._requests: dict[tuple[str, ...], openvino.InferRequest] = {}
            self._request(self._wanted(SCORING))
        except MPIQEError:
            raise
        except Exception as error:  # RuntimeError, UnicodeDecodeError for text that is none, and whatever else comes
            said = printable((str(error).strip().splitlines() or [type(error).__name__])[-1])
            raise WeightsError(f"{paths[0]} cannot be loaded, damaged or incomplete: {said}") from error

    def _run(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        wanted = self._wanted(names)
        if not wanted:
            return {}
        step = self._crops_a_call or len(crops)
        with self._lock:  # a request holds one answer, and the next one is written over it
            parts = [self._call(wanted, crops[start : start + step], step) for start in range(0, len(crops), step)]
        return {name: joined(found) for name, found in zip(wanted, zip(*parts, strict=True), strict=True)}

    def _call(self, wanted: tuple[str, ...], crops: Pixels, step: int) -> list[NDArray[np.float32]]:
        """The outputs for ``step`` crops at most, as what they are among ``step`` of them."""
        count = len(crops)
        if count < step:
            filled = np.zeros((step, *crops.shape[1:]), dtype=crops.dtype)
            filled[:count] = crops
            crops = filled
        found = self._request(wanted).infer([crops], share_inputs=True)
        answers = [np.array(found[index]) for index in range(len(wanted))]
        return [values[:count] if np.shape(values)[:1] == (step,) else values for values in answers]  # checked later

    def _request(self, names: tuple[str, ...]) -> "openvino.InferRequest":
        """What computes these outputs and nothing else."""
        import openvino

        if names not in self._requests:
            outputs = [self._model.output(name) for name in names]
            part = openvino.Model(outputs, self._model.get_parameters())
            self._requests[names] = self._compile(part, "CPU", self._settings).create_infer_request()
        return self._requests[names]


def _check_is_xml(path: Path) -> None:
    """Raise ``WeightsError`` for what OpenVINO would read as another format: it goes by content, not by name."""
    try:
        with path.open("rb") as file:
            is_xml = file.read(1) == b"<"
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if not is_xml:
        raise WeightsError(f"{path} cannot be loaded, damaged or incomplete: it is no XML; export the model anew")


def _axis(end: "openvino.Output", index: int) -> int | None:
    """An axis of a graph's end; ``None`` where it is open, or there is none."""
    shape = list(end.get_partial_shape())
    return shape[index].get_length() if len(shape) > 1 and shape[index].is_static else None


def _precision(asked: ScoringPrecision, capabilities: list[str]) -> str:
    if asked == "bf16" and "BF16" not in capabilities:
        raise ConfigError("this CPU has no bf16 arithmetic that OpenVINO could use; take --precision fp32")
    return "bf16" if asked == "bf16" or (asked == "auto" and "BF16" in capabilities) else "fp32"
