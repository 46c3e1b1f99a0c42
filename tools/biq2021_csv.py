"""The rated crops of BIQ2021 as tables for `--data csv:FILE`, `--also csv:FILE` and `mpiqe data synthesize`.

    python tools/biq2021_csv.py ../shared/data/biq2021_crops FOLDER

`labels.csv` there has columns of its own; ours are image and mos, with absolute paths. MOS is 0 to 1, higher is better.
FOLDER/biq2021.csv has all photos; FOLDER/learnt.csv leaves out those that split 1 of the former validates on, so that
what is made of it may be learned from, and FOLDER/held.csv has just those; FOLDER/thousand.csv has a thousand of the
learnt ones, about as many as LIVE Challenge.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from mpiqe.data import choose_split, read_csv
from mpiqe.data.order import shuffled


def main(source: Path, folder: Path) -> None:
    """Write both tables, one row per photo."""
    with (source / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = [(source.resolve() / "images" / row["image"], row["mos"]) for row in csv.DictReader(lines)]
    _write(folder / "biq2021.csv", rows)
    held = set(choose_split(read_csv(folder / "biq2021.csv"), 1).val)
    learnt = [row for index, row in enumerate(rows) if index not in held]
    _write(folder / "learnt.csv", learnt)
    _write(folder / "held.csv", [row for index, row in enumerate(rows) if index in held])
    drawn = set(shuffled((path.name for path, _ in learnt), "thousand")[:1000])
    _write(folder / "thousand.csv", [row for row in learnt if row[0].name in drawn])


def _write(table: Path, rows: Sequence[tuple[Path, str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mos"), *rows])
    print(f"{table}: {len(rows)} photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
