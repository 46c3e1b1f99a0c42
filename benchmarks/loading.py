"""How many crops a second does loading alone give, beside what a training step takes?

    python benchmarks/loading.py --photos DIR [--crops 8] [--size 224] [--batch 64] [--workers 0 1 2 4] [--need 2500]

The loader of `mpiqe train` (mixed crops, decoded photos kept) on up to 1,000 photos of DIR, without a model: the first
epoch decodes them, later ones cut crops of what is kept. `--need` is the crops a second of the training step, from
benchmarks/training_step.py (photos a second x crops); each line says how it compares.
"""

import argparse
import time
from pathlib import Path

import torch

from mpiqe.data.crop_dataset import CropDataset
from mpiqe.data.photo_cache import PhotoCache, room_for_photos
from mpiqe.data.record import Record
from mpiqe.training.batches import StepSampler, step_loader
from mpiqe.training.memory import free_memory

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def main() -> None:
    """One line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    for name, default in (("crops", 8), ("size", 224), ("batch", 64), ("most", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--need", type=float, help="crops a second of the training step")
    asked = parser.parse_args()
    files = sorted(path for path in asked.photos.iterdir() if path.suffix.lower() in SUFFIXES)[: asked.most]
    records = [Record(path, path.name, 0.0, (), None) for path in files]
    print(f"{len(records)} photos, {asked.crops} crops of {asked.size} each, batches of {asked.batch}")
    for workers in asked.workers:
        room = room_for_photos(free=free_memory(torch.device("cpu")))
        photos = PhotoCache(room=room, writers=max(1, workers))
        crops = CropDataset(records, size=asked.size, count=asked.crops, seed=0, crops="training", photos=photos)
        sampler = StepSampler(len(records), batch_size=asked.batch, parts=1, rank=0, world=1, seed=0, crops=asked.crops)
        loader = step_loader(crops, sampler, workers=workers, pin=torch.cuda.is_available())
        rates = []
        for epoch in (1, 2):
            sampler.set_epoch(epoch)
            started, count = time.perf_counter(), 0
            for batch in loader:
                count += batch.crops.shape[0] * batch.crops.shape[1]
            rates.append(count / (time.perf_counter() - started))
        beside = f", {rates[1] / asked.need:.2f} times what the step takes" if asked.need else ""
        print(f"{workers} workers: {rates[0]:.0f} crops/s while decoding, {rates[1]:.0f} afterwards{beside}")


if __name__ == "__main__":
    main()
