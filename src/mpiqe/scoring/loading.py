"""Load a scorer by the name of its weights."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from mpiqe import bounds
from mpiqe.choices import CropMode, Runtime, ScoringPrecision
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.extras import needing
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.scoring.graph import CARD, ONNX, read_card
from mpiqe.scoring.predictor import Predictor
from mpiqe.scoring.scorer import Scorer

EMBEDDED = "embedded"


def load(
    weights: str | Path | None = None,
    *,
    backbone: str | Path | None = None,
    runtime: Runtime = "auto",
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
    """A ``Scorer`` with the weights in a run folder, a checkpoint file, a hub id or an exported folder.

    Without ``weights`` it is the embedded model. ``backbone``: where the backbone of ``weights`` lies now, if not where
    it was trained. ``crops``: per photo, by default as many as in training; ``view_side`` and ``crop_mode`` are the
    model's own too if not given. The others are the ``Scorer``'s own.

    ``runtime``: ``onnx`` (ONNX Runtime, fp32), ``openvino`` (bf16 where the CPU has it), ``torch`` (every device), or
    ``auto``. The first two run exported folders and the embedded model, on the CPU; ``auto`` takes the first that can
    do what is asked, and torch for checkpoints. ``device``: ``auto``, ``cpu``, ``cuda`` or ``mps``. ``precision``:
    ``fp32``, ``bf16``, or ``auto``, the runtime's own; torch's is bf16 on CUDA and fp32 elsewhere. ``threads`` compute
    the model, as many as the runtime chooses if not given; torch's are those of the whole process.

    Raises ``WeightsError`` for weights that are missing, damaged or foreign, ``ConfigError`` for a device or an extra
    that is not there and for invalid options.
    """
    for name, value, known in (("runtime", runtime, Runtime), ("precision", precision, ScoringPrecision)):
        if value not in get_args(known):
            raise ConfigError(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}")
    if threads is not None and (fault := bounds.whole_number("threads", threads, most=bounds.MOST_THREADS)):
        raise ConfigError(fault)
    graph = _graph(weights)
    chosen = _runtime(runtime, graph, on_cpu=device in ("auto", "cpu"), precision=precision, backbone=backbone)
    predictor, trained_with = _predictor(
        chosen, graph, weights=weights, backbone=backbone, device=device, precision=precision, threads=threads
    )
    return Scorer(
        predictor=predictor,
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


def _graph(weights: str | Path | None) -> Path | None:
    """The folder of a graph, if that is what ``weights`` are; the embedded model has one beside its checkpoint."""
    if weights is None or weights == EMBEDDED:
        return embedded_folder()
    return Path(weights) if (Path(weights) / CARD).is_file() else None


def version_of_folder(weights: str | Path | None) -> str | None:
    """What names the model of an exported folder and its version; ``None`` for what has to be loaded to know."""
    graph = _graph(weights)
    return read_card(graph).scale.model if graph else None


def _runtime(
    asked: Runtime, graph: Path | None, *, on_cpu: bool, precision: ScoringPrecision, backbone: str | Path | None
) -> Runtime:
    kept_apart = graph is not None and graph != embedded_folder()  # no checkpoint lies beside it
    if asked == "torch" and kept_apart:
        raise ConfigError(
            f"{graph} holds an exported graph, which torch does not run; name the run that it was made from"
        )
    if asked in ("onnx", "openvino"):
        if graph is None:
            raise ConfigError(
                f"{asked} runs exported models; write one with mpiqe export DIR --weights .. and load DIR"
            )
        if not on_cpu:
            raise ConfigError(f"the runtime {asked} computes on the CPU; take the runtime torch for other devices")
        if asked == "onnx" and precision == "bf16":
            raise ConfigError("ONNX Runtime computes in fp32 here; for bf16 take the runtime openvino or torch")
    if asked != "auto":
        return asked
    if graph is None or (not kept_apart and (backbone is not None or not on_cpu)):
        return "torch"
    if not on_cpu:
        raise ConfigError(f"{graph} holds an exported graph, which runs on the CPU; name the run for other devices")
    if precision == "bf16" or not (graph / ONNX).is_file():
        return "torch" if not kept_apart and find_spec("torch") and not find_spec("openvino") else "openvino"
    return "onnx"


def _predictor(
    runtime: Runtime,
    graph: Path | None,
    *,
    weights: str | Path | None,
    backbone: str | Path | None,
    device: str,
    precision: ScoringPrecision,
    threads: int | None,
) -> tuple[Predictor, int]:
    """Return the predictor, and the number of crops per image in training."""
    if graph and runtime == "onnx":
        from mpiqe.scoring.onnx_predictor import OnnxPredictor

        light = OnnxPredictor(graph, threads=threads)
        if precision not in ("auto", light.card.precision):
            raise ConfigError(f"{graph} was exported in {light.card.precision}, and {precision} was asked for")
        return light, light.card.crops
    if graph and runtime == "openvino":
        from mpiqe.scoring.openvino_predictor import OpenVINOPredictor

        quick = OpenVINOPredictor(graph, precision=precision, threads=threads)
        return quick, quick.card.crops
    with needing("to run a checkpoint"):
        from mpiqe.model.checkpoint import load_checkpoint
        from mpiqe.scoring.torch_predictor import TorchPredictor, version_of
    if threads:
        import torch

        torch.set_num_threads(threads)
    model, config = load_checkpoint(embedded_folder() if weights is None else weights, backbone=backbone)
    version = read_card(graph).version if graph else ""  # the embedded model's: the same in every runtime
    version = version or version_of(model, config)
    model.clip.fuse()
    return TorchPredictor(model=model, config=config, device=device, precision=precision, version=version), config.crops


def embedded_folder() -> Path:
    """Return the folder of the embedded model; raises ``WeightsError`` for an install without it."""
    folder = Path(str(files("mpiqe") / "weights"))
    if not (folder / CARD).is_file():
        raise WeightsError(
            f"this copy of mpiqe was installed without the embedded model ({folder / CARD} is missing); install a "
            "released package, or name other weights: a run folder, a .safetensors file or a hub id"
        )
    return folder
