"""``mpiqe`` as it would be with one more row in the registry, and the reader that the row names."""

import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from mpiqe.data import Dataset, registry

MADE = registry.DatasetSpec(
    name="made",
    title="Made-2k",
    folder="made_release",
    reader="tests.cli.made_dataset:read_made",
    images=16,
    label="MOS, 0 to 100, higher is better",
    scale=(0, 100),
    sizes="200x160",
    url="https://example.org/made",
    note="made up",
    training={"batch_size": 4, "score_weight": 0.25},
    variants={"half": ("all", "first")},
)


def read_made(root: Path, labels: Path | None, *, half: str) -> Dataset:
    """The photos of a table in the release's folder."""
    from mpiqe.data import read_csv

    dataset = read_csv(root / "made_release" / "photos.csv")
    return replace(dataset, name="made", records=dataset.records[: 8 if half == "first" else None])


def add_row() -> None:
    """Before any command is imported, as if the row stood in the table."""
    registry.DATASETS = MappingProxyType({**registry.DATASETS, MADE.name: MADE})


if __name__ == "__main__":
    add_row()
    from mpiqe.cli.start import main

    sys.exit(main())
