"""A predictor that runs a graph with ONNX Runtime: the light path, without torch. Axes: N crops, S pixels of a side."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.images import Pixels
from mpiqe.runtimes.base import Loaded, Request
from mpiqe.runtimes.external_data import check_external_data
from mpiqe.runtimes.graph import INPUT, ONNX, check_files
from mpiqe.runtimes.graph_predictor import GraphPredictor, check_ends, first_line, joined
from mpiqe.runtimes.onnx_runtime import onnx_runtime

_ERRORS_ONLY = 3


def load(request: Request) -> Loaded:
    """Load the graph of ``request``.

    Raises as ``OnnxPredictor`` does, and ``ConfigError`` for another precision than the graph's.
    """
    if request.graph is None:
        raise ConfigError(f"{request.weights} holds no exported graph, which ONNX Runtime needs")
    predictor = OnnxPredictor(request.graph, threads=request.threads)
    own = predictor.card.precision
    if request.precision not in ("auto", own):
        raise ConfigError(f"{request.graph} was exported in {own}, and {request.precision} was asked for")
    return Loaded(predictor, predictor.card.crops)


class OnnxPredictor(GraphPredictor):
    """The graph of a folder on the CPU, in fp32 or what else it was exported in.

    ``threads`` is ONNX Runtime's own choice if not given.

    Raises ``WeightsError`` for a graph that is missing, damaged or foreign.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        super().__init__(folder)
        self.computes = f"onnx {self.card.precision} cpu"
        path = folder / ONNX
        if not path.is_file():
            raise WeightsError(f"there is no {ONNX} in {folder}; mpiqe export --format onnx writes one")
        check_files(folder, self.card)
        check_external_data(path)
        self._session = open_session(path, threads=threads)
        self._wanted_only = onnx_runtime().RunOptions()
        self._wanted_only.add_run_config_entry("only_execute_path_to_fetches", "1")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_ends(
            path,
            self.card,
            inputs=[end.name for end in inputs],
            outputs=[end.name for end in outputs],
            sides={end.name: _axis(end.shape, -1) for end in outputs},
            size=_axis(inputs[0].shape, 1) if inputs else None,
        )

    def _run(self, crops: Pixels, names: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        wanted = self._wanted(names)
        if not wanted:
            return {}
        # eight bits have one scale for all crops of a call, and a crop's answer must not hang on its company
        calls = [crops] if self.card.precision == "fp32" else [crop[None] for crop in crops]
        found: list[list[Any]] = [self._session.run(wanted, {INPUT: call}, self._wanted_only) for call in calls]
        return {name: joined(parts) for name, parts in zip(wanted, zip(*found, strict=True), strict=True)}


def open_session(path: Path, *, threads: int | None = None, optimised: bool = True) -> Any:
    """ONNX Runtime's session for a graph on the CPU. Raises ``WeightsError`` for one that it refuses."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        raise WeightsError(f"{path} cannot be loaded, damaged or incomplete: {first_line(error)}") from error


def _axis(shape: list[Any] | None, index: int) -> Any:
    """An axis of a graph's end; ``None`` where there is none."""
    return shape[index] if shape and len(shape) > abs(index) else None
