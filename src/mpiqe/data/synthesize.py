"""Make a synthetic dataset from clean photos: KADID-10k's 25 distortions in five levels, in KADID-10k's layout.

::

    OUT/
      images/I01.png            the clean photo; I01_10_05.png: its distortion 10 at level 5
      dmos.csv                  dist_img,ref_img,dmos,var as KADID-10k has it; higher is better
      labels.csv                image,mos,distortion,reference: what --data csv:OUT/labels.csv reads
      sources.csv               which photo each reference was
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mpiqe import images
from mpiqe.atomic import write_atomic
from mpiqe.data.synthetic import ALL_KINDS, KINDS, LEVELS, Kind, distort
from mpiqe.errors import ConfigError, DatasetError, ImageError

BEST = 5.0
STEP = 0.8


def stand_in(level: int) -> float:
    """Return the stand-in MOS of a level: 5 for the clean photo, 1 at level 5. A convention, not a rating."""
    return BEST - STEP * level


@dataclass(frozen=True)
class Made:
    """One image of the set."""

    name: str
    reference: str
    kind: str | None
    level: int


def plan(photos: int, *, each: int, seed: int, kinds: Mapping[str, Kind] = KINDS) -> list[list[Made]]:
    """List the images to make of each photo: the clean one, then ``each`` of all versions, drawn by the seed."""
    versions = [(kind, level) for kind in kinds for level in range(1, LEVELS + 1)]
    if not 1 <= each <= len(versions):
        raise ConfigError(f"{each} versions of each photo: must be 1 to {len(versions)}")
    digits = max(2, len(str(photos)))
    found = []
    for number in range(1, photos + 1):
        drawn = np.random.default_rng([seed, number]).choice(len(versions), each, replace=False)
        base = f"I{number:0{digits}d}"
        row = [Made(f"{base}.png", f"{base}.png", None, 0)]
        for index in sorted(drawn):
            kind, level = versions[index]
            row.append(Made(f"{base}_{kinds[kind].code:02d}_{level:02d}.png", f"{base}.png", kind, level))
        found.append(row)
    return found


def synthesize(
    photos: Sequence[Path],
    out: Path,
    *,
    each: int,
    seed: int,
    kinds: Mapping[str, Kind] = KINDS,
    progress: Callable[[Path, str | None], None],
) -> int:
    """Write the set and return how many images it has; what a stopped run has written is kept, the rest is made.

    Random parts are a function of the seed, the photo's number and the kind. A photo that cannot be read is left out
    and reported to ``progress`` with the reason; its number stays free. Raises ``DatasetError`` if none can be read,
    ``ConfigError`` if ``out`` holds a set of other photos.
    """
    planned = plan(len(photos), each=each, seed=seed, kinds=kinds)
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    sources = _table(
        ("reference", "photo", "seed"), [(row[0].name, photo, seed) for row, photo in zip(planned, photos, strict=True)]
    )
    _keep(out / "sources.csv", sources)
    made: list[Made] = []
    for number, (photo, row) in enumerate(zip(photos, planned, strict=True), start=1):
        try:
            clean = images.read(photo)
        except ImageError as error:
            progress(photo, str(error))
            continue
        for item in row:
            path = folder / item.name
            if not path.exists():
                code = ALL_KINDS[item.kind].code if item.kind else 0
                own = int(np.random.default_rng([seed, number, code]).integers(2**31))
                write_atomic(path, _png(distort(clean, item.kind, item.level, seed=own) if item.kind else clean))
        made += row
        progress(photo, None)
    if not made:
        raise DatasetError(f"none of the {len(photos)} photos could be read")
    ratings = [
        (f"images/{m.name}", stand_in(m.level), (ALL_KINDS[m.kind].distortion if m.kind else "") or "", m.reference)
        for m in made
    ]
    _write(out / "labels.csv", _table(("image", "mos", "distortion", "reference"), ratings))
    official = [(m.name, m.reference, f"{stand_in(m.level):.2f}", "0.00") for m in made if m.kind in KINDS]
    _write(out / "dmos.csv", _table(("dist_img", "ref_img", "dmos", "var"), official))
    return len(made)


def _png(pixels: images.Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    write_atomic(path, text.encode("utf-8"))


def _keep(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{path.parent} holds a set of other photos or another seed; name another folder")
    _write(path, text)
