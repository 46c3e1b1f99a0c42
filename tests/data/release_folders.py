"""Folders laid out as LIVE, CSIQ, KADID-10k, BID and KonIQ-10k are released: label files in their formats, no pictures.

Rows come from the published lists or are made up; readers open no image, so one empty file stands for all of them.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import openpyxl
import xlwt
from scipy.io import savemat

LIVE_COLUMNS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_RATED = {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
CSIQ_WORDS = {  # the sheet's type: folder and word of the file name
    "noise": ("awgn", "AWGN"),
    "jpeg": ("jpeg", "JPEG"),
    "jpeg 2000": ("jpeg2000", "jpeg2000"),
    "fnoise": ("fnoise", "fnoise"),
    "blur": ("blur", "BLUR"),
    "contrast": ("contrast", "contrast"),
}
CSIQ_HEADER = ("image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos")
BID_HEADER = ("Image Number", "Average Subjective Grade", "std")
KONIQ_SCORES = "koniq10k_scores_and_distributions.csv"
KONIQ_SETS = "koniq10k_distributions_sets.csv"


def stand_ins(release: Path, names: Iterable[str]) -> None:
    """One empty file under every name."""
    first = release / "stand-in"
    release.mkdir(parents=True, exist_ok=True)
    first.touch()
    for folder in {(release / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.link(first, release / name)
    first.unlink()


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def liqe_rows(file: Path) -> list[list[str]]:
    return [line.split("\t") for line in file.read_text().splitlines()]


def live(root: Path, rows: dict[str, tuple[float, str]]) -> Path:
    """``rows``: DMOS and reference by name (jp2k/img1.bmp); columns that are not among them are originals."""
    release = root / "databaserelease2"
    names = [f"{folder}/img{number}.bmp" for folder, count in LIVE_COLUMNS.items() for number in range(1, count + 1)]
    for folder in LIVE_COLUMNS:
        (release / folder).mkdir(parents=True)
    references = np.empty((1, len(names)), object)
    references[0] = [rows.get(name, (0, "original.bmp"))[1] for name in names]
    dmos = np.array([[rows.get(name, (0.0, ""))[0] for name in names]])
    originals = np.array([[name not in rows for name in names]], np.uint8)
    savemat(release / "dmos_realigned.mat", {"dmos_new": dmos, "orgs": originals, "dmos_std": dmos})
    savemat(release / "refnames_all.mat", {"refnames_all": references})
    return release


def made_live() -> dict[str, tuple[float, str]]:
    """The first images of each folder; DMOS is a tenth of the column (from 1), the references take turns."""
    rows, column = {}, 0
    for folder, count in LIVE_COLUMNS.items():
        for number in range(1, count + 1):
            column += 1
            if number <= LIVE_RATED[folder]:
                rows[f"{folder}/img{number}.bmp"] = (column / 10, f"ref{number % 29}.bmp")
    return rows


def csiq(root: Path, rows: Sequence[tuple[object, str, int, float]], header: Sequence[str] = CSIQ_HEADER) -> Path:
    """``rows``: image, type and level as the sheet has them, and DMOS."""
    release = root / "CSIQ"
    (release / "dst_imgs").mkdir(parents=True)
    book = openpyxl.Workbook()
    book.active.title = "readme"
    other = book.create_sheet("all_by_distortion")
    other.append(["dst_idx", "dst_type", "image", "dst_lev", "dmos_std", "dmos"])  # the same columns in another order
    other.append([1, "noise", "elsewhere", 1, 0.1, 0.5])
    sheet = book.create_sheet("all_by_image")
    for line in (["CSIQ"], [], []):
        sheet.append(line)
    sheet.append([None, None, None, *header])
    for image, kind, level, dmos in rows:
        sheet.append([None, None, None, image, list(CSIQ_WORDS).index(kind) + 1, kind, level, 0.1, dmos])
    book.save(release / "csiq.DMOS.xlsx")
    return release


def made_csiq() -> list[tuple[object, str, int, float]]:
    """30 images; contrast has three or four levels, 116 in all. DMOS rises with the level. 1600 is a number."""
    images = [1600, *(f"photo_{number}" for number in range(1, 30))]
    return [
        (image, kind, level, 0.15 * level + 0.001 * index)
        for index, image in enumerate(images)
        for kind in CSIQ_WORDS
        for level in range(1, (4 if index < 26 else 3) + 1 if kind == "contrast" else 6)
    ]


def csiq_names(rows: Iterable[tuple[object, str, int, float]]) -> list[str]:
    """As LIQE spells them."""
    return [
        f"dst_imgs/{CSIQ_WORDS[kind][0]}/{image}.{CSIQ_WORDS[kind][1]}.{level}.png" for image, kind, level, _ in rows
    ]


def kadid(root: Path, rows: Iterable[tuple[str, str, object]]) -> Path:
    """``rows``: image, reference and what the column dmos holds."""
    release = root / "kadid10k"
    (release / "images").mkdir(parents=True)
    _csv(release / "dmos.csv", ["dist_img", "ref_img", "dmos", "var"], [(*row, 0.5) for row in rows])
    return release


def made_kadid() -> list[tuple[str, str, object]]:
    """All 10,125 names; quality falls with the level."""
    return [
        (f"I{number:02d}_{code:02d}_{level:02d}.png", f"I{number:02d}.png", round(5.8 - 0.9 * level + code / 250, 2))
        for number in range(1, 82)
        for code in range(1, 26)
        for level in range(1, 6)
    ]


def bid(root: Path, rows: Iterable[tuple[object, object]], header: Sequence[str] = BID_HEADER) -> Path:
    """``rows``: image number and grade; an .xls as Excel 97 writes it."""
    release = root / "BID"
    (release / "ImageDatabase").mkdir(parents=True)
    book = xlwt.Workbook()
    sheet = book.add_sheet("Plan1")
    for number, row in enumerate([header, *rows]):
        for column, cell in enumerate(row):
            sheet.write(number, column, cell)
    book.save(str(release / "DatabaseGrades.xls"))
    return release


def made_bid() -> list[tuple[object, object]]:
    """The release's numbers; the grade is a hundredth of the number."""
    return [(number, number / 125) for number in range(1, 591) if number not in (2, 346, 413, 439)]


def koniq_rows(images: Iterable[dict[str, str]]) -> list[tuple[object, ...]]:
    """Rows of the scores file from those of the other one: counts for shares, the mean for ``MOS``, which moves on."""
    rows = []
    for row in images:
        shares, total = [float(row[f"c{grade}"]) for grade in range(1, 6)], int(row["c_total"])
        mean = sum(grade * share for grade, share in enumerate(shares, start=1))
        rows.append((row["image_name"], *(round(s * total) for s in shares), total, mean, row["SD"], row["MOS"]))
    return rows


def made_koniq() -> list[dict[str, str]]:
    """10,073 rows of the file with shares: two ratings, 2 and 4 in a share that rises; z-scores of 10 to 90."""
    rows = []
    for number in range(10_073):
        share = number / 10_073
        shares = {"c1": "0", "c2": str(1 - share), "c3": "0", "c4": str(share), "c5": "0"}
        zscore = str(10 + 80 * share)
        name = {"image_name": f"{number}.jpg"}
        rows.append({**name, **shares, "c_total": "100", "MOS": zscore, "SD": "0.5", "set": "training"})
    return rows


def koniq(root: Path, images: Sequence[dict[str, str]], files: Sequence[str] = (KONIQ_SCORES,)) -> Path:
    """``images``: rows of the file with shares; ``files``: which label files the folder has."""
    release = root / "koniq-10k"
    for size in ("1024x768", "512x384"):
        (release / size).mkdir(parents=True)
    if KONIQ_SETS in files:
        _csv(release / KONIQ_SETS, list(images[0]), [tuple(row.values()) for row in images])
    if KONIQ_SCORES in files:
        header = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "MOS_zscore"]
        _csv(release / KONIQ_SCORES, header, koniq_rows(images))
    return release


def liqe_files(root: Path, name: str, stem: str, rows: Sequence[str], *, all_file: bool = True) -> Path:
    """Label files in LIQE's form; every fifth line is tested in each of the ten splits, the next one validated on."""
    splits2 = root / "IQA_Database" / name / "splits2"
    splits2.mkdir(parents=True)
    if all_file:
        (splits2 / f"{stem}_all_clip.txt").write_text("\n".join(rows))
    for number in range(1, 11):
        (splits2 / str(number)).mkdir()
        for side, kept in (("test", (0,)), ("val", (1,)), ("train", (2, 3, 4))):
            lines = [row for index, row in enumerate(rows) if (index + number) % 5 in kept]
            (splits2 / str(number) / f"{stem}_{side}_clip.txt").write_text("\n".join(lines))
    return splits2


def _csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])
