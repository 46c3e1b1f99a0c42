"""The rated crops of BIQ2021 as tables for `--data csv:FILE`, `--extra-data csv:FILE` and `mpiqe data synthesize`.

    python tools/biq2021_csv.py ../shared/data/biq2021_crops FOLDER

`labels.csv` there has columns of its own; ours are image and mos, with absolute paths. MOS is 0 to 1, higher is better.
FOLDER/biq2021.csv has all photos; FOLDER/train.csv, val.csv and test.csv are the sides of its split 1, so that what is
made of the first may be learned from.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mpiqe.data import choose_split, read_csv


def main(source: Path, folder: Path) -> None:
    """Write the tables, one row per photo."""
    with (source / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = [(source.resolve() / "images" / row["image"], row["mos"]) for row in csv.DictReader(lines)]
    _write(folder / "biq2021.csv", rows)
    split = choose_split(read_csv(folder / "biq2021.csv"), 1)
    for name, side in asdict(split).items():
        _write(folder / f"{name}.csv", [rows[index] for index in side])


def _write(table: Path, rows: Sequence[tuple[Path, str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mos"), *rows])
    print(f"{table}: {len(rows)} photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
