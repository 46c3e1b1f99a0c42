"""A dataset after reading: records in a fixed order, and the published splits."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mpiqe.errors import DatasetError


@dataclass(frozen=True)
class Record:
    """One rated image.

    ``mos`` is in the dataset's own units and higher is always better. ``scenes`` and ``distortion`` are names from
    ``mpiqe.labels``; none means not labelled. ``reference`` names the pristine content that the image was made from.
    """

    image: Path
    name: str
    """Path relative to the dataset, with forward slashes; unique within it."""
    mos: float
    scenes: tuple[str, ...] = ()
    distortion: str | None = None
    reference: str | None = None
    label: float | None = None
    """The number as the release prints it, on its scale and in its direction; none for a table of the user's own."""


@dataclass(frozen=True)
class Split:
    """Ascending indices into ``Dataset.records``; ``train`` and ``val`` are the paper's 80 %, ``test`` its 20 %."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """Every record of one dataset."""

    name: str
    records: tuple[Record, ...]
    splits: tuple[Split, ...] = ()
    """LIQE's ten (index 0 is number 1), empty where they were not given."""
    twins: tuple[tuple[str, str], ...] = ()
    """Pairs of names under which the release itself holds the same image."""
    notes: tuple[str, ...] = ()
    """How a table's columns were understood, where that is not plain; for the user to see."""

    @property
    def low(self) -> float:
        """The lowest MOS of any record."""
        return min(record.mos for record in self.records)

    @property
    def high(self) -> float:
        """The highest MOS of any record."""
        return max(record.mos for record in self.records)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over each record's name, MOS, labels, reference and size of its file in bytes, in order.

        It tells another release, a half-finished copy or edited labels apart in milliseconds; pixels that change while
        the file keeps its size go unnoticed. Where the dataset lies does not matter. Raises ``DatasetError`` for a
        file that is not there.
        """
        digest = hashlib.sha256()
        for record in self.records:
            try:
                size = record.image.stat().st_size
            except OSError as error:
                raise DatasetError(f"{record.image}: {error.strerror}; is the {self.name} folder complete?") from error
            row = (record.name, record.mos, record.scenes, record.distortion, record.reference, size)
            digest.update(f"{row!r}\n".encode())
        return digest.hexdigest()
