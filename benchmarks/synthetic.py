"""Does the score fall as a distortion rises, and is the distortion called by its name?

    python benchmarks/synthetic.py --photos CSV_OR_FOLDER --out DIR [--count 100] [--weights RUN]

Each photo is distorted in every way that `mpiqe.data.synthetic` knows, at every level, and scored with the scorer's own
crops; level 0 is the photo as it is. The overall line is of KADID-10k's 25 kinds; the further ones (WebP, AVIF, JPEG
twice, ..) stand below it, without a class where the paper's eleven words have none. A folder gives its first photos by
name, a CSV (columns image,mos; others are passed over) those with the highest MOS, so that `predictions.csv` of a run
with `--root` gives photos that the run has not been trained on. Per distortion: the mean over photos of Spearman's
correlation of score and level (levels 1 to 5; 0 where all scores are the same), how often its class is the most
probable one, the mean score of each level.

DIR then holds rows.csv (every photo, kind, level, score and predicted class: all else is computed from it), table.csv,
table.md and summary.json. A run that was killed continues when it is started again.
"""

import argparse
import csv
import hashlib
import io
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mpiqe.atomic import write_atomic
from mpiqe.data.synthetic import ALL_KINDS, FURTHER_KINDS, LEVELS, class_of, distort
from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.images import Pixels, read
from mpiqe.metrics import srcc
from mpiqe.scoring.pipeline import in_order
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.find import photo_files

ORIGINAL = "original"
TARGET = -0.95  # of the mean correlation of score and level
CLEAR = 3
"""From this level on a distortion is plain to see."""


class Row(NamedTuple):
    """One version of one photo; ``predicted`` is empty for a model that names no distortions."""

    photo: str
    kind: str
    level: int
    score: float
    predicted: str


class Version(NamedTuple):
    """What is made of a photo."""

    kind: str
    level: int


VERSIONS = (Version(ORIGINAL, 0), *(Version(kind, level) for kind in ALL_KINDS for level in range(1, LEVELS + 1)))


def choose(source: Path, count: int, *, root: Path | None = None) -> dict[str, Path]:
    """Name and file of at most ``count`` photos; a CSV's names are relative to ``root``, by default to its folder."""
    if source.is_dir():
        paths = photo_files([str(source)], stdin=io.BytesIO())
        found = {path.relative_to(source).as_posix(): path for path in paths}
    else:
        try:
            with source.open(encoding="utf-8-sig", newline="") as file:
                rated = sorted(csv.DictReader(file), key=lambda row: float(row["mos"]), reverse=True)
            found = {row["image"]: (root or source.parent) / row["image"] for row in rated}
        except (OSError, KeyError, ValueError) as error:
            raise ConfigError(
                f"--photos {source}: neither a folder nor a CSV with the columns image,mos ({error})"
            ) from error
    if not found or count < 1:
        raise ConfigError(f"--photos {source} --count {count}: there is no photo to score")
    return dict(list(found.items())[:count])


def make(photo: Pixels, name: str, version: Version, *, seed: int) -> Pixels:
    """One version; what is random in it differs from photo to photo and kind to kind, not from level to level."""
    if version.kind == ORIGINAL:
        return photo
    drawn = hashlib.blake2b(f"{seed}:{name}:{version.kind}".encode(), digest_size=4).digest()
    return distort(photo, version.kind, version.level, seed=int.from_bytes(drawn, "little"))


def score_versions(scorer: Scorer, name: str, photo: Pixels, *, seed: int) -> list[Row]:
    """Every version of one photo; threads make them while others are being predicted."""
    made = in_order(
        lambda version: make(photo, name, version, seed=seed),
        VERSIONS,
        workers=scorer.workers,
        ahead=scorer.batch_size + scorer.workers,
    )
    return [
        Row(name, *version, score.score, max(score.distortion, key=score.distortion.__getitem__, default=""))
        for version, score in zip(VERSIONS, scorer(made), strict=True)
    ]


def collect(
    scorer: Scorer, photos: dict[str, Path], out: Path, settings: dict[str, Any], *, seed: int
) -> Iterator[list[Row]]:
    """The rows of each photo, those of an earlier run first; every photo's rows are in rows.csv before they come."""
    file, noted = out / "rows.csv", out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    done: list[Row] = []
    if noted.exists():
        before = json.loads(noted.read_text(encoding="utf-8"))
        faults = [
            f"{key} was {before.get(key)!r} and is {value!r} now"
            for key, value in settings.items()
            if before.get(key) != value
        ]
        if faults:
            raise ConfigError(f"{out} holds another run; name another --out: {'; '.join(faults)}")
        done = whole_photos(file)
    write_atomic(noted, (json.dumps(settings, indent=2) + "\n").encode())
    write_atomic(file, _csv([Row._fields, *done]).encode())  # without what a kill has torn
    by_photo = {row.photo: [other for other in done if other.photo == row.photo] for row in done}
    yield from by_photo.values()
    for name, path in photos.items():
        if name not in by_photo:
            rows = score_versions(scorer, name, read(path), seed=seed)
            with file.open("a", encoding="utf-8", newline="") as stream:
                stream.write(_csv(rows))
            yield rows


def whole_photos(file: Path) -> list[Row]:
    """The rows of those photos in rows.csv that have all of theirs."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = text[: text.rfind("\n") + 1]  # a line without its end was torn
    rows = [
        Row(row["photo"], row["kind"], int(row["level"]), float(row["score"]), row["predicted"])
        for row in csv.DictReader(io.StringIO(lines, newline=""))
    ]
    found = Counter(row.photo for row in rows)
    return [row for row in rows if found[row.photo] == len(VERSIONS)]


def trend(scores: Sequence[float]) -> float:
    """Spearman's correlation of the scores of levels 1, 2, 3, .. with the level; 0 where all are the same."""
    return 0.0 if len(set(scores)) == 1 else srcc(scores, range(1, len(scores) + 1))  # type: ignore[arg-type]


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Everything that the tables say, from the rows alone; shares are ``None`` for a model without distortions."""
    by_kind: dict[str, dict[str, dict[int, Row]]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, {}).setdefault(row.photo, {})[row.level] = row
    originals = {photo: levels[0] for photo, levels in by_kind.pop(ORIGINAL).items()}
    names = any(row.predicted for row in originals.values())
    levels = range(1, LEVELS + 1)
    kinds, further, all_trends, all_right, clear_right = [], [], [], [], []
    for kind, photos in by_kind.items():
        named = names and class_of(kind) is not None
        trends = [trend([of[level].score for level in levels]) for of in photos.values()]
        right = [[of[level].predicted == class_of(kind) for of in photos.values()] for level in levels]
        flat = [value for of_level in right for value in of_level]
        answers = Counter(row.predicted for of in photos.values() for row in of.values())
        wrong = Counter({name: count for name, count in answers.items() if name != class_of(kind)})
        often = min(wrong, key=lambda name: (-wrong[name], name), default="")
        if kind not in FURTHER_KINDS:
            all_trends, all_right = [*all_trends, *trends], [*all_right, *flat]
            clear_right += [value for of_level in right[CLEAR - 1 :] for value in of_level]
        (further if kind in FURTHER_KINDS else kinds).append(
            {
                "kind": kind,
                "class": class_of(kind),
                "spearman": statistics.fmean(trends),
                "spearman_deviation": statistics.pstdev(trends),
                "right": statistics.fmean(flat) if named else None,
                "right_by_level": [statistics.fmean(of_level) if named else None for of_level in right],
                "scores": [
                    statistics.fmean(originals[photo].score for photo in photos),
                    *(statistics.fmean(of[level].score for of in photos.values()) for level in levels),
                ],
                "most_frequent_wrong": often if named else "",
                "most_frequent_wrong_share": wrong[often] / len(flat) if named else None,
            }
        )
    found = Counter(row.predicted for row in originals.values())
    return {
        "photos": len(originals),
        "spearman": statistics.fmean(all_trends),
        "spearman_deviation": statistics.pstdev(all_trends),
        "right": statistics.fmean(all_right) if names else None,
        "right_when_clear": statistics.fmean(clear_right) if names else None,
        "originals": {name: count / len(originals) for name, count in found.most_common()} if names else {},
        "kinds": kinds,
        "further": further,
    }


def table(summary: dict[str, Any]) -> list[list[str]]:
    """Head, a line a kind, the overall line, and a line a further kind; text cells."""
    levels = range(LEVELS + 1)
    head = ["kind", "class", "Spearman", "deviation", "right", *(f"right at {level}" for level in levels[1:])]
    head += [*(f"score at {level}" for level in levels), "most frequent wrong answer", "its share"]

    def line(entry: dict[str, Any]) -> list[str]:
        return [
            entry["kind"],
            entry["class"] or "",
            f"{entry['spearman']:.3f}",
            f"{entry['spearman_deviation']:.3f}",
            *map(_share, [entry["right"], *entry["right_by_level"]]),
            *(f"{score:.2f}" for score in entry["scores"]),
            entry["most_frequent_wrong"],
            _share(entry["most_frequent_wrong_share"]) if entry["most_frequent_wrong"] else "",
        ]

    overall = ["all", "", f"{summary['spearman']:.3f}", f"{summary['spearman_deviation']:.3f}"]
    overall += [_share(summary["right"])]
    for place in range(LEVELS):
        shares = [entry["right_by_level"][place] for entry in summary["kinds"]]
        overall.append(_share(None if None in shares else statistics.fmean(shares)))
    overall += [f"{statistics.fmean(entry['scores'][level] for entry in summary['kinds']):.2f}" for level in levels]
    return [head, *map(line, summary["kinds"]), [*overall, "", ""], *map(line, summary["further"])]


def write(out: Path, summary: dict[str, Any]) -> None:
    """table.csv, table.md and summary.json."""
    lines = table(summary)
    write_atomic(out / "table.csv", _csv(lines).encode())
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    rule = f"|{'|'.join(['---', '---', *['---:'] * (len(lines[0]) - 4), '---', '---:'])}|"
    below = f"{summary['photos']} photos x {len(summary['kinds'])} kinds x {LEVELS} levels; {verdict(summary)}"
    write_atomic(out / "table.md", "\n".join([head, rule, *rest, "", below, ""]).encode())
    write_atomic(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())


def verdict(summary: dict[str, Any]) -> str:
    """One line."""
    met = "met" if summary["spearman"] <= TARGET else "missed"
    clear = summary["right_when_clear"]
    right = (
        f"right class {summary['right']:.1%}, at level {CLEAR} and up {clear:.1%}"
        if clear is not None
        else "no classes"
    )
    return f"Spearman of score and level {summary['spearman']:.3f} (target {TARGET} or below: {met}), {right}."


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)  # floats as repr: exact to the last bit
    return text.getvalue()


def _digests(scorer: Scorer) -> dict[str, str]:
    """SHA-256 over names and values of the trained weights, and the backbone's own digest."""
    model, digest = scorer.predictor.model, hashlib.sha256()  # type: ignore[attr-defined]
    for name, tensor in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return {"weights_digest": digest.hexdigest(), "backbone_digest": model.clip.digest()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Score what is not scored yet, then write the tables."""
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.model.checkpoint import versions
    from mpiqe.scoring.loading import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder, or CSV with the columns image,mos")
    parser.add_argument("--root", type=Path, help="folder of the CSV's images; by default the CSV's own")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--weights", help="run folder, checkpoint file or hub id; the embedded model if not given")
    parser.add_argument("--backbone", help="where the backbone lies, if not where it was")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crops", type=int, help="per photo; as in training if not given")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    asked = parser.parse_args(arguments)

    photos = choose(asked.photos, asked.count, root=asked.root)
    scorer = load(
        asked.weights,
        runtime="torch",  # a checkpoint has the digests that are written down
        backbone=asked.backbone,
        crops=asked.crops,
        batch_size=asked.batch_size,
        workers=asked.workers,
        device=asked.device,
        precision=asked.precision,
    )
    settings = {
        "weights": asked.weights or "embedded",
        **_digests(scorer),
        "scale": str(scorer.scale),
        "seed": asked.seed,
        "crops": scorer.crops,
        "precision": str(scorer.predictor.dtype).removeprefix("torch."),  # type: ignore[attr-defined]
        "kinds": {
            kind: {"class": class_of(kind), "strengths": list(entry.strengths)} for kind, entry in ALL_KINDS.items()
        },
        "versions": versions(),
        "photos": list(photos),
    }
    console = Console(stderr=True, highlight=False)
    rows: list[Row] = []
    with ProgressLine(console=console, unit="versions", total=len(photos) * len(VERSIONS), shared=False) as progress:
        for index, found in enumerate(collect(scorer, photos, asked.out, settings, seed=asked.seed), start=1):
            rows += found
            for _ in found:
                progress.advance()
            if not console.is_terminal:
                console.print(f"{index} of {len(photos)} photos", markup=False)
    summary = summarise(rows)
    write(asked.out, {**summary, "settings": settings})
    print(f"{len(photos)} photos: {verdict(summary)}\n{asked.out / 'table.md'}")


if __name__ == "__main__":
    try:
        main()
    except MPIQEError as error:
        sys.exit(f"benchmarks/synthetic.py: {error}")
