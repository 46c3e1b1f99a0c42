"""Coverage and width of 90 % intervals, of constant width and scaled in several ways.

    python benchmarks/intervals.py PREDICTIONS.csv .. [--halves 20]

Each PREDICTIONS.csv is a run's `image,mos,score,spread` (`mpiqe train` writes it; `mpiqe evaluate --predictions` too).
Many times over, a random half of its photos calibrates and the other half is measured on. For each form of the scale
it prints the mean and the deviation of the coverage over runs and halves, and the mean width, in units of MOS.
`halved` fits the scale on half of the calibration photos and takes the quantile on the rest: exact for any number of
photos, but each is used once. The others cross-fit. `chosen` is what `mpiqe train` does.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpiqe.intervals import (
    FORMS,
    LEVEL,
    Calibration,
    Floats,
    calibrate,
    conformal_quantile,
    cross_fitted_scale,
    fit_scale,
    predictors,
)

Widths = Callable[[Calibration, Calibration], Floats]
NAMED = {"score": FORMS[1], "spread": ("spread",), "score, spread": FORMS[2]}


def main(files: list[Path], halves: int) -> None:
    """Print a row for each form."""
    runs = [read(file) for file in files]
    forms: dict[str, Widths] = {"constant": constant}
    for name, form in NAMED.items():
        forms[f"{name}, halved"] = scaled(form, halved=True)
        forms[name] = scaled(form, halved=False)
    forms["chosen"] = chosen
    print(f"{len(runs)} runs, {sum(len(run.mos) for run in runs)} photos, {halves} halves of each")
    print(f"{'scale':<22}{'coverage':>10}{'deviation':>11}{'width':>9}")
    for name, widths in forms.items():
        found = np.array([one for run in runs for one in measured(run, widths, halves)])
        print(f"{name:<22}{found[:, 0].mean():>10.4f}{found[:, 0].std():>11.4f}{found[:, 1].mean():>9.2f}")


def read(file: Path) -> Calibration:
    """The photos of a predictions.csv."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    mos, score, spread = (np.array([float(row[key]) for row in rows]) for key in ("mos", "score", "spread"))
    return Calibration(mos, score, spread, np.full(len(rows), file.parent.name))


def measured(run: Calibration, widths: Widths, halves: int) -> list[tuple[float, float]]:
    """Coverage and mean width for each random half."""
    rng, found = np.random.default_rng(0), []
    for _ in range(halves):
        order = rng.permutation(len(run.mos))
        known, new = part(run, order[: len(order) // 2]), part(run, order[len(order) // 2 :])
        half = widths(known, new)
        found.append((float((np.abs(new.mos - new.score) <= half).mean()), float(2 * half.mean())))
    return found


def part(run: Calibration, index: "np.typing.NDArray[np.intp]") -> Calibration:
    """Some of the photos."""
    return Calibration(run.mos[index], run.score[index], run.spread[index], run.group[index])


def constant(known: Calibration, new: Calibration) -> Floats:
    """The same width for all photos."""
    return np.full(len(new.mos), quantile(np.abs(known.mos - known.score)))


def chosen(known: Calibration, new: Calibration) -> Floats:
    """What ``mpiqe train`` stores."""
    model = calibrate(known, crops=1)
    if model is None:
        raise SystemExit(f"{len(known.mos)} photos are too few to calibrate on")
    return model.half_width(new.score, new.spread)


def scaled(form: tuple[str, ...], *, halved: bool) -> Widths:
    """A scale of some predictors, fitted on half of the photos or cross-fitted on all."""

    def widths(known: Calibration, new: Calibration) -> Floats:
        span = float(known.score.min()), float(known.score.max())
        unit, most = float(np.median(known.spread)), float(known.spread.max())
        design, other = (
            np.stack([predictors(p.score, p.spread, span, unit, most)[name] for name in ("constant", *form)], axis=1)
            for p in (known, new)
        )
        error, even = np.abs(known.mos - known.score), np.ones(len(known.mos))
        if halved:
            middle = len(error) // 2
            found = fit_scale(design[:middle], error[:middle], even[:middle])
            return quantile(error[middle:] / np.exp(design[middle:] @ found)) * np.exp(other @ found)
        scale = cross_fitted_scale(design, error, even, np.arange(len(error)) % 10)
        return quantile(error / scale) * np.exp(other @ fit_scale(design, error, even))

    return widths


def quantile(values: Floats) -> float:
    """The conformal quantile of photos of one set."""
    return conformal_quantile(values, np.zeros(len(values), dtype=np.intp), LEVEL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--halves", type=int, default=20)
    arguments = parser.parse_args()
    main(arguments.files, arguments.halves)
