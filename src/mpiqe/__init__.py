"""MP-IQE: blind image quality assessment with multi-modal prompts.

::

    scorer = mpiqe.load()
    scorer("photo.jpg").score
    mpiqe.draw(mpiqe.explain(scorer, "photo.jpg")).save("why.png")
    mpiqe.score_to("photos/", "scores.parquet", resume=True)

Importing the package loads none of its dependencies; each name does that when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mpiqe.errors import ConfigError, DatasetError, ImageError, MPIQEError, WeightsError

if TYPE_CHECKING:
    from mpiqe.batch.interrupts import JobInterrupted
    from mpiqe.batch.job import JobResult, score_to
    from mpiqe.batch.progress import Progress
    from mpiqe.publish.folder import save_pretrained
    from mpiqe.publish.upload import push_to_hub
    from mpiqe.runtimes.base import Scale
    from mpiqe.scoring.explanation import Explanation, explain
    from mpiqe.scoring.loading import load
    from mpiqe.scoring.pretrained import from_pretrained
    from mpiqe.scoring.render import draw
    from mpiqe.scoring.score import Score
    from mpiqe.scoring.scorer import Scorer

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
    "Scale",
    "Score",
    "Scorer",
    "WeightsError",
    "__version__",
    "draw",
    "explain",
    "from_pretrained",
    "load",
    "push_to_hub",
    "save_pretrained",
    "score_to",
]

_HOMES = {
    "draw": "mpiqe.scoring.render",
    "explain": "mpiqe.scoring.explanation",
    "from_pretrained": "mpiqe.scoring.pretrained",
    "load": "mpiqe.scoring.loading",
    "push_to_hub": "mpiqe.publish.upload",
    "save_pretrained": "mpiqe.publish.folder",
    "score_to": "mpiqe.batch.job",
    "Explanation": "mpiqe.scoring.explanation",
    "JobInterrupted": "mpiqe.batch.interrupts",
    "JobResult": "mpiqe.batch.job",
    "Progress": "mpiqe.batch.progress",
    "Scale": "mpiqe.runtimes.base",
    "Score": "mpiqe.scoring.score",
    "Scorer": "mpiqe.scoring.scorer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mpiqe")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpiqe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
