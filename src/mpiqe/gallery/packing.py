"""The page's data: tables of scores as one JavaScript file, ``data.js``.

It sets ``mpiqeGallery`` to an object in which each column of numbers is base64 of little-endian values, since a browser
decodes those many times quicker than it parses numbers. The file is ASCII without ``<``, so that a page can hold it.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiqe.gallery.shots import ShotGroups
from mpiqe.gallery.table import Classes, Table, split_path
from mpiqe.intervals import LEVEL

_DIGITS = re.compile(r"(\d+)")


@dataclass
class Contents:
    """What a page shows."""

    title: str
    tables: Sequence[Table]
    """One, or two of the same photos in the same order."""
    taken: Sequence[float | None] = ()
    """When each photo was taken; empty where nobody knows."""
    groups: ShotGroups | None = None
    """Bursts, or what else belongs together, of the first table's photos."""
    pictures: Sequence[Mapping[str, Any]] = ()
    """For each table that has them its photos' thumbnails (``Pictures.to_json``)."""
    maps: Mapping[int, "Map"] = field(default_factory=dict)
    """Distortion maps by the photo's number."""
    addresses: Sequence[Mapping[str, str]] = ()
    """For each table where the photos of a folder lie, from the page, by the folder as it stands in paths."""
    notes: Sequence[str] = ()
    """Sentences to show above the photos."""


@dataclass(frozen=True)
class Map:
    """Where the distortion of a photo is."""

    distortion: str
    address: str
    """Of the picture: a file beside the page, or a data URI."""


def data_script(contents: Contents) -> str:
    """The text of ``data.js``."""
    first = contents.tables[0]
    names = [split_path(path)[1] for path in first.paths]
    values = {
        "format": 1,
        "id": _identity(first.paths),
        "title": contents.title,
        "level": LEVEL,
        "notes": list(contents.notes),
        "count": len(first.paths),
        "order": _encoded(_natural_ranks(first.paths, names), "<u4"),
        "taken": _times(contents.taken),
        "groups": _groups(contents.groups),
        "maps": {str(number): [each.distortion, each.address] for number, each in contents.maps.items()},
        "tables": [
            _table(
                table,
                contents.addresses[number] if number < len(contents.addresses) else {},
                contents.pictures[number] if number < len(contents.pictures) else None,
            )
            for number, table in enumerate(contents.tables)
        ],
    }
    text = json.dumps(values, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"globalThis.mpiqeGallery = {text};\n"


def _table(table: Table, addresses: Mapping[str, str], pictures: Mapping[str, Any] | None) -> dict[str, Any]:
    folders: dict[str, int] = {}
    places, names = [], []
    for path in table.paths:
        folder, name = split_path(path)
        places.append(folders.setdefault(folder, len(folders)))
        names.append(name)
    low, high, unit, higher_is_better, decimals, model = _scale(table)
    return {
        "name": table.name,
        "unit": unit,
        "low": low,
        "high": high,
        "higherIsBetter": higher_is_better,
        "decimals": decimals,
        "model": model,
        "folders": list(folders),
        "addresses": [addresses.get(folder) for folder in folders],
        "folder": _encoded(places, "<u4"),
        "names": "/".join(names),
        "score": _encoded(table.score, "<f4"),
        "spread": _encoded(table.spread, "<f4"),
        "intervalLow": _encoded(table.low, "<f4"),
        "intervalHigh": _encoded(table.high, "<f4"),
        "width": _encoded(table.width, "<u4"),
        "height": _encoded(table.height, "<u4"),
        "pictures": pictures,
        "scene": _classes(table.scene),
        "distortion": _classes(table.distortion),
        "failures": table.failures,
    }


def _classes(classes: Classes) -> dict[str, Any]:
    return {
        "names": classes.names,
        "likeliest": _encoded(classes.likeliest, "u1"),
        "shares": None if classes.shares is None else _encoded(classes.shares, "u1"),
    }


def _scale(table: Table) -> tuple[float, float, str, bool, int, str]:
    scale = table.scale
    if scale is not None:
        return scale.low, scale.high, scale.unit, scale.higher_is_better, scale.decimals, scale.model
    low, high = (float(table.score.min()), float(table.score.max())) if len(table.score) else (0.0, 1.0)
    span = high - low
    return low, high if span else low + 1.0, "", True, 1 if span >= 30 else 2 if span >= 3 else 3, ""


def _encoded(values: "NDArray[Any] | Sequence[int]", kind: str) -> str:
    return base64.b64encode(np.asarray(values, dtype=kind).tobytes()).decode("ascii")


def _times(taken: Sequence[float | None]) -> str | None:
    if not any(moment is not None for moment in taken):
        return None
    return _encoded(np.array([math.nan if moment is None else moment for moment in taken]), "<f8")


def _groups(groups: ShotGroups | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    return {
        "by": groups.by,
        "clearFrom": groups.clear_from,
        "of": _encoded(groups.of, "<u4"),
        "best": _encoded(groups.best, "<u4"),
        "margin": _encoded(groups.margin, "<f4"),
        "behind": _encoded(groups.behind, "<f4"),
    }


def _natural_ranks(paths: Sequence[str], names: Sequence[str]) -> NDArray[np.uint32]:
    """Each photo's place among all by name, IMG_2 before IMG_10; photos of one name by their path."""
    ranks = np.empty(len(names), dtype=np.uint32)
    ordered = sorted(range(len(names)), key=lambda row: (_natural_key(names[row]), paths[row]))
    ranks[ordered] = np.arange(len(names), dtype=np.uint32)
    return ranks


def _natural_key(name: str) -> list[tuple[int, str]]:
    parts = _DIGITS.split(name.casefold())
    return [(int(part), "") if number % 2 and len(part) < 19 else (0, part) for number, part in enumerate(parts)]


def _identity(paths: Sequence[str]) -> str:
    """What tells the photos of one page from those of another: decisions are kept under it."""
    digest = hashlib.blake2b(digest_size=12)
    for path in paths:
        digest.update(path.encode() + b"\0")
    return digest.hexdigest()
