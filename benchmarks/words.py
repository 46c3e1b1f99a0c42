"""Are scenes and distortions named as people labelled them? Beside it, what a constant answer would get.

    python benchmarks/words.py --runs OUT --data livec --root DIR --labels LIQE_DIR [--backbone B]

OUT holds run folders of `mpiqe train` (`split-01`, `split-02`, .. as of `benchmarks/ten_splits.py`, or is one itself).
Each is asked about the test images of its own split. A name counts as right where it is one of an image's labels; the
constant answer is the most frequent label of the split's training images.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mpiqe.data import choose_split, read_dataset
from mpiqe.data.record import Record
from mpiqe.model.checkpoint import FILE_NAME, read_config
from mpiqe.scoring.loading import load


class Named(NamedTuple):
    """Shares of images that were named right."""

    model: float
    constant: float
    images: int
    """Those that have a label."""


def labels_of(record: Record, what: str) -> tuple[str, ...]:
    """An image's scenes, or its distortion."""
    if what == "scene":
        return record.scenes
    return () if record.distortion is None else (record.distortion,)


def measure(names: Sequence[str], records: Sequence[Record], trained: Sequence[Record], what: str) -> Named | None:
    """How many of ``names`` are labels of their records; ``None`` where no record has one."""
    known = [(name, labels_of(record, what)) for name, record in zip(names, records, strict=True)]
    known = [(name, labels) for name, labels in known if labels]
    if not known:
        return None
    (constant, _), *_ = Counter(label for record in trained for label in labels_of(record, what)).most_common(1)
    return Named(
        statistics.fmean(name in labels for name, labels in known),
        statistics.fmean(constant in labels for _, labels in known),
        len(known),
    )


def top(probabilities: Mapping[str, float]) -> str:
    """The most probable name."""
    return max(probabilities, key=probabilities.__getitem__)


def main(arguments: Sequence[str] | None = None) -> None:
    """One line a run, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", required=True)
    for name in ("root", "labels", "backbone"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args(arguments)
    dataset = read_dataset(given.data, root=given.root, labels=given.labels)
    runs = [given.runs] if (given.runs / FILE_NAME).exists() else sorted(given.runs.glob(f"split-*/{FILE_NAME}"))
    found: dict[str, list[Named]] = {"scene": [], "distortion": []}
    for run in runs:
        folder = run if run.is_dir() else run.parent
        settings = read_config(folder / FILE_NAME).training
        split = choose_split(dataset, settings["split"], source=settings["splits"])
        test, trained = ([dataset.records[index] for index in side] for side in (split.test, split.train))
        scores = list(load(folder, backbone=given.backbone, runtime="torch")([record.image for record in test]))
        for what, named in found.items():
            names = [top(getattr(score, what)) for score in scores]
            each = measure(names, test, trained, what)
            if each is not None:
                named.append(each)
                right = f"{each.model:.1%} of {each.images} right, constant {each.constant:.1%}"
                print(f"split {settings['split']}, {what}: {right}")
    for what, named in found.items():
        if named:
            model, constant = (statistics.fmean(values) for values in list(zip(*named, strict=True))[:2])
            print(f"mean of {len(named)}, {what}: {model:.1%} right, a constant answer {constant:.1%}")


if __name__ == "__main__":
    main()
