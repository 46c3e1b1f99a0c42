"""What is measured: the same model under every runtime that is installed, each beside its own bare tower.

Knows no torch: with the light install the runtimes that read graphs are measured, without what has to be made by torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from mpiqe.bench.photos import SIZES, make_photo
from mpiqe.bench.signatures import Float, Look
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.runtimes.base import Predictor, Request
from mpiqe.runtimes.graph import CARD, read_card
from mpiqe.runtimes.quantize import quantize, to_int8
from mpiqe.runtimes.registry import RuntimeSpec, measured
from mpiqe.scoring.loading import EMBEDDED, embedded_folder

if TYPE_CHECKING:
    from mpiqe.bench.eager import Eager

Precision = Literal["fp32", "bf16", "int8"]
_TORCH = ("torch", "transformers")
_EXPORT = ("onnx", "onnxscript")


@dataclass(frozen=True)
class Subject:
    """One runtime in one precision."""

    name: str
    predictor: Predictor
    bare: Look | None
    """The bare image tower on crops (N, S, S, 3) uint8, under the same runtime; ``None`` where it cannot be made."""

    @property
    def precision(self) -> Precision:
        """Arithmetic of the matrix products."""
        return cast("Precision", self.name.rpartition("-")[2])


class Source:
    """One model in the forms that the runtimes need, each made when it is first asked for.

    ``weights`` as in ``mpiqe.load``. Files go to ``folder``. ``threads`` is each runtime's own choice if not given.
    """

    def __init__(self, weights: str | Path | None, *, folder: Path, threads: int | None = None) -> None:
        self.weights = EMBEDDED if weights is None else weights
        self.folder = folder
        self.threads = threads

    @property
    def is_graph(self) -> bool:
        """Whether it is an exported graph without the checkpoint that it was made from."""
        return self.weights != EMBEDDED and (Path(self.weights) / CARD).is_file()

    @cached_property
    def eager(self) -> "Eager | None":
        """The torch model, where there can be one."""
        if self.is_graph or _lacking(_TORCH):
            return None
        from mpiqe.bench.eager import Eager

        return Eager(self.weights)

    @property
    def crops(self) -> int:
        """Crops per photo that the model is made for."""
        return self.eager.crops if self.eager else read_card(self.graph).crops

    @cached_property
    def graph(self) -> Path:
        """The folder of its graph; raises ``ConfigError`` where it would have to be exported and cannot be."""
        if self.weights == EMBEDDED:
            return embedded_folder()
        if self.is_graph:
            if self._is_int8:
                raise ConfigError("these weights were exported in int8")
            return Path(self.weights)
        missing = _lacking((*_TORCH, *_EXPORT))
        if missing:
            raise ConfigError(f"these weights have to be exported first, which needs {missing}: not installed")
        from mpiqe.runtimes.export import export

        graph = self.folder / "graph"
        export(self.weights, graph, photos=[make_photo(SIZES[0], seed=0)])
        return graph

    @cached_property
    def int8_graph(self) -> Path:
        """The same with weights of eight bits, however much that costs the answers; raises as ``graph`` does."""
        if self._is_int8:
            return Path(self.weights)
        _check_can_quantise()
        return to_int8(self.graph, self.folder / "int8")

    @property
    def _is_int8(self) -> bool:
        return self.is_graph and read_card(Path(self.weights)).precision == "int8"

    @cached_property
    def bare_int8_graph(self) -> Path | None:
        """The bare tower with weights of eight bits, where it can be exported."""
        if self.bare_graph is None:
            return None
        path = self.folder / "bare-int8.onnx"
        quantize(self.bare_graph, path)
        return path

    @cached_property
    def bare_graph(self) -> Path | None:
        """The bare tower as ONNX, where it can be exported."""
        if self.eager is None or _lacking(_EXPORT):
            return None
        return self.eager.export_bare(self.folder / "bare.onnx")


def build(source: Source, wanted: Sequence[str]) -> tuple[list[Subject], dict[str, str]]:
    """The ``wanted`` runtimes (all there are, if none is named), and for those left out the reason.

    Raises ``ConfigError`` for one that is named and cannot be, or if none can.
    """
    known = measured()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigError(f"there is no runtime {unknown[0]!r} to measure; known are {', '.join(known)}")
    subjects: list[Subject] = []
    left_out: dict[str, str] = {}
    for name in wanted or known:
        try:
            subjects.append(_subject(source, name, known[name]))
        except (ConfigError, WeightsError) as error:
            if wanted:
                raise ConfigError(f"{name} cannot be measured here: {error}") from error
            left_out[name] = str(error)
        else:
            if subjects[-1].bare is None:
                left_out[f"bare tower, {name}"] = (
                    f"it is made with {', '.join((*_TORCH, *_EXPORT))} from a checkpoint"
                    if known[name].name in _BUILDERS
                    else f"none is made for {known[name].title}"
                )
    if not subjects:
        raise ConfigError("no runtime can be measured here: " + "; ".join(left_out.values()))
    return subjects, left_out


def _subject(source: Source, name: str, spec: RuntimeSpec) -> Subject:
    precision = cast("Precision", name.rpartition("-")[2])
    missing = _lacking(spec.packages)
    if missing:
        raise ConfigError(f"{missing} is not installed")
    if spec.name in _BUILDERS:
        return Subject(name, *_BUILDERS[spec.name](source, precision))
    return Subject(name, _loaded(source, spec, precision), None)


def _loaded(source: Source, spec: RuntimeSpec, precision: Precision) -> Predictor:
    """The predictor of a runtime for which nothing else is known here than its row."""
    graph = None
    if spec.graphs:
        graph = source.int8_graph if precision == "int8" else source.graph
    elif source.is_graph:
        raise ConfigError(f"{spec.name} does not run exported graphs")
    request = Request(
        weights=source.weights if graph is None else graph,
        graph=graph,
        device="cpu",
        precision="auto" if precision == "int8" else precision,
        threads=source.threads,
    )
    return spec.load(request).predictor


def _with_torch(source: Source, precision: Precision) -> tuple[Predictor, Look | None]:
    if source.eager is None:
        raise ConfigError("torch does not run exported graphs")
    if precision == "bf16" and not source.eager.computes_in_bf16:
        raise ConfigError("this CPU has no bf16 arithmetic, and torch would be slower in it than in fp32")
    return source.eager.predictor(_float(precision)), source.eager.bare(_float(precision))


def _with_onnx(source: Source, precision: Precision) -> tuple[Predictor, Look | None]:
    from mpiqe.runtimes.onnx import OnnxPredictor
    from mpiqe.runtimes.onnx_runtime import onnx_runtime

    onnxruntime = onnx_runtime()
    eight = precision == "int8"
    predictor = OnnxPredictor(source.int8_graph if eight else source.graph, threads=source.threads)
    bare_graph = source.bare_int8_graph if eight else source.bare_graph
    if bare_graph is None:
        return predictor, None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = source.threads or 0
    session = onnxruntime.InferenceSession(bare_graph, options, providers=["CPUExecutionProvider"])
    if eight:  # one crop at a time, as the predictor does
        return predictor, lambda crops: [session.run(None, {"crops": crop[None]}) for crop in crops]
    return predictor, lambda crops: session.run(None, {"crops": crops})


def _with_openvino(source: Source, precision: Precision) -> tuple[Predictor, Look | None]:
    from mpiqe.runtimes.openvino import OpenVINOPredictor
    from mpiqe.runtimes.openvino_core import openvino_core, openvino_settings

    predictor = OpenVINOPredictor(source.graph, precision=_float(precision), threads=source.threads)
    if source.bare_graph is None:
        return predictor, None
    settings = openvino_settings(precision, threads=source.threads)
    request = openvino_core().compile_model(source.bare_graph, "CPU", settings).create_infer_request()
    return predictor, lambda crops: request.infer([crops], share_inputs=True)


_BUILDERS = {"torch": _with_torch, "onnx": _with_onnx, "openvino": _with_openvino}


def _float(precision: Precision) -> Float:
    return "bf16" if precision == "bf16" else "fp32"


def _check_can_quantise() -> None:
    missing = _lacking(("onnx",))
    if missing:
        raise ConfigError(f"it takes {missing} to make weights of eight bits: not installed")


def _lacking(packages: Sequence[str]) -> str:
    """Those that are not installed, for a sentence; empty if all are."""
    return " and ".join(package for package in packages if find_spec(package) is None)
