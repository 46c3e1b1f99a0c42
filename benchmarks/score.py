"""How fast does the embedded model score a folder, and how much of that is reading?

    python benchmarks/score.py [--photos 200] [--repeats 5]

Photos of 500 x 500 pixels, JPEG quality 90, cut from those in examples/, in a temporary folder. Each repeat scores all
of them with the model's own number of crops and with 8, and reads all of them without scoring; printed are medians,
lowest and highest.
"""

import argparse
import os
import tempfile
from pathlib import Path

from PIL import Image

import mpiqe
from mpiqe import images
from mpiqe.bench.timing import line, seconds

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = _photos(Path(folder), asked.photos)
        for precision in ("fp32", "bf16"):
            for crops in (None, 8):
                scorer = mpiqe.load(precision=precision, crops=crops)
                scorer(paths[:16])
                rates = [len(paths) / seconds(lambda scorer=scorer: scorer(paths)) for _ in range(asked.repeats)]
                print(line(f"scoring, {precision}, {scorer.crops} crops each", rates, "photos/s"))
        rates = [len(paths) / seconds(lambda: [images.read(path) for path in paths]) for _ in range(asked.repeats)]
        print(line("reading alone, one thread", rates, "photos/s"))
    print(f"{os.cpu_count()} processors, {asked.photos} photos, {asked.repeats} repeats")


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
