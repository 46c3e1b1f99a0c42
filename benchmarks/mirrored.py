"""What pooling over a photo and its mirror image is worth to a head on the stem, on validation photos.

    python benchmarks/mirrored.py --data csv:biq2021.csv [--root DIR] [--labels LIQE_DIR] [--split 1]
        [--backbone embedded] [--seeds 4] [--width 128] [--layers 1] [--members 1]

Whole photos, resized to the side of the backbone's crops. Heads of ``--width`` hidden units (`mpiqe train --stem-head
--stem-head-width 128 --stem-head-layers 1 --stem-head-members 1` has it) are fitted to the pooled features of the
split's training photos and asked about its validation photos: of the photo alone, and of the mean over photo and mirror
image. Printed are the SRCC of each, mean, lowest and highest over seeds. The test photos are not looked at.
"""

import argparse
import statistics
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe import metrics
from mpiqe.data import choose_split, read_dataset
from mpiqe.data.crop_dataset import CropDataset, loader
from mpiqe.data.record import Record
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.stem_head import fit_members, predict_crops
from mpiqe.view import View


def pooled(clip: FrozenCLIP, records: list[Record]) -> Tensor:
    """Pooled features of every photo, (n, 1, F)."""
    photos = CropDataset(
        records, size=clip.image_size, count=1, seed=0, crops="grid", view=View("square", clip.image_size)
    )
    found = []
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in loader(photos, batch_size=16, shuffle=False, workers=0):
            features = cast("Tensor", clip.embed(clip.preprocess(batch.crops.flatten(0, 1))).pooled)
            found.append(features.float()[:, None])
    return torch.cat(found)


def main() -> None:
    """One line for each kind of pooling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--split", type=int, default=1)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--members", type=int, default=1)
    asked = parser.parse_args()
    dataset = read_dataset(asked.data, root=asked.root, labels=asked.labels)
    split = choose_split(dataset, asked.split)
    train, val = ([dataset.records[index] for index in side] for side in (split.train, split.val))
    mos = torch.tensor([record.mos for record in train])
    targets, wanted = ((mos - mos.mean()) / mos.std())[:, None], [record.mos for record in val]
    clip = FrozenCLIP.from_pretrained(asked.backbone)
    if not clip.pooled_width:
        raise SystemExit(f"{clip.name} has no pooled features: it needs an EfficientNet stem")
    for name, mirrored in (("photo alone", False), ("photo and mirror image", True)):
        backbone = clip.with_mirrored_pooling(mirrored)
        known, shown = pooled(backbone, train), pooled(backbone, val)
        found = []
        for seed in range(asked.seeds):
            how = {"width": asked.width, "layers": asked.layers, "members": asked.members, "seed": seed}
            head = fit_members(known, targets, torch.ones(len(train)), loss=F.smooth_l1_loss, **how)
            found.append(metrics.srcc(predict_crops(head, shown).numpy(), wanted))
        spread = f"{min(found):.4f} to {max(found):.4f}, {asked.seeds} seeds"
        print(f"{name}: SRCC {statistics.mean(found):.4f} ({spread}) on {len(val)} validation photos", flush=True)


if __name__ == "__main__":
    main()
