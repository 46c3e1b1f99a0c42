"""Linear probe: a ridge regression on features of the frozen towers, to hold what is trained against.

Axes: n images, K crops of an image, F features, D joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator

from mpiqe import metrics
from mpiqe.data.crop_dataset import CropDataset, loader
from mpiqe.data.record import Record, Split
from mpiqe.errors import DatasetError
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.options import RunOptions
from mpiqe.training.reporter import Reporter

Floats = npt.NDArray[np.float64]

ALPHAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 13))
"""0.01 to 1,000,000, two a decade, for features of deviation 1."""
PROBE, POOLED = "probe", "pooled"
"""The two kinds of features that ``extract_features`` finds."""


class Linear(NamedTuple):
    """score = intercept + weights . (features - mean) / deviation"""

    mean: Floats
    """(F,) of the features that it was fitted on."""
    deviation: Floats
    """(F,); 1 for a constant one."""
    weights: Floats
    """(F,) in MOS units."""
    intercept: float
    """Mean MOS."""

    def __call__(self, features: Floats) -> Floats:
        """(n, F) -> (n,) scores in MOS units."""
        return self.intercept + (features - self.mean) / self.deviation @ self.weights


@dataclass(frozen=True)
class Probed:
    """What the probe chose and what it says of the test images."""

    alpha: float
    """The penalty that was taken."""
    validation: dict[float, float]
    """RMSE on the validation images by alpha."""
    scores: Floats
    """In the order of ``Split.test``, in MOS units."""


def ridge(features: Floats, mos: Floats, alphas: Sequence[float]) -> list[Linear]:
    """For each alpha the minimum of |mos - score|^2 + alpha |weights|^2, the intercept being free; features (n, F)."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-9 * np.abs(mean).max(initial=1.0), deviation, 1.0)  # a constant says nothing
    intercept = float(mos.mean())
    u, s, v = np.linalg.svd((features - mean) / deviation, full_matrices=False)
    projected = u.T @ (mos - intercept)
    return [Linear(mean, deviation, v.T @ (s / (s**2 + alpha) * projected), intercept) for alpha in alphas]


def probe(
    features: Floats, mos: Floats, split: Split, *, trained: Sequence[int], alphas: Sequence[float] = ALPHAS
) -> Probed:
    """Choose alpha on ``split.val`` after learning from ``split.train``; learn from ``trained``; score ``split.test``.

    The choice is by RMSE: by SRCC nothing would keep scores from shrinking to the mean. Of two alphas that are equally
    good the larger one is taken. Raises ``DatasetError`` without validation images.
    """
    learn, val, last = list(split.train), list(split.val), list(trained)
    if not val:
        raise DatasetError("the linear probe chooses its penalty on validation images, and this split has none")
    fits = ridge(features[learn], mos[learn], alphas)
    found = {alpha: metrics.rmse(fit(features[val]), mos[val]) for alpha, fit in zip(alphas, fits, strict=True)}
    alpha = min(alphas, key=lambda value: (found[value], -value))
    (final,) = ridge(features[last], mos[last], [alpha])
    return Probed(alpha, found, final(features[list(split.test)]))


def extract_features(
    clip: FrozenCLIP,
    records: Sequence[Record],
    settings: RunOptions,
    *,
    accelerator: Accelerator,
    reporter: Reporter,
) -> dict[str, Floats]:
    """Means over the K crops of each image that evaluation takes, by kind.

    ``PROBE`` (n, 2 D) is CLS and mean patch side by side, both after CLIP's projection; ``POOLED`` (n, F) the pooled
    features of an EfficientNet stem, where the backbone has one.
    """
    clip.to(accelerator.device)
    crops = settings.crops
    pixels = CropDataset(
        records, size=clip.image_size, count=crops, seed=0, crops=settings.crop_mode, view=settings.view
    )
    widths = {PROBE: 2 * clip.joint_width, POOLED: clip.pooled_width}
    found = {name: torch.zeros(len(records), width, dtype=torch.float64) for name, width in widths.items() if width}
    done = 0
    with torch.inference_mode(), accelerator.autocast():
        for batch in loader(pixels, batch_size=16, shuffle=False, workers=settings.workers or 0):
            flat = batch.crops.flatten(0, 1).to(accelerator.device)  # (B, K, 3, S, S) -> (B K, 3, S, S)
            embedded = clip.embed(clip.preprocess(flat))
            cls, patches = clip.encode_patches(embedded.patches)
            of_crops = {PROBE: torch.cat([clip.project(cls), clip.project(patches.mean(dim=1))], dim=1)}
            if embedded.pooled is not None:
                of_crops[POOLED] = embedded.pooled
            for name, each in of_crops.items():
                found[name][batch.index] = each.double().cpu().view(-1, crops, each.shape[1]).mean(dim=1)
            done += len(batch.index)
            if done % 320 < len(batch.index):
                reporter.note(f"features of {done} of {len(records)} images")
    return {name: np.asarray(values.numpy()) for name, values in found.items()}
