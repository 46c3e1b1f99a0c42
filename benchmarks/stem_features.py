"""What published EfficientNet-Lite features know of quality before any training: a ridge on them, by cross-validation.

    python benchmarks/stem_features.py --data livec --root DIR --labels LIQE_DIR [--split 1] [--view-side 384]
        [--view-shape square] [--size 224] [--crops 4] [--variants efficientnet-lite0 ..]

Uses the training and validation images of the split alone, in five folds. For each network the SRCC of the last map's
mean, and of that with mean and deviation of five earlier maps; the alpha of the ridge is the best of six, so figures
flatter a little and alike. They choose a stem and a view; they are no result on test images.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpiqe import metrics
from mpiqe.data import choose_split, read_dataset
from mpiqe.data.crop_dataset import CropDataset, loader
from mpiqe.data.record import Record
from mpiqe.model.efficientnet import (
    PIXEL_MEAN,
    PIXEL_STD,
    VARIANTS,
    WHOLE_MAPS,
    EfficientNetLite,
    published_weights,
)
from mpiqe.view import View

Floats = npt.NDArray[np.float64]
ALPHAS = (30, 100, 300, 1000, 3000, 10_000)
FOLDS = 5


def features_of(network: EfficientNetLite, crops: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 crops (B, 3, S, S) -> the last map's mean (B, 1280), and mean and deviation of five earlier maps."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    maps = network.maps(((crops.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last))
    earlier = [maps[index].float() for index in WHOLE_MAPS]
    statistics = [part for each in earlier for part in (each.mean(dim=(2, 3)), each.std(dim=(2, 3)))]
    return maps[-1].float().mean(dim=(2, 3)), torch.cat(statistics, dim=1)


def extract(variant: str, records: list[Record], *, size: int, crops: int, view: View) -> tuple[Floats, Floats]:
    """Both kinds of features of every image, mean over its crops."""
    network = EfficientNetLite(variant)
    network.load_state_dict(published_weights(variant))
    network.eval().to(memory_format=torch.channels_last)
    pixels = CropDataset(records, size=size, count=crops, seed=0, crops="grid", view=view)
    found: list[list[Tensor]] = [[], []]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in loader(pixels, batch_size=16, shuffle=False, workers=0):
            for kept, features in zip(found, features_of(network, batch.crops.flatten(0, 1)), strict=True):
                kept.append(features.view(-1, crops, features.shape[1]).mean(dim=1))
    last, earlier = (torch.cat(each).double().numpy() for each in found)
    return last, earlier


def cross_validated(features: Floats, mos: Floats) -> float:
    """The best SRCC over ``ALPHAS`` of out-of-fold scores."""
    fold = np.random.default_rng(0).permutation(len(mos)) % FOLDS
    scores = np.zeros((len(ALPHAS), len(mos)))
    for number in range(FOLDS):
        learn, ask = fold != number, fold == number
        mean, deviation = features[learn].mean(axis=0), features[learn].std(axis=0) + 1e-6
        known, asked = (features[learn] - mean) / deviation, (features[ask] - mean) / deviation
        u, s, v = np.linalg.svd(known, full_matrices=False)
        projected = u.T @ (mos[learn] - mos[learn].mean())
        for row, alpha in enumerate(ALPHAS):
            scores[row, ask] = asked @ (v.T @ (s / (s**2 + alpha) * projected)) + mos[learn].mean()
    return max(metrics.srcc(row, mos) for row in scores)


def main() -> None:
    """One line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    for name in ("root", "labels"):
        parser.add_argument(f"--{name}", type=Path)
    for name, default in (("split", 1), ("view-side", 384), ("size", 224), ("crops", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--view-shape", choices=("photo", "square"), default="photo")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    dataset = read_dataset(given.data, root=given.root, labels=given.labels)
    split = choose_split(dataset, given.split)
    records = [dataset.records[index] for index in sorted((*split.train, *split.val))]
    mos = np.array([record.mos for record in records])
    view = View.of_side(given.view_side, square=given.view_shape == "square")
    print(f"{dataset.name}, split {given.split}: {len(records)} images, {given.crops} crops of {given.size} pixels")
    for variant in given.variants:
        last, earlier = extract(variant, records, size=given.size, crops=given.crops, view=view)
        both = np.concatenate([last, earlier], axis=1)
        print(
            f"{variant}: last map {cross_validated(last, mos):.4f}, with earlier ones {cross_validated(both, mos):.4f}"
        )


if __name__ == "__main__":
    main()
