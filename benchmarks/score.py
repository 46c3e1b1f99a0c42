"""How fast does the embedded model score a folder, under each runtime, and how much of that is reading?

    python benchmarks/score.py [--photos 200] [--repeats 5] [--crops 8 ..]

Photos of 500 x 500 pixels, JPEG quality 90, cut from those in examples/, in a temporary folder. Each repeat scores all
of them, files to rows as `mpiqe score` does, the start of the reading processes included, with the model's own number
of crops and with those of ``--crops``, under each runtime in turn, and reads all of them without scoring; printed are
medians, lowest and highest. On a processor without bf16 that precision is left out.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

import mpiqe
from mpiqe import images
from mpiqe.bench.timing import interleaved, line
from mpiqe.training.device import computes_in_bf16

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=int, nargs="*", default=[])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = _photos(Path(folder), asked.photos)
        works: dict[str, Callable[[], object]] = {}
        bf16 = computes_in_bf16(cpu=True)
        for runtime, precision in (("onnx", "fp32"), ("openvino", "bf16"), ("torch", "fp32"), ("torch", "bf16")):
            if precision == "bf16" and not bf16:
                print(f"{runtime} bf16 is left out: this processor has no instructions for it")
                continue
            for crops in (None, *asked.crops):
                scorer = mpiqe.load(runtime=runtime, precision=precision, crops=crops)
                works[f"{runtime} {precision}, {scorer.crops} crops each"] = partial(_score, scorer, paths)
        works["reading alone, one thread"] = lambda: [images.read(path) for path in paths]
        for name, taken in interleaved(works, repeats=asked.repeats).items():
            print(line(name, [len(paths) / spent for spent in taken], "photos/s"))
    print(f"{os.cpu_count()} processors, {asked.photos} photos, {asked.repeats} repeats")


def _score(scorer: mpiqe.Scorer, paths: list[Path]) -> None:
    for row in scorer.rows(paths):
        if row.error:
            raise SystemExit(f"{row.path}: {row.error}")


def _photos(folder: Path, number: int) -> list[Path]:
    sources = sorted(EXAMPLES.glob("*.jpg"))
    paths = []
    for index in range(number):
        with Image.open(sources[index % len(sources)]) as photo:
            made = photo.resize((500, 500))
        paths.append(folder / f"{index:05}.jpg")
        made.save(paths[-1], quality=90)
    return paths


if __name__ == "__main__":
    main()
