"""What ranked images cost a head on rated photos, and what they teach it, on validation photos.

    python benchmarks/ranked_heads.py --data csv:biq2021.csv [--data livec] [--root DIR] [--labels LIQE_DIR]
        --ranked csv:made.csv --shown csv:made_val/labels.csv [--split 1] [--backbone embedded] [--seeds 2]
        [--width 128] [--layers 1] [--members 1]

Heads (`mpiqe train --stem-head --stem-head-width .. --ranked-data csv:made.csv`) are fitted to the pooled features of
the split's training photos, every set counting equally, without and with the images of ``--ranked``. Printed are the
SRCC on the validation photos of each set, and how well the images of ``--shown`` are ordered: the mean over references
and distortion classes of Spearman's correlation of score and MOS. Both ``--ranked`` and ``--shown`` are sets as `mpiqe
data synthesize` writes them; those of ``--shown`` should be of validation photos. Means over seeds, and lowest and
highest. The test photos are not looked at.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mirrored import pooled
from torch import Tensor, nn

from mpiqe import metrics
from mpiqe.data import choose_split, read_dataset
from mpiqe.data.record import Record
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.stem_head import Ranked, fit_members, pairs_of, predict_crops


def order(head: nn.Module, features: Tensor, records: Sequence[Record]) -> float:
    """Mean Spearman correlation of score and MOS within a reference's images of one class, its best among them."""
    scores, groups = predict_crops(head, features).tolist(), defaultdict(list)
    best: dict[str | None, int] = {}
    for index, record in enumerate(records):
        best[record.reference] = max(best.get(record.reference, index), index, key=lambda each: records[each].mos)
        if record.distortion:
            groups[record.reference, record.distortion].append(index)
    found = []
    for (reference, _), indices in groups.items():
        rows = [*indices, best[reference]]
        found.append(metrics.srcc([scores[row] for row in rows], [records[row].mos for row in rows]))
    return statistics.mean(found)


def main() -> None:
    """Two lines: without the ranked images, and with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, action="append")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--ranked", required=True)
    parser.add_argument("--shown", required=True)
    parser.add_argument("--split", type=int, default=1)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--members", type=int, default=1)
    asked = parser.parse_args()
    clip = FrozenCLIP.from_pretrained(asked.backbone)
    known, targets, weights, val = [], [], [], {}
    for name in asked.data:
        own = not name.startswith("csv:")
        dataset = read_dataset(name, root=asked.root if own else None, labels=asked.labels if own else None)
        split = choose_split(dataset, asked.split)
        train, held = ([dataset.records[index] for index in side] for side in (split.train, split.val))
        mos = torch.tensor([record.mos for record in train])
        known.append(pooled(clip, train))
        targets.append((mos - mos.mean()) / mos.std())
        weights.append(torch.full((len(train),), 1 / len(train)))
        val[dataset.name] = pooled(clip, held), [record.mos for record in held]
    ranked, shown = (read_dataset(each).records for each in (asked.ranked, asked.shown))
    pairs = Ranked(pooled(clip, list(ranked)), torch.tensor(pairs_of(ranked)))
    seen = pooled(clip, list(shown))
    features, column, weight = torch.cat(known), torch.cat(targets)[:, None], torch.cat(weights)
    for title, given in (("rated photos alone", None), ("with ranked images", pairs)):
        found = defaultdict(list)
        for seed in range(asked.seeds):
            how = {"width": asked.width, "layers": asked.layers, "members": asked.members, "seed": seed}
            head = fit_members(features, column, weight, loss=F.smooth_l1_loss, ranked=given, **how)
            for name, (photos, wanted) in val.items():
                found[f"SRCC {name}"].append(metrics.srcc(predict_crops(head, photos).numpy(), wanted))
            found["order"].append(order(head, seen, shown))
        said = [
            f"{key} {statistics.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for key, each in found.items()
        ]
        print(f"{title}, {asked.seeds} seeds: {', '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
