"""Does `mpiqe best` pick the right one of a burst, and does it find the bursts?

    python benchmarks/bursts.py --photos CSV_OR_FOLDER [--count 100] [--distractors FOLDER] [--out FILE.json]
    python benchmarks/bursts.py --photos VALIDATION.csv --count 300 --calibrate NAME [--weights W]

Each photo becomes a burst of six shots. Each shot is the photo moved, turned and lit a little otherwise, as a hand-held
camera has it, and then one of: sharp; slightly shaken; shaken; out of focus; noisy; dark. They are JPEG files of
quality 95 in an order that is drawn. Printed are, over all bursts: which shot was taken for the best (right is the
sharp one), how often that is right where the margin is at least so much, and which shots are rejected for being at
least 1 behind, by either unit of ``mpiqe best``. With --features also, for perceptual hashes and for the model's own
similarities, at each threshold: the bursts that are found whole, and how many distinct photos (bursts, and the
distractors, of which there are none by default) are put with another.

With --calibrate the model learns from the bursts how far two shots of one scene have to be apart
(``mpiqe.intervals.calibrate_shots``): it is written beside the interval, into the card of a graph, else the checkpoint.
Take photos that the model was not trained on and that nothing is measured on after. NAME is the set that they are of.

A CSV (columns image,mos) gives its best rated photos. What is drawn is a function of the names, so a run can be
repeated.
"""

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

import mpiqe
from mpiqe.atomic import write_atomic
from mpiqe.best.shots import Best, Shot, best_of
from mpiqe.data.synthetic import distort
from mpiqe.images import crop_positions, read_crops
from mpiqe.intervals import calibrate_shots
from mpiqe.runtimes.graph import CARD, read_card
from mpiqe.scoring.loading import embedded_folder

STATES: dict[str, tuple[str, int] | None] = {
    "sharp": None,
    "slightly shaken": ("motion blur", 1),
    "shaken": ("motion blur", 3),
    "out of focus": ("lens blur", 2),
    "noisy": ("white noise", 2),
    "dark": ("darken", 3),
}
HASHES = {
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "whash": imagehash.whash,
    "average_hash": imagehash.average_hash,
}
MARGINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
MIDDLE = 96


def shot(photo: Image.Image, state: str, rng: np.random.Generator) -> Image.Image:
    """The photo as a hand-held camera takes it once more, in a state."""
    width, height = photo.size
    turned = photo.rotate(rng.normal(0, 0.5), Image.Resampling.BICUBIC)
    margin = 0.05
    left = margin * width * (1 + 0.4 * rng.uniform(-1, 1))
    top = margin * height * (1 + 0.4 * rng.uniform(-1, 1))
    size = round(width * (1 - 2 * margin)), round(height * (1 - 2 * margin))
    moved = turned.transform(
        size, Image.Transform.AFFINE, (1, 0, round(left), 0, 1, round(top)), Image.Resampling.NEAREST
    )
    lit = ImageEnhance.Brightness(moved).enhance(1 + rng.normal(0, 0.03))
    made = STATES[state]
    if made is None:
        return lit
    return Image.fromarray(distort(np.asarray(lit), *made, seed=int(rng.integers(1 << 31))))


def make(photos: list[Path], folder: Path) -> list[list[tuple[Path, str]]]:
    """Write the bursts; the files of each with their states, in the order of their names."""
    bursts = []
    for number, path in enumerate(photos):
        seed = hashlib.blake2b(path.name.encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "little"))
        burst = []
        with Image.open(path) as image:
            photo = image.convert("RGB")
        for place, state in enumerate(rng.permutation(list(STATES)).tolist()):
            file = folder / f"{number:03}-{place}.jpg"
            shot(photo, state, rng).save(file, quality=95)
            burst.append((file, state))
        bursts.append(burst)
    return bursts


def scored(scorer: "mpiqe.Scorer", bursts: list[list[tuple[Path, str]]]) -> Iterator[dict[str, Shot]]:
    """The shots of each burst with their scores, by state."""
    scores = iter(scorer(str(file) for burst in bursts for file, _ in burst))
    for burst in bursts:
        shots = {}
        for file, state in burst:
            score = next(scores)
            shots[state] = Shot(str(file), score.score, score.quality, score.interval)
        yield shots


def picks(scorer: "mpiqe.Scorer", bursts: list[dict[str, Shot]]) -> dict[str, Any]:
    """How often the pick is right, in all and by the margin in each of the units that there are."""
    scale = scorer.scale
    higher = scale.higher_is_better
    taken = Counter(_picked(shots, best_of(shots.values(), higher_is_better=higher)) for shots in bursts)
    units = (
        {"intervals": None}
        if scale.shot_difference is None
        else {"difference": scale.shot_difference, "intervals": None}
    )
    result: dict[str, Any] = {"bursts": len(bursts), "picked": dict(taken.most_common())}
    for name, difference in units.items():
        found = [best_of(shots.values(), higher_is_better=higher, difference=difference) for shots in bursts]
        margins = [
            (best.margin or 0.0, _picked(shots, best) == "sharp") for best, shots in zip(found, bursts, strict=True)
        ]
        result[f"right by margin in {name}"] = [
            {"margin from": least, "bursts": sum(margin >= least for margin, _ in margins),
             "right": sum(margin >= least and right for margin, right in margins)}
            for least in MARGINS
        ]  # fmt: skip
        rejected = [
            state
            for best, shots in zip(found, bursts, strict=True)
            for state, each in shots.items()
            if best.decision(each) == "reject"
        ]
        result[f"rejected by {name}"] = {state: rejected.count(state) for state in STATES}
    return result


def _picked(shots: dict[str, Shot], best: Best) -> str:
    return next(state for state, each in shots.items() if each is best.best)


def calibrate(weights: str | None, bursts: list[dict[str, Shot]], name: str, *, higher_is_better: bool) -> None:
    """Write what the bursts say of differences of shots beside the interval; ``SystemExit`` where they do not."""
    found = [best_of(shots.values(), higher_is_better=higher_is_better) for shots in bursts]
    lead = np.array([abs(best.shots[0].score - best.shots[1].score) for best in found])
    right = np.array([_picked(shots, best) == "sharp" for best, shots in zip(found, bursts, strict=True)])
    difference = calibrate_shots(lead, right)
    if difference is None:
        raise SystemExit(f"{len(bursts)} bursts, {right.sum()} of them right: they do not say when a pick is sure")
    stated = {"shot_difference": round(difference, 4), "bursts": {name: len(bursts)}}
    folder = embedded_folder() if weights is None else Path(weights)
    if (folder / CARD).is_file():
        if read_card(folder).interval is None:
            raise SystemExit(f"{folder} has no interval; run tools/calibrate.py on its run first")
        values = json.loads((folder / CARD).read_text(encoding="utf-8"))
        values["interval"] |= stated
        write_atomic(folder / CARD, (json.dumps(values, indent=2) + "\n").encode())
    else:
        _into_checkpoint(folder, stated)
    told = lead >= difference
    print(
        f"{folder}: {stated}; that tells the best in {told.sum()} of these bursts and is right in {right[told].sum()}"
    )


def _into_checkpoint(run: Path, stated: dict[str, Any]) -> None:
    from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint

    model, config = load_checkpoint(run)
    if config.interval is None:
        raise SystemExit(f"{run} has no interval; run tools/calibrate.py on it first")
    save_checkpoint(run / FILE_NAME, model, replace(config, interval=replace(config.interval, **stated)))


def middles(paths: list[Path]) -> list[Image.Image]:
    """What `mpiqe best` hashes of each photo."""
    from mpiqe.view import View

    def positions(width: int, height: int) -> NDArray[np.int64]:
        return crop_positions(width, height, size=MIDDLE, count=1, mode="grid")

    view = View.of_side(MIDDLE)
    crops = [read_crops(str(path), size=MIDDLE, positions=positions, view=view)[0][0] for path in paths]
    return [Image.fromarray(crop) for crop in crops]


def hash_distances(name: str, images: list[Image.Image]) -> NDArray[np.float64]:
    """Differing bits of each pair (N, N), of 64."""
    bits = np.array([HASHES[name](image, hash_size=8).hash.ravel() for image in images], dtype=np.float64)
    return bits @ (1 - bits).T + (1 - bits) @ bits.T


def feature_distances(scorer: "mpiqe.Scorer", paths: list[Path]) -> NDArray[np.float64]:
    """1 - correlation of each pair's similarities to the model's words, window by window (N, N)."""
    size = scorer.predictor.crop_size

    def positions(width: int, height: int) -> NDArray[np.int64]:
        return crop_positions(width, height, size=size, count=4, mode="grid")

    rows = []
    for path in paths:
        crops, _ = read_crops(str(path), size=size, positions=positions, view=scorer.view)
        rows.append(scorer.predictor.attention_maps(crops).similarity.ravel())  # type: ignore[attr-defined]
    features = np.array(rows, dtype=np.float64)
    features -= features.mean(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return 1 - features @ features.T


def found(distance: NDArray[np.float64], bursts: int, thresholds: list[float]) -> list[dict[str, float]]:
    """At each threshold: bursts that are one connected group, and distinct photos that are joined with another."""
    rows = []
    shots = bursts * len(STATES)
    for threshold in thresholds:
        near = distance <= threshold
        whole = sum(_is_connected(near[start : start + 6, start : start + 6]) for start in range(0, shots, 6))
        block = np.arange(len(distance)) // 6
        block[shots:] = np.arange(shots, len(distance)) + shots  # each distractor is a photo of its own
        other = near & (block[:, None] != block[None, :])
        joined = len(set(block[other.any(axis=1)].tolist()))
        rows.append({"threshold": threshold, "bursts found": whole, "photos joined with another": joined})
    return rows


def _is_connected(near: NDArray[np.bool_]) -> bool:
    reached = {0}
    waiting = [0]
    while waiting:
        for other in np.flatnonzero(near[waiting.pop()]).tolist():
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    return len(reached) == len(near)


def main() -> None:
    from benchmarks.synthetic import choose

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--distractors", type=Path)
    parser.add_argument("--features", action="store_true", help="compare ways to find bursts, too")
    parser.add_argument("--calibrate", metavar="NAME", help="write how far shots have to be apart into the model")
    parser.add_argument("--weights")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    photos = list(choose(asked.photos, asked.count).values())
    distractors = sorted(asked.distractors.iterdir()) if asked.distractors else []
    distractors = [path for path in distractors if path not in set(photos) and path.is_file()]
    scorer = mpiqe.load(asked.weights)
    with tempfile.TemporaryDirectory() as folder:
        bursts = make(photos, Path(folder))
        shots = list(scored(scorer, bursts))
        if asked.calibrate:
            calibrate(asked.weights, shots, asked.calibrate, higher_is_better=scorer.scale.higher_is_better)
            return
        result: dict[str, Any] = {"model": scorer.scale.model, "picks": picks(scorer, shots)}
        print(json.dumps(result, indent=1), flush=True)
        if asked.features:
            result |= features(scorer, [file for burst in bursts for file, _ in burst], distractors)
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


def features(scorer: "mpiqe.Scorer", shots: list[Path], distractors: list[Path]) -> dict[str, Any]:
    """What each kind of likeness finds and joins, printed as tables."""
    files, bursts = [*shots, *distractors], len(shots) // len(STATES)
    images = middles(files)
    bits = list(range(2, 21, 2))
    result: dict[str, Any] = {name: found(hash_distances(name, images), bursts, bits) for name in HASHES}
    thresholds = [round(0.05 * step, 2) for step in range(1, 13)]
    result["model's similarities"] = found(feature_distances(scorer, files), bursts, thresholds)
    for name, rows in result.items():
        print(f"{name}, {bursts} bursts, {len(distractors)} further photos: threshold, found, joined")
        for row in rows:
            print("  {:>5} {:>4} {:>5}".format(*row.values()))
    return result


if __name__ == "__main__":
    main()
