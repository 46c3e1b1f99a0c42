"""Cache of a teacher's features of fixed crops, computed once and kept on disk.

::

    CACHE/
      cache.json                what the arrays are of, and how many rows are done
      <name>.npy                one row per crop: cls, patches, hint<side>; float16
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from mpiqe.errors import ConfigError
from mpiqe.model.tensor_files import write_atomic
from mpiqe.parse import parse_json

DESCRIPTION = "cache.json"
SAMPLE = 2048
"""Rows that the statistics are taken over."""
PHOTOS_AT_ONCE = 8
"""Photos per batch of the teacher."""


@dataclass
class FeatureCache:
    """Rows by photo and slot: row ``photo * slots + slot``. Every process maps the files for itself."""

    folder: Path
    slots: int

    def __post_init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[np.float16]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "slots": self.slots, "_arrays": {}}

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[np.float16]]:
        """The mapped files by their names."""
        if not self._arrays:
            self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(self.folder.glob("*.npy"))}
        return self._arrays

    def read(self, photo: int, slots: list[int]) -> dict[str, Tensor]:
        """The features of some of a photo's slots, (slots, ...) each."""
        rows = [photo * self.slots + slot for slot in slots]
        return {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation of every channel, float32, over evenly spaced rows and all places of the maps."""
        found = {}
        for name, array in self.arrays.items():
            rows = np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(int))
            values = torch.from_numpy(array[rows]).float().reshape(len(rows), array.shape[1], -1)
            found[name] = (values.mean(dim=(0, 2)), values.std(dim=(0, 2)).clamp(min=1e-3))
        return found


def fill(
    folder: Path,
    *,
    photos: int,
    slots: int,
    about: Mapping[str, Any],
    compute: Callable[[Sequence[int]], Mapping[str, Tensor]],
    progress: Callable[[int, int], None],
) -> FeatureCache:
    """Compute what is not there yet. ``compute(photos)`` gives the features of all the slots of some photos.

    ``about`` says what the features are of: teacher, data, seed. A cache of something else is refused
    (``ConfigError``); one that a kill left half done is continued.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {**about, "photos": photos, "slots": slots}
    file = folder / DESCRIPTION
    done = _done_before(folder, parse_json(json.dumps(described))) if file.exists() else 0
    if not done:
        if not file.exists() and any(folder.glob("*.npy")):
            raise ConfigError(f"{folder} holds other .npy files and no {DESCRIPTION}; name another --cache")
        write_atomic(file, json.dumps({**described, "done": 0}).encode())
    arrays: dict[str, Any] = {}
    for start in range(done, photos, PHOTOS_AT_ONCE):
        stop = min(start + PHOTOS_AT_ONCE, photos)
        for name, tensor in compute(range(start, stop)).items():
            values = tensor.half().cpu().numpy()
            if name not in arrays:
                arrays[name] = _open(folder / f"{name}.npy", (photos * slots, *values.shape[1:]), begun=start > 0)
            arrays[name][start * slots : stop * slots] = values
        if stop % (32 * PHOTOS_AT_ONCE) == 0 or stop == photos:
            for array in arrays.values():
                array.flush()
            write_atomic(file, json.dumps({**described, "done": stop}).encode())
        progress(stop, photos)
    return FeatureCache(folder, slots)


def _done_before(folder: Path, described: Mapping[str, Any]) -> int:
    """How many photos an earlier call has done. Raises ``ConfigError`` where its files are not what they should be."""
    file = folder / DESCRIPTION
    try:
        before = parse_json(file.read_text(encoding="utf-8"))
        done = int(before.pop("done"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} describes no cache of features; delete {folder} or name another --cache") from error
    if before != described:
        raise ConfigError(
            f"{folder} holds a teacher's features of other crops: of {before}, not of {described}; name another --cache"
        )
    rows = {path.name: _rows(path) for path in sorted(folder.glob("*.npy"))}
    wanted = described["photos"] * described["slots"]
    if done and (not rows or set(rows.values()) != {wanted}):
        raise ConfigError(
            f"{folder} should hold files of {wanted} rows each but holds {rows}; delete it to begin again"
        )
    return done


def _rows(path: Path) -> int:
    try:
        return len(np.load(path, mmap_mode="r"))
    except (OSError, ValueError):  # damaged
        return 0


def _open(path: Path, shape: tuple[int, ...], *, begun: bool) -> Any:
    if begun:
        return open_memmap(path, mode="r+")
    return open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
