"""Does a large photo get the score that it gets when it is small, and what does the whole of it cost?

    python -m benchmarks.scale --photos CSV_OR_FOLDER [--weights W] [--count 12] [--json FILE]
    python -m benchmarks.scale --photos CSV_OR_FOLDER --view-side 448 --crop-mode grid

For models with a scaled view; ``--view-side`` gives it to others. Large photos of 4000 x 3000 pixels are made of real
ones: mosaics of 4 x 3 squares, each the middle of a photo brought to 1000 x 1000 pixels. A CSV (columns image,mos) puts
photos of like MOS into one mosaic, so that mosaics differ; a folder goes by name. Each is scored as it is and damaged.
Damage is made as it shows at 512 pixels (long side) by `mpiqe.data.synthetic` and brought to the large photo's size:
blur, JPEG, JPEG2000 and pixelation take the place of its detail, noise, contrast and darkness are added to it. "JPEG at
full size" codes the large photo itself.

Printed are, for each version brought to 2048, 1024 and 512 pixels by Lanczos' filter, the mean and largest difference
of its score from the large one's in % of the score's range and Spearman's correlation of both; by how much mosaics fall
that are reduced to 128 and 256 pixels and enlarged again; how far scores from a JPEG decoded at a fraction are from
those of the whole decode; and, in turns on one thread, the time to read such a JPEG for either view, and how many of
them a second are scored.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.synthetic import choose
from PIL import Image

import mpiqe
from mpiqe import images
from mpiqe.atomic import write_atomic
from mpiqe.bench.timing import interleaved, line
from mpiqe.data.synthetic import distort
from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.images import Pixels
from mpiqe.metrics import srcc
from mpiqe.scoring.scorer import Scorer
from mpiqe.view import NATIVE, View

LARGE = (4000, 3000)
ACROSS = 4
SIZES = (2048, 1024, 512)
THUMBNAILS = (256, 128)
SCREEN = 512  # pixels of the long side, at which damage is made
REPLACING = ("gaussian blur", "JPEG", "JPEG2000", "pixelate")
ADDED = ("white noise", "contrast change", "darken")
FULL_SIZE = "JPEG at full size"
LEVELS = (2, 4)
QUALITY = 92
MOST_DIFFERENCE, LEAST_CORRELATION, MOST_TIME = 4.0, 0.95, 0.5  # % of the range, Spearman's, of a full decode


VERSIONS = (
    ("original", 0),
    *((kind, level) for kind in (*REPLACING, *ADDED, FULL_SIZE) for level in LEVELS),
)


def mosaic(paths: Sequence[Path], *, size: tuple[int, int] = LARGE, across: int = ACROSS) -> Pixels:
    """Squares out of the middles of the photos, ``across`` in a row, (H, W, 3)."""
    side = size[0] // across
    whole = Image.new("RGB", size)
    for place in range(across * (size[1] // side)):
        photo = Image.fromarray(images.read(paths[place % len(paths)]))
        short = min(photo.size)
        left, top = (photo.width - short) / 2, (photo.height - short) / 2
        square = photo.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + short, top + short))
        whole.paste(square, (place % across * side, place // across * side))
    return np.asarray(whole)


def mosaics(
    photos: Sequence[Path], count: int, *, size: tuple[int, int] = LARGE, across: int = ACROSS
) -> Iterator[tuple[str, Pixels]]:
    """``count`` of them from photos spread over the list, neighbours in the list together."""
    each = across * (size[1] // (size[0] // across))
    for number in range(count):
        first = round(number * max(0, len(photos) - each) / max(1, count - 1))
        yield f"mosaic {number}", mosaic(photos[first : first + each], size=size, across=across)


def to_long_side(photo: Pixels, long: int) -> Pixels:
    """The photo brought to that long side by Lanczos' filter, its shape kept."""
    height, width = photo.shape[:2]
    size = tuple(max(1, round(side * long / max(width, height))) for side in (width, height))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))  # type: ignore[arg-type]


def enlarged_to(photo: Pixels, like: Pixels) -> Pixels:
    """The photo enlarged (bicubic) to the size of another."""
    return np.asarray(Image.fromarray(photo).resize(like.shape[1::-1], Image.Resampling.BICUBIC))


def damaged(photo: Pixels, kind: str, level: int, *, seed: int = 0) -> Pixels:
    """One version of a large photo; level 0 is the photo itself."""
    if level == 0:
        return photo
    if kind == FULL_SIZE:
        return distort(photo, "JPEG", level, seed=seed)
    small = to_long_side(photo, SCREEN)
    spoilt = distort(small, kind, level, seed=seed)
    if kind in REPLACING:
        return enlarged_to(spoilt, photo)
    change = enlarged_to(spoilt, photo).astype(np.int16) - enlarged_to(small, photo)
    return np.clip(photo + change, 0, 255).astype(np.uint8)


def as_jpeg(photo: Pixels) -> bytes:
    """The file of a camera."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def score_versions(scorer: Scorer, name: str, photo: Pixels, *, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """The scores of one large photo: of its versions at each size, its thumbnails, and JPEGs in both decodes."""
    found: dict[str, Any] = {"versions": {}, "thumbnails": {}, "decodes": []}
    for kind, level in VERSIONS:
        version = damaged(photo, kind, level)
        scores = scorer([version, *(to_long_side(version, size) for size in sizes)])
        found["versions"][f"{name}, {kind} {level}"] = [score.score for score in scores]
        file = as_jpeg(version)
        found["decodes"].append([scorer(file).score, scorer(images.read(file)).score])  # an array is there as a whole
    for long in THUMBNAILS:
        found["thumbnails"][long] = scorer(enlarged_to(to_long_side(photo, long), photo)).score
    return found


def summarise(found: Sequence[dict[str, Any]], *, span: float, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Figures of all large photos; ``span`` is the score's range, differences are in % of it."""
    rows = np.array([scores for each in found for scores in each["versions"].values()])  # (versions, 1 + sizes)
    clean = np.array([next(iter(each["versions"].values())) for each in found])
    share = 100 / span
    decodes = np.array([pair for each in found for pair in each["decodes"]])
    apart = np.abs(decodes[:, 0] - decodes[:, 1]) * share
    return {
        "versions": len(rows),
        "sizes": {
            size: {
                "mean": float(np.abs(rows[:, place] - rows[:, 0]).mean() * share),
                "largest": float(np.abs(rows[:, place] - rows[:, 0]).max() * share),
                "mean of undamaged": float(np.abs(clean[:, place] - clean[:, 0]).mean() * share),
                "spearman": srcc(rows[:, place].tolist(), rows[:, 0].tolist()),
            }
            for place, size in enumerate(sizes, start=1)
        },
        "thumbnails": {
            long: {
                "mean fall": float((clean[:, 0] - [each["thumbnails"][long] for each in found]).mean() * share),
                "least fall": float((clean[:, 0] - [each["thumbnails"][long] for each in found]).min() * share),
            }
            for long in THUMBNAILS
        },
        "decodes": {"mean": float(apart.mean()), "largest": float(apart.max()), "files": len(decodes)},
    }


def reading(paths: Sequence[Path], view: View, *, crop: int, count: int, repeats: int) -> dict[str, list[float]]:
    """Seconds a file for both views on one thread, in turns; and for a whole decode that is then brought down."""
    positions = partial(images.crop_positions, size=crop, count=count, mode="grid")

    def read(shown: View, opened: Callable[[Path], Any]) -> None:
        for path in paths:
            images.read_crops(opened(path), size=crop, positions=positions, view=shown)

    works = {
        "whole decode, native crops": partial(read, NATIVE, Path),
        "whole decode, brought down": partial(read, view, Image.open),  # an opened image is decoded as a whole
        "decoded at a fraction": partial(read, view, Path),
    }
    taken = interleaved(works, repeats=repeats)
    return {name: [spent / len(paths) for spent in seconds] for name, seconds in taken.items()}


def rates(scorers: dict[str, Scorer], paths: Sequence[Path], *, repeats: int) -> dict[str, list[float]]:
    """Photos a second of each scorer, files to rows, in turns."""

    def score(scorer: Scorer) -> None:
        for row in scorer.rows(paths):
            if row.error:
                raise ConfigError(f"{row.path}: {row.error}")

    taken = interleaved({name: partial(score, scorer) for name, scorer in scorers.items()}, repeats=repeats)
    return {name: [len(paths) / spent for spent in seconds] for name, seconds in taken.items()}


def ratios(taken: dict[str, list[float]], name: str, to: str) -> list[float]:
    """One measurement over another, turn by turn."""
    return [one / other for one, other in zip(taken[name], taken[to], strict=True)]


def shown(summary: dict[str, Any]) -> str:
    """The table."""
    lines = [f"{summary['versions']} versions of large photos, differences in % of the score's range"]
    for size, each in summary["sizes"].items():
        good = each["mean"] < MOST_DIFFERENCE and each["spearman"] > LEAST_CORRELATION
        lines.append(
            f"{size:>5} px: mean {each['mean']:.2f} (undamaged {each['mean of undamaged']:.2f}), largest "
            f"{each['largest']:.2f}, Spearman {each['spearman']:.3f}; under {MOST_DIFFERENCE:g} % and over "
            f"{LEAST_CORRELATION}: {'yes' if good else 'NO'}"
        )
    for long, each in summary["thumbnails"].items():
        lines.append(f"enlarged from {long} px: falls by {each['mean fall']:.1f}, at least {each['least fall']:.1f}")
    each = summary["decodes"]
    lines.append(
        f"decoded at a fraction: mean {each['mean']:.2f}, largest {each['largest']:.2f} from the whole decode "
        f"({each['files']} JPEGs)"
    )
    return "\n".join(lines)


def main() -> None:
    """Score, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--root", type=Path, help="folder of the names in a CSV; its own if not given")
    parser.add_argument("--weights", help="a model with a scaled view; the embedded one if not given")
    parser.add_argument("--view-side", type=int, help="another view than the model's own")
    parser.add_argument("--crop-mode", choices=["seeded", "grid"])
    parser.add_argument("--count", type=int, default=12, help="mosaics")
    parser.add_argument("--files", type=int, default=8, help="JPEGs of 12 megapixels to measure time with; 0 for none")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    try:
        run(asked)
    except MPIQEError as error:
        sys.exit(f"scale.py: {error}")


def run(asked: argparse.Namespace) -> None:
    """Do what was asked."""
    load = partial(mpiqe.load, asked.weights)
    scorer = load(view_side=asked.view_side, crop_mode=asked.crop_mode)
    if scorer.view == NATIVE:
        raise ConfigError("this model sees native crops; give it a view with --view-side N, or name other --weights")
    photos = list(choose(asked.photos, sys.maxsize, root=asked.root).values())
    print(f"view {scorer.view}, {scorer.crops} crops of {scorer.predictor.crop_size} px, {scorer.crop_mode}")
    found, files = [], []
    for name, photo in mosaics(photos, asked.count, size=LARGE):
        found.append(score_versions(scorer, name, photo, sizes=SIZES))
        if len(files) < asked.files:
            files.append(as_jpeg(photo))
        print(f"{name}: {next(iter(found[-1]['versions'].values()))[0]:.1f}", file=sys.stderr, flush=True)
    summary = summarise(found, span=scorer.scale.high - scorer.scale.low, sizes=SIZES)
    print(shown(summary))
    measured: dict[str, Any] = {}
    if files:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.jpg" for number in range(len(files))]
            for path, content in zip(paths, files, strict=True):
                path.write_bytes(content)
            before = load(view_side=0, crop_mode="seeded")
            measured = measure(paths, scorer, before, repeats=asked.repeats)
    if asked.json:
        facts = {"weights": asked.weights or "embedded", "view": scorer.view.to_json(), "crop_mode": scorer.crop_mode}
        scores = {name: scores for each in found for name, scores in each["versions"].items()}
        text = json.dumps({**facts, **summary, **measured, "scores": scores}, indent=1)
        write_atomic(asked.json, (text + "\n").encode())


def measure(paths: Sequence[Path], scorer: Scorer, before: Scorer, *, repeats: int) -> dict[str, Any]:
    """The times, printed and returned."""
    spent = reading(paths, scorer.view, crop=scorer.predictor.crop_size, count=scorer.crops, repeats=repeats)
    for name, seconds in spent.items():
        print(line(f"{name}, one thread", [1 / each for each in seconds], "photos/s"))
    shares = {}
    for whole in ("whole decode, brought down", "whole decode, native crops"):
        shares[whole] = ratios(spent, "decoded at a fraction", whole)
        middle, low, high = statistics.median(shares[whole]), min(shares[whole]), max(shares[whole])
        print(
            f"time at a fraction over that of: {whole}: {middle:.2f} ({low:.2f} to {high:.2f}); "
            f"at most {MOST_TIME}: {'yes' if middle <= MOST_TIME else 'NO'}"
        )
    scored = rates({"scorer, native view": before, "scorer, scaled view": scorer}, paths, repeats=repeats)
    for name, each in scored.items():
        print(line(f"{name}, 12 megapixels", each, "photos/s"))
    gains = ratios(scored, "scorer, scaled view", "scorer, native view")
    print(f"gain: {statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})")
    return {"seconds_per_file": spent, "share_of_time": shares, "photos_per_second": scored, "gain": gains}


if __name__ == "__main__":
    main()
