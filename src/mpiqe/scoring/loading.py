"""Load a scorer by the name of its weights."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from mpiqe import bounds
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.hub import parse_hub_id
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.option_types import CropMode, ScoringPrecision
from mpiqe.runtimes import registry
from mpiqe.runtimes.base import Loaded, Predictor, Request
from mpiqe.runtimes.graph import CARD, FILE_OF, PACKAGE_FOLDER, read_card
from mpiqe.runtimes.registry import AUTO, RuntimeSpec
from mpiqe.scoring.from_hub import CHECKPOINT, hub_weights
from mpiqe.scoring.scorer import Scorer

EMBEDDED = "embedded"


def load(
    weights: str | Path | None = None,
    *,
    backbone: str | Path | None = None,
    runtime: str = AUTO,
    crops: int | None = None,
    view_side: int | None = None,
    crop_mode: CropMode | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: ScoringPrecision = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    isolate: bool = True,
    read_timeout: float = 60.0,
    threads: int | None = None,
) -> Scorer:
    """A ``Scorer`` with the weights in a run folder, a checkpoint file, an exported folder, or of a model on the hub.

    Without ``weights`` it is the embedded model. ``user/model`` and ``user/model@revision`` are on the Hugging Face
    Hub: the exported graph where there is one, else the checkpoint. ``backbone``: where the backbone of ``weights``
    lies now, if not where it was trained. ``crops``: per photo, by default as many as in training; ``view_side`` and
    ``crop_mode`` are the model's own too if not given. The others are the ``Scorer``'s own.

    ``runtime``: ``auto`` or a row of ``mpiqe.runtimes.registry``: ``onnx`` (ONNX Runtime, fp32), ``openvino`` (bf16
    where the CPU has it), ``torch`` (every device). The first two run exported folders and the embedded model, on the
    CPU; ``auto`` takes the first that can do what is asked, and torch for checkpoints. ``device``: ``auto``, ``cpu``,
    ``cuda`` or ``mps``. ``precision``: ``fp32``, ``bf16``, or ``auto``, the runtime's own; torch's is bf16 on CUDA and
    fp32 elsewhere. ``threads`` compute the model, as many as the runtime chooses if not given; torch's are those of the
    whole process.

    Raises ``WeightsError`` for weights that are missing, damaged or foreign, ``ConfigError`` for a device or an extra
    that is not there and for invalid options.
    """
    for name, value, known in (
        ("runtime", runtime, registry.choices()),
        ("precision", precision, get_args(ScoringPrecision)),
    ):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if threads is not None and (fault := bounds.whole_number("threads", threads, most=bounds.MOST_THREADS)):
        raise ConfigError(fault)
    hub_id = parse_hub_id(weights)
    if hub_id is not None:
        graph_first = prefers_graph(runtime=runtime, device=device, precision=precision, backbone=backbone)
        weights = hub_weights(hub_id, wants_graph=graph_first)
    graph = _graph(weights)
    if runtime == AUTO:
        spec = _first(graph, device=device, precision=precision, backbone=backbone)
    else:
        spec = _named(runtime, graph, device=device, precision=precision)
    weights, backbone = _absolute(weights), _absolute(backbone)
    what = Weights(weights, backbone, spec.name, device, precision, threads)
    predictor, trained_with = what.load()
    return Scorer(
        predictor=predictor,
        reload=what,
        crops=trained_with if crops is None else crops,
        view_side=view_side,
        crop_mode=crop_mode,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        isolate=isolate,
        read_timeout=read_timeout,
    )


@dataclass(frozen=True)
class Weights:
    """What to load, as plain values: what a pickled scorer holds in place of its model."""

    weights: str | Path | None
    backbone: str | Path | None
    runtime: str
    device: str
    precision: ScoringPrecision
    threads: int | None

    def load(self) -> Loaded:
        """Load it; raises as ``mpiqe.load`` does."""
        return registry.RUNTIMES[self.runtime].load(
            Request(
                weights=embedded_folder() if self.weights is None else self.weights,
                graph=_graph(self.weights),
                backbone=self.backbone,
                device=self.device,
                precision=self.precision,
                threads=self.threads,
            )
        )

    def __call__(self) -> Predictor:
        """Load it and return the predictor alone."""
        return self.load().predictor


def _absolute(weights: str | Path | None) -> str | Path | None:
    """A path that another process finds, whatever its working directory; a hub id stays one."""
    if weights is None or weights == EMBEDDED or not Path(weights).exists():
        return weights
    return Path(weights).absolute()


def _graph(weights: str | Path | None) -> Path | None:
    """The folder of a graph, if that is what ``weights`` are; the embedded model has one beside its checkpoint."""
    if weights is None or weights == EMBEDDED:
        return embedded_folder()
    return Path(weights) if (Path(weights) / CARD).is_file() else None


def version_of_folder(weights: str | Path | None) -> str | None:
    """Name and version of an exported folder's model; ``None`` if only loading would tell."""
    graph = _graph(weights)
    return read_card(graph).scale.model if graph else None


def prefers_graph(
    *,
    runtime: str = AUTO,
    device: str = "auto",
    precision: ScoringPrecision = "auto",
    backbone: str | Path | None = None,
) -> bool:
    """Whether a model that has a graph and a checkpoint is to be run as a graph, by what ``load`` is asked for."""
    if runtime in registry.RUNTIMES:
        return bool(registry.RUNTIMES[runtime].graphs)
    return backbone is None and any(
        spec.graphs
        and spec.takes(device)
        and precision in ("auto", *spec.precisions)
        and all(map(find_spec, spec.packages))
        for spec in registry.RUNTIMES.values()
    )


def _named(name: str, graph: Path | None, *, device: str, precision: ScoringPrecision) -> RuntimeSpec:
    """The runtime that was named; raises ``ConfigError`` if it cannot do what is asked."""
    spec, kept_apart = registry.RUNTIMES[name], _is_apart(graph)
    if kept_apart and not spec.graphs:
        raise ConfigError(
            f"{graph} holds an exported graph, which {name} does not run; name the run that it was made from"
        )
    if graph is None and not spec.checkpoints:
        raise ConfigError(f"{name} runs exported models; write one with mpiqe export DIR --weights .. and load DIR")
    if not spec.takes(device):
        own = " and ".join("the CPU" if kind == "cpu" else kind for kind in spec.devices)
        others = " or ".join(other.name for other in registry.RUNTIMES.values() if other.takes(device))
        raise ConfigError(f"the runtime {name} computes on {own}; take the runtime {others} for other devices")
    if precision not in ("auto", *spec.precisions):
        others = " or ".join(other.name for other in registry.RUNTIMES.values() if precision in other.precisions)
        raise ConfigError(
            f"{spec.title} computes in {' and '.join(spec.precisions)} here; for {precision} take the runtime {others}"
        )
    return spec


def _first(graph: Path | None, *, device: str, precision: ScoringPrecision, backbone: str | Path | None) -> RuntimeSpec:
    """The first runtime that can do what is asked, if there is one among those that are installed.

    Raises ``ConfigError`` if none can. What is not installed is chosen where nothing else would do: loading it says
    what to install.
    """
    kept_apart = _is_apart(graph)
    of_graphs = graph is not None and (kept_apart or backbone is None)
    able = [
        spec
        for spec in registry.RUNTIMES.values()
        if ((spec.graphs and of_graphs) or (spec.checkpoints and not kept_apart))
        and spec.takes(device)
        and precision in ("auto", *spec.precisions)
    ]
    if not able and not kept_apart:
        raise ConfigError(
            f"no runtime runs these weights on {device} in {precision}; --device and --precision say what to compute on"
        )
    if not able:
        raise ConfigError(f"{graph} holds an exported graph, which runs on the CPU; name the run for other devices")
    fitting = [spec for spec in able if (spec.checkpoints and not kept_apart) or _reads(spec, graph)]
    if not fitting:
        return max(able, key=lambda spec: len(spec.graphs))  # which says what files are missing
    return next((spec for spec in fitting if all(map(find_spec, spec.packages))), fitting[0])


def _is_apart(graph: Path | None) -> bool:
    """Whether this is a graph without a checkpoint beside it."""
    return graph is not None and not (graph / CHECKPOINT).is_file()


def _reads(spec: RuntimeSpec, graph: Path | None) -> bool:
    return graph is not None and any((graph / FILE_OF[form]).is_file() for form in spec.graphs)


def embedded_folder() -> Path:
    """Return the folder of the embedded model; raises ``WeightsError`` for an install without it."""
    folder = PACKAGE_FOLDER
    if not (folder / CARD).is_file():
        raise WeightsError(
            f"this copy of mpiqe was installed without the embedded model ({folder / CARD} is missing); install a "
            "released package, or name other weights: a run folder, a .safetensors file or a hub id"
        )
    return folder
