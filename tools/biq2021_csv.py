"""The rated crops of BIQ2021 as tables for `--data csv:FILE`, `--extra-data csv:FILE` and `mpiqe data synthesize`.

    python tools/biq2021_csv.py ../shared/data/biq2021_crops FOLDER

`labels.csv` there has columns of its own; ours are image and mos, with absolute paths. MOS is 0 to 1, higher is better.
FOLDER/biq2021.csv has all photos; train.csv, val.csv and test.csv there are the sides that the embedded model knows, so
that what is made of the first may be learned from. They stand in biq2021_split_1.csv beside this file: the project's
splits are functions of the paths in a table, and these are split 1 for /work/shared/data/biq2021_crops alone.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

SIDES = Path(__file__).with_name("biq2021_split_1.csv")


def main(source: Path, folder: Path) -> None:
    """Write the tables, one row per photo."""
    with (source / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = [(source.resolve() / "images" / row["image"], row["mos"]) for row in csv.DictReader(lines)]
    _write(folder / "biq2021.csv", rows)
    with SIDES.open(newline="", encoding="utf-8") as lines:
        sides = {row["image"]: row["side"] for row in csv.DictReader(lines)}
    for side in ("train", "val", "test"):
        _write(folder / f"{side}.csv", [row for row in rows if sides[row[0].name] == side])


def _write(table: Path, rows: Sequence[tuple[Path, str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mos"), *rows])
    print(f"{table}: {len(rows)} photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
