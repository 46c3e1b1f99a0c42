"""From a name to a scorer."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mpiqe.errors import WeightsError
from mpiqe.images import DEFAULT_MAX_PIXELS, CropMode
from mpiqe.scoring.scorer import Scorer

if TYPE_CHECKING:
    from mpiqe.scoring.torch_predictor import Precision


def load(
    weights: str | Path | None = None,
    *,
    backbone: str | Path | None = None,
    crops: int | None = None,
    crop_mode: CropMode = "seeded",
    seed: int = 0,
    batch_size: int = 16,
    workers: int | None = None,
    device: str = "auto",
    precision: "Precision" = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Scorer:
    """A ``Scorer`` with the weights in a run folder, a checkpoint file or a hub id; by default the embedded model.

    ``backbone``: where the backbone of ``weights`` lies now, if not where it was trained. ``crops``: per photo, by
    default as many as in training. ``device``: ``auto``, ``cpu``, ``cuda`` or ``mps``. ``precision``: ``fp32``,
    ``bf16``, or ``auto``, which is bf16 on CUDA and fp32 elsewhere. The others are the ``Scorer``'s own.

    Raises ``WeightsError`` for weights that are missing, damaged or foreign, ``ConfigError`` for a device that is not
    there and for options that cannot be meant.
    """
    from mpiqe.model.checkpoint import load_checkpoint
    from mpiqe.scoring.torch_predictor import TorchPredictor

    model, config = load_checkpoint(_embedded() if weights is None else weights, backbone=backbone)
    model.clip.fuse()
    return Scorer(
        predictor=TorchPredictor(model=model, config=config, device=device, precision=precision),
        crops=config.crops if crops is None else crops,
        crop_mode=crop_mode,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
    )


def _embedded() -> Path:
    path = Path(str(files("mpiqe") / "weights" / "mpiqe.safetensors"))
    if not path.is_file():
        raise WeightsError(
            f"this copy of mpiqe was installed without the embedded model ({path} is missing); install a released "
            "package, or name other weights: a run folder, a .safetensors file or a hub id"
        )
    return path
