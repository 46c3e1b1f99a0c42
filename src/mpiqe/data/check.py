"""Is a dataset whole? All its faults in one message, before hours of training rather than after them."""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mpiqe import images
from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record
from mpiqe.errors import ImageError
from mpiqe.labels import DISTORTIONS, SCENES

_PROBE = 65536


def check(dataset: Dataset) -> None:
    """Raise one ``DatasetError`` with every fault of ``dataset``; silence means that it can be trained on.

    Faults are images that are missing, unreadable or there twice (the same name, or the same bytes under two names,
    the release's own twins apart), labels that are not in ``mpiqe.labels``, and a MOS that is not finite. Every
    picture is decoded, since nothing less finds a truncated one; decoding once is little beside a training, which
    starts with this.
    """
    faults = [f"{record.image}: {fault}" for record in dataset.records for fault in _label_faults(record)]
    faults += image_faults(dataset.records, twins=dataset.twins)
    refuse(f"{dataset.name} cannot be used until this is mended", faults)


def image_faults(records: Sequence[Record], *, twins: Sequence[tuple[str, str]] = ()) -> list[str]:
    """What is wrong with the files of ``records``, one line per fault: ``PATH: what``; ``twins`` may be the same."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes outside Python's lock
        unreadable = list(pool.map(_unreadable, (record.image for record in records)))
    faults = [fault for fault in unreadable if fault]
    readable = [record for record, fault in zip(records, unreadable, strict=True) if not fault]
    return faults + _duplicates(readable, set(twins))


def _label_faults(record: Record) -> list[str]:
    faults = [
        f"{scene!r} is not one of the scenes {', '.join(SCENES)}" for scene in record.scenes if scene not in SCENES
    ]
    if record.distortion is not None and record.distortion not in DISTORTIONS:
        faults.append(f"{record.distortion!r} is not one of the distortions {', '.join(DISTORTIONS)}")
    if not math.isfinite(record.mos):
        faults.append(f"MOS {record.mos} is not finite")
    return faults


def _unreadable(image: Path) -> str | None:
    try:
        images.read(image)
    except ImageError as error:
        return str(error)
    return None


def _duplicates(records: Sequence[Record], known: set[tuple[str, str]]) -> list[str]:
    faults: list[str] = []
    names: dict[str, Record] = {}
    for record in records:
        if record.name in names:
            faults.append(f"{record.image}: the name {record.name} is there twice")
        names[record.name] = record
    groups: list[list[Record]] = [list(names.values())]
    for alike in (_size, _probe, _content):  # each looks only at what the one before could not tell apart
        groups = [finer for group in groups for finer in _grouped(group, alike)]
    for first, *twins in groups:
        faults += [
            f"{twin.image}: the same bytes as {first.image}" for twin in twins if (first.name, twin.name) not in known
        ]
    return faults


def _grouped(records: Sequence[Record], key: Callable[[Path], object]) -> list[list[Record]]:
    """Those groups of two and more whose files agree in ``key``."""
    groups: dict[object, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record.image), []).append(record)
    return [group for group in groups.values() if len(group) > 1]


def _size(image: Path) -> int:
    return image.stat().st_size


def _probe(image: Path) -> bytes:
    """64 KiB from the middle: uncompressed pictures of one size have one header and often one sky."""
    with image.open("rb") as file:
        file.seek(max(0, (_size(image) - _PROBE) // 2))
        return hashlib.sha256(file.read(_PROBE)).digest()


def _content(image: Path) -> bytes:
    return hashlib.sha256(image.read_bytes()).digest()
