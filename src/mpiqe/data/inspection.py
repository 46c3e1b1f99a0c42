"""Check a dataset before training: decode every image, and report all faults in one error."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mpiqe import images
from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record
from mpiqe.errors import ImageError
from mpiqe.labels import DISTORTIONS, SCENES

_PROBE = 65536


@dataclass(frozen=True)
class Inspection:
    """The result of decoding every image of a dataset."""

    faults: tuple[str, ...]
    """One line each, ``PATH: what``."""
    alike: tuple[str, ...]
    """The same for versions of one reference with equal bytes: a fault of the copy or of the release, but without
    leakage, since splits keep a reference on one side."""
    sizes: Mapping[tuple[int, int], int]
    """(width, height) in pixels, upright, and how many of the readable images have it; the most common first."""


def check(dataset: Dataset) -> None:
    """Raise one ``DatasetError`` with every fault of ``dataset``; without faults it can be trained on.

    Faults are images that are missing, unreadable or there twice (the same name, or the same bytes under two names;
    but for the release's own twins, and for versions of one reference, which no split parts), labels that are not in
    ``mpiqe.labels``, and a MOS that is not finite. Every image is decoded, since nothing less finds a truncated one;
    decoding once takes little time beside training, which starts with this check.
    """
    refuse(f"{dataset.name} cannot be used until this is corrected", inspect(dataset).faults)


def inspect(dataset: Dataset, *, progress: Callable[[], None] | None = None) -> Inspection:
    """Find every fault that ``check`` raises for, and the image sizes; ``progress`` is called after each image."""
    faults = [f"{record.image}: {fault}" for record in dataset.records for fault in _label_faults(record)]
    of_files, alike, sizes = _inspect_files(dataset.records, dataset.twins, progress)
    return Inspection((*faults, *of_files), tuple(alike), dict(sizes.most_common()))


def image_faults(records: Sequence[Record], *, twins: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Find the faults of the files of ``records``, one line each: ``PATH: what``; ``twins`` may have equal bytes."""
    faults, alike, _ = _inspect_files(records, twins, None)
    return faults + alike


def held_out_and_trained(held_out: Sequence[Record], trained: Sequence[Record]) -> list[Record]:
    """Which of ``held_out`` have the bytes of an image of ``trained``: of another rated set, or the same one."""
    own = {id(record) for record in held_out}
    groups: list[list[Record]] = [[*held_out, *trained]]
    for key in (_size, _probe, _content):  # each looks only at what the one before could not tell apart
        finer = [each for group in groups for each in _grouped(group, key)]
        groups = [each for each in finer if len({id(record) in own for record in each}) == 2]
    return [record for group in groups for record in group if id(record) in own]


def _inspect_files(
    records: Sequence[Record], twins: Sequence[tuple[str, str]], progress: Callable[[], None] | None
) -> tuple[list[str], list[str], Counter[tuple[int, int]]]:
    """Faults of the files, alike versions of one reference, and how many readable ones have which (width, height)."""
    seen: list[tuple[int, int] | str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes outside Python's lock
        for size in pool.map(_dimensions, (record.image for record in records)):
            seen.append(size)
            if progress is not None:
                progress()
    faults = [size for size in seen if isinstance(size, str)]
    readable = [record for record, size in zip(records, seen, strict=True) if not isinstance(size, str)]
    doubles, alike = _duplicates(readable, set(twins))
    return faults + doubles, alike, Counter(size for size in seen if not isinstance(size, str))


def _label_faults(record: Record) -> list[str]:
    faults = [
        f"{scene!r} is not one of the scenes {', '.join(SCENES)}" for scene in record.scenes if scene not in SCENES
    ]
    if record.distortion is not None and record.distortion not in DISTORTIONS:
        faults.append(f"{record.distortion!r} is not one of the distortions {', '.join(DISTORTIONS)}")
    if not math.isfinite(record.mos):
        faults.append(f"MOS {record.mos} is not finite")
    return faults


def _dimensions(image: Path) -> tuple[int, int] | str:
    """Return the image's (width, height), or why it cannot be read."""
    try:
        height, width, _ = images.read(image).shape
    except ImageError as error:
        return str(error)
    return width, height


def _duplicates(records: Sequence[Record], known: set[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the faults of doubles that splits could separate, and of those of one reference."""
    faults: list[str] = []
    alike: list[str] = []
    names: dict[str, Record] = {}
    for record in records:
        if record.name in names:
            faults.append(f"{record.image}: the name {record.name} is there twice")
        names[record.name] = record
    groups: list[list[Record]] = [list(names.values())]
    for key in (_size, _probe, _content):  # each looks only at what the one before could not tell apart
        groups = [finer for group in groups for finer in _grouped(group, key)]
    for first, *twins in groups:
        for twin in twins:
            if (first.name, twin.name) not in known:
                kept_together = first.reference is not None and first.reference == twin.reference
                (alike if kept_together else faults).append(f"{twin.image}: the same bytes as {first.image}")
    return faults, alike


def _grouped(records: Sequence[Record], key: Callable[[Path], object]) -> list[list[Record]]:
    """Return the groups of two and more whose files agree in ``key``."""
    groups: dict[object, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record.image), []).append(record)
    return [group for group in groups.values() if len(group) > 1]


def _size(image: Path) -> int:
    return image.stat().st_size


def _probe(image: Path) -> bytes:
    """Hash 64 KiB from the middle: uncompressed images of one size often begin with the same bytes."""
    with image.open("rb") as file:
        file.seek(max(0, (_size(image) - _PROBE) // 2))
        return hashlib.sha256(file.read(_PROBE)).digest()


def _content(image: Path) -> bytes:
    return hashlib.sha256(image.read_bytes()).digest()
