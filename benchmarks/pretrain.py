"""Where the time of a pretraining step goes: stem, layers, text and objective, and the preparing of photos.

    python benchmarks/pretrain.py [--repeats 5] [--precision auto]

A fresh compact backbone without a teacher and batches of 16 photos in four views, made from the photos in examples/.
Printed are crops per second of forward and backward together up to each part, medians, lowest and highest; and of one
process that prepares views, with reading and distorting.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import default_collate

from mpiqe.bench.timing import line, seconds
from mpiqe.data.record import Record
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import CompactOptions, create_compact
from mpiqe.pretrain.loop import WORDS
from mpiqe.pretrain.objective import Student, objective
from mpiqe.pretrain.views import MADE, NATURAL, ViewDataset, rate
from mpiqe.training.device import accelerator_for
from mpiqe.training.options import PretrainOptions

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PHOTOS = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    asked = parser.parse_args()
    accelerator = accelerator_for(device="cpu", precision=asked.precision)
    with tempfile.TemporaryDirectory() as folder:
        create_compact(Path(folder), words=WORDS, options=CompactOptions())
        clip = FrozenCLIP.from_pretrained(folder)
    clip.thaw()
    student = Student(clip, taught={})
    records = [
        Record(path, path.name, float(number), (SCENES[number % 9],), DISTORTIONS[number % 11])
        for number, path in enumerate(sorted(EXAMPLES.glob("*.jpg"))[:PHOTOS])
    ]
    views = ViewDataset(rate(records, 0), size=student.image_size, seed=0)
    batch = default_collate([views[0, index] for index in range(PHOTOS)])
    pixels = batch.crops.flatten(0, 1)

    def stem() -> Tensor:
        return clip.stem_maps(clip.preprocess(pixels))[0][-1].float().mean()

    def layers() -> Tensor:
        output = student.encode(pixels)
        return torch.stack(
            [output.cls.float().mean(), output.patches.float().mean(), *(s.mean() for s in output.scores)]
        ).sum()

    def whole() -> Tensor:
        return objective(student, student.encode(pixels), batch, {}, PretrainOptions())[0]

    def step(part: Callable[[], Tensor]) -> None:
        with sdpa_kernel(SDPBackend.MATH):
            with accelerator.autocast():
                loss = part()
            loss.backward()
        student.zero_grad()

    for name, part in (("stem", stem), ("stem and layers", layers), ("whole objective", whole)):
        step(part)
        rates = [len(pixels) / seconds(lambda part=part: step(part)) for _ in range(asked.repeats)]
        print(line(name, rates, "crops/s"))
    prepare = [
        PHOTOS * (NATURAL + MADE) / seconds(lambda epoch=epoch: [views[epoch, index] for index in range(PHOTOS)])
        for epoch in range(1, asked.repeats + 1)
    ]
    print(line("preparing views, one process", prepare, "crops/s"))
    print(f"{os.cpu_count()} processors, {accelerator.mixed_precision} autocast, {asked.repeats} repeats")


if __name__ == "__main__":
    main()
