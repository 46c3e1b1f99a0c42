"""MP-IQE: blind image quality assessment with multi-modal prompts.

::

    scorer = mpiqe.load()
    scorer("photo.jpg").score
    mpiqe.draw(mpiqe.explain(scorer, "photo.jpg")).save("why.png")
    mpiqe.score_to("photos/", "scores.parquet", resume=True)
    mpiqe.torch.create_metric()(images)  # (N, 3, H, W) -> (N,)

Importing the package loads none of its dependencies; each name does that when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mpiqe.errors import ConfigError, DatasetError, ImageError, MPIQEError, WeightsError

if TYPE_CHECKING:
    from mpiqe.batch.interrupts import JobInterrupted
    from mpiqe.batch.job import JobResult, score_to
    from mpiqe.batch.progress import Progress
    from mpiqe.pipelines.frames import score_frame
    from mpiqe.pipelines.huggingface import hf
    from mpiqe.pipelines.ray_data import RayScorer
    from mpiqe.pipelines.webdataset import webdataset
    from mpiqe.publish.folder import save_pretrained
    from mpiqe.publish.upload import push_to_hub
    from mpiqe.runtimes.base import Scale
    from mpiqe.scoring.explanation import Explanation, explain
    from mpiqe.scoring.loading import load
    from mpiqe.scoring.pretrained import from_pretrained
    from mpiqe.scoring.render import draw
    from mpiqe.scoring.score import Score
    from mpiqe.scoring.scorer import Scorer
    from mpiqe.torch.reward import reward

    __version__: str

__all__ = [
    "ConfigError",
    "DatasetError",
    "Explanation",
    "ImageError",
    "JobInterrupted",
    "JobResult",
    "MPIQEError",
    "Progress",
    "RayScorer",
    "Scale",
    "Score",
    "Scorer",
    "WeightsError",
    "__version__",
    "draw",
    "explain",
    "from_pretrained",
    "hf",
    "load",
    "push_to_hub",
    "reward",
    "save_pretrained",
    "score_frame",
    "score_to",
    "webdataset",
]

_HOMES = {
    "draw": "mpiqe.scoring.render",
    "explain": "mpiqe.scoring.explanation",
    "from_pretrained": "mpiqe.scoring.pretrained",
    "hf": "mpiqe.pipelines.huggingface",
    "load": "mpiqe.scoring.loading",
    "push_to_hub": "mpiqe.publish.upload",
    "reward": "mpiqe.torch.reward",
    "save_pretrained": "mpiqe.publish.folder",
    "score_frame": "mpiqe.pipelines.frames",
    "score_to": "mpiqe.batch.job",
    "webdataset": "mpiqe.pipelines.webdataset",
    "Explanation": "mpiqe.scoring.explanation",
    "JobInterrupted": "mpiqe.batch.interrupts",
    "JobResult": "mpiqe.batch.job",
    "Progress": "mpiqe.batch.progress",
    "RayScorer": "mpiqe.pipelines.ray_data",
    "Scale": "mpiqe.runtimes.base",
    "Score": "mpiqe.scoring.score",
    "Scorer": "mpiqe.scoring.scorer",
}
_MODULES = ("torch", "torchmetrics")  # that can be used without a further import


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mpiqe")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"mpiqe.{name}")
    raise AttributeError(f"module 'mpiqe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
