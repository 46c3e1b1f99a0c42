"""What N rated photos of an unseen set are worth: going on from a trained model, training anew, and doing nothing.

    python benchmarks/finetune.py --start RUN --data livec --root DIR --labels LIQE_DIR --out OUT
        [--sizes 50 200 800] [--seeds 5] [--epochs 10]

RUN has to be a run of `mpiqe train` on another set, whose backbone has not seen this one either. For every seed s the
split s is taken: N photos of its training side (validation included), all its test photos. Three arms, with the same
photos, crops, epochs and `mpiqe train` otherwise by its defaults:

- `untouched`: RUN as it is, which knows none of the photos;
- `anew`: `mpiqe train` on RUN's backbone with RUN's settings of the model, but a stem head that is a ridge regression,
  which takes no time (an MLP was not compared);
- `from`: `mpiqe train --from RUN`.

The frozen stem's features of every photo's crops are computed once and serve all runs, in training and in the test, in
place of what `--cache-stem` and the evaluation would compute again in each: the one thing in which these runs are not
the command. OUT holds a run folder each, rows.csv, summary.json and summary.md; a run that is done is not done again.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from mpiqe.cli.reporter import TerminalReporter
from mpiqe.data import Dataset, choose_split, read_dataset
from mpiqe.data.crop_dataset import CropDataset, Item, scene_vector
from mpiqe.data.record import Record
from mpiqe.labels import DISTORTIONS
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.training import train as module
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction, measure
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Reporter, Silent
from mpiqe.training.run_folder import TEST, RunFolder
from mpiqe.training.start import read_start, settings_of
from mpiqe.training.stem_cache import StemCache

ARMS = ("untouched", "anew", "from")
Features = Mapping[str, Tensor]
"""Image name -> what a ``StemCache`` keeps of it, (K, N W + F) float16."""


def main() -> None:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("start", "data", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("root", "labels"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 800])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(asked.data, root=_path(asked.root), labels=_path(asked.labels))
    with TerminalReporter() as reporter:
        features = stored_features(asked.start, dataset, out / "features.safetensors", reporter)
        use(features)
        for size in asked.sizes:
            for seed in range(1, asked.seeds + 1):
                for arm in ARMS:
                    folder = out / f"{arm}-{size}-{seed}" if arm != "untouched" else out / f"{arm}-{seed}"
                    if not (folder / TEST).exists():
                        do(arm, size, seed, dataset, asked, RunFolder(folder), features)
                        figures = json.loads((folder / TEST).read_text())
                        reporter.note(f"{folder.name}: SRCC {figures['srcc']:.4f}")
                write(out, asked.sizes, asked.seeds, asked.epochs)
    print((out / "summary.md").read_text())


def do(
    arm: str, size: int, seed: int, dataset: Dataset, asked: argparse.Namespace, run: RunFolder, features: Features
) -> None:
    """One run and its test."""
    start = read_start(asked.start)
    if arm == "untouched":
        model, _ = load_checkpoint(start.path, backbone=settings_of(start)["backbone"])
        accelerator = accelerator_for(device="cpu", precision="auto")
        test = [dataset.records[index] for index in choose_split(dataset, seed).test]
        run.path.mkdir(parents=True)
        predictions = module.predict(model, test, accelerator=accelerator, crops=start.config.crops)
        run.write_json(TEST, measure(predictions))
        return
    split = choose_split(dataset, seed)
    settings: dict[str, Any] = {
        **settings_of(start),
        "data": asked.data,
        "root": asked.root,
        "labels": asked.labels,
        "split": seed,
        "seed": seed,
        "fraction": size / (len(split.train) + len(split.val)),
        "validation": False,
        "epochs": asked.epochs,
        "cache_stem": True,
        "workers": 0,
        "device": "cpu",
        **({"start": asked.start} if arm == "from" else {"stem_head_width": 0}),
    }
    module.train(resolve(settings), run, checked=True, reporter=Silent())
    (run.path / "state.safetensors").unlink()


def stored_features(start: str, dataset: Dataset, file: Path, reporter: Reporter) -> dict[str, Tensor]:
    """Features of the crops that ``start`` scores with, of every image; kept in ``file``."""
    if not file.exists():
        model, config = load_checkpoint(read_start(start).path, backbone=settings_of(read_start(start))["backbone"])
        model.clip.fuse()
        accelerator = accelerator_for(device="cpu", precision="auto")
        crops = CropDataset(
            dataset.records, size=model.image_size, count=config.crops, seed=0, crops=config.crop_mode, view=config.view
        )

        def progress(done: int, total: int) -> None:
            if done % 160 == 0 or done == total:
                reporter.note(f"features of {done} of {total} images")

        cache = StemCache(crops, model.clip, accelerator=accelerator, progress=progress)
        save_file({record.name: cache[1, index].crops for index, record in enumerate(dataset.records)}, file)
    return load_file(file)


def use(features: Features) -> None:
    """Let ``train`` take these features where it would decode photos and compute them."""

    class Stored(StemCache):
        def __init__(self, crops: CropDataset, *_: Any, **__: Any) -> None:
            self._items = [
                Item(
                    features[record.name],
                    record.mos,
                    scene_vector(record.scenes, crops.scene_target),
                    -1 if record.distortion is None else DISTORTIONS.index(record.distortion),
                    index,
                )
                for index, record in enumerate(crops.records)
            ]

    def stored(model: Any, records: Sequence[Record], *, accelerator: Accelerator, **_: Any) -> list[Prediction]:
        found = []
        with torch.inference_mode(), accelerator.autocast():
            folded = model.fold()
            for record in records:
                embedded = model.clip.split_embedded(features[record.name])
                scores = model.forward_embedded(embedded, folded).score.double()
                found.append(Prediction(record.name, record.mos, float(scores.mean()), float(scores.std(correction=0))))
        return found

    module.StemCache = Stored  # type: ignore[misc, attr-defined]
    module.predict = stored  # type: ignore[attr-defined]


def write(out: Path, sizes: Sequence[int], seeds: int, epochs: int) -> None:
    """rows.csv, summary.json and summary.md of the runs that are done."""
    rows = []
    for size in sizes:
        for seed in range(1, seeds + 1):
            files = {arm: out / (f"{arm}-{seed}" if arm == "untouched" else f"{arm}-{size}-{seed}") for arm in ARMS}
            if all((file / TEST).exists() for file in files.values()):
                figures = {arm: json.loads((file / TEST).read_text()) for arm, file in files.items()}
                rows += [
                    {"photos": size, "seed": seed, "arm": arm, "srcc": found["srcc"], "plcc": found["plcc"]}
                    for arm, found in figures.items()
                ]
    with (out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["photos", "seed", "arm", "srcc", "plcc"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        f"| photos | {' | '.join(ARMS)} | from - untouched | from - anew |",
        "|---:|" + "---:|" * (len(ARMS) + 2),
    ]
    summary = []
    for size in sizes:
        by_arm = {arm: [row["srcc"] for row in rows if row["photos"] == size and row["arm"] == arm] for arm in ARMS}
        if not by_arm["from"]:
            continue
        cells = {arm: (statistics.fmean(found), statistics.pstdev(found)) for arm, found in by_arm.items()}
        gains = {
            other: [mine - its for mine, its in zip(by_arm["from"], by_arm[other], strict=True)] for other in ARMS[:2]
        }
        shown = [f"{mean:.4f} ± {deviation:.4f}" for mean, deviation in cells.values()]
        shown += [f"{statistics.fmean(g):+.4f}, {sum(v > 0 for v in g)} of {len(g)}" for g in gains.values()]
        lines.append(f"| {size} | {' | '.join(shown)} |")
        summary.append({"photos": size, "srcc": by_arm, "gains": gains})
    note = f"SRCC on the test photos, mean and deviation over the seeds; {epochs} epochs."
    lines += ["", f"{note} Differences: mean of the pairs, and how many are above zero."]
    (out / "summary.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (out / "summary.json").write_text(json.dumps({"epochs": epochs, "sizes": summary}, indent=2) + "\n")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    main()
