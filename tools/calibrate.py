"""Calibrate the interval of a finished run, on validation images of sets of one's choice.

    python tools/calibrate.py RUN [--extra-data csv:FILE ..] [--root DIR] [--labels DIR] [--backbone B]

`mpiqe train` does this at its end, on the validation images of all its sets. This is for a run from before that, and
for one that was also trained on images whose MOS nobody gave, made distortions say: --extra-data names the further sets
that shall calibrate, in place of those of the run. Rewrites RUN/mpiqe.safetensors; scores stay as they are.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from mpiqe.data import choose_split, read_dataset
from mpiqe.data.extra_data import brought_to, read_extra_data, target_statistics
from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import calibrate_on, predict


def main(run: Path, also: list[str], root: Path | None, labels: Path | None, backbone: Path | None) -> None:
    """Predict, calibrate, save and print."""
    model, config = load_checkpoint(run, backbone=backbone)
    settings = config.training
    if not settings.get("validation", True):
        raise SystemExit(f"{run} was trained on its validation images: there is nothing to calibrate on")
    if settings.get("set_lines") == "learned":
        raise SystemExit(f"{run} learned a line for each set, which its checkpoint does not have; train anew instead")
    dataset = read_dataset(settings["data"], root=root, labels=labels)
    split = choose_split(dataset, settings["split"], source=settings["splits"])
    trained_on = sorted((*split.train, *split.test)) if settings.get("train_on_all") else split.train
    trained = [dataset.records[index] for index in trained_on]
    held_out = {dataset.name: [dataset.records[index] for index in split.val]}
    for side in read_extra_data(also, split=settings["split"], train_on_all=bool(settings.get("train_on_all"))):
        held_out[side.dataset.name] = brought_to(target_statistics(trained), side.val, by=side.train)
    accelerator = accelerator_for(device="cpu", precision="fp32")
    how = {"crops": config.crops, "crop_mode": config.crop_mode, "view": config.view}
    predicted = {name: predict(model, records, accelerator=accelerator, **how) for name, records in held_out.items()}
    interval = calibrate_on(predicted, trained=trained, crops=config.crops)
    if interval is None:
        raise SystemExit(f"too few validation images: { {name: len(records) for name, records in held_out.items()} }")
    save_checkpoint(run / FILE_NAME, model, replace(config, interval=interval))
    print(interval)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--extra-data", action="append", default=[], metavar="csv:FILE")
    for name in ("--root", "--labels", "--backbone"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    main(given.run, given.extra_data, given.root, given.labels, given.backbone)
