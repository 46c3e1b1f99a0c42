"""Metrics over repeats, computed from per-image predictions alone, and paired tests between two models."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.optimize import brentq
from scipy.stats import nct as noncentral_t
from scipy.stats import t as student_t
from scipy.stats import wilcoxon

from mpiqe import metrics
from mpiqe.errors import DatasetError
from mpiqe.training.evaluate import Prediction
from mpiqe.training.evaluate import measure as report

SIGNIFICANT = 0.05
"""The level of the tests, for all claims of a family together."""
POWER = 0.8
"""The chance with which a difference of ``detectable_difference`` is found."""
Rated = Mapping[str, tuple[float, float]]
"""Image name -> (MOS, score)."""


@dataclass(frozen=True)
class Summary:
    """One metric over the repeats; ``None`` where a repeat has no such figure."""

    median: float | None
    mean: float | None
    deviation: float | None
    """Of the sample, n - 1; ``None`` for one repeat."""


@dataclass(frozen=True)
class PairedTest:
    """Paired tests of one model's metric minus another's, repeat by repeat."""

    differences: tuple[float, ...]
    wins: int
    ties: int
    losses: int
    mean: float
    """What ``corrected_p`` is a test of, so the direction of a verdict as well."""
    wilcoxon_p: float | None
    """Wilcoxon's signed-rank test, two-sided (exact without ties); at least 2 / 2^n for n repeats."""
    corrected_p: float | None
    """Nadeau and Bengio's corrected resampled t-test (2003), two-sided: repeats share training images, which a plain
    t-test ignores; ``None`` below two repeats."""
    standard_error: float | None
    """Of ``mean``, with the same correction; ``None`` below two repeats."""


def read_predictions(file: Path) -> dict[str, tuple[float, float]]:
    """A ``predictions.csv``. Raises ``DatasetError`` where it is torn or not one."""
    found = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                found[row["image"]] = (float(row["mos"]), float(row["score"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{file}: no predictions ({error}); delete the run's folder to have it run again") from error
    return found


def measure(rated: Rated) -> dict[str, float | None]:
    """Every figure of ``metrics.report`` but the count; ``None`` for what is not defined."""
    figures = report([Prediction(name, mos, score, 0.0) for name, (mos, score) in rated.items()])
    return {figure: figures[figure] for figure in metrics.NAMES}


def summarize(values: Sequence[float | None]) -> Summary:
    """Return median, mean and deviation over repeats."""
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return Summary(None, None, None)
    return Summary(
        statistics.median(there), statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else None
    )


def compare(differences: Sequence[float], *, test_share: float) -> PairedTest:
    """Paired tests of a figure's ``differences`` over repeats.

    ``test_share`` is the number of test images over that of training images, 0.25 for 80 : 20.
    """
    count = len(differences)
    signs = [(value > 0) - (value < 0) for value in differences]
    wins, losses = signs.count(1), signs.count(-1)
    signed = corrected = None
    if wins or losses:
        signed = float(wilcoxon(differences).pvalue)
    mean = statistics.fmean(differences) if differences else 0.0
    error = None
    if count > 1:
        error = math.sqrt((1 / count + test_share) * statistics.variance(differences))
        corrected = float(2 * student_t.sf(abs(mean / error), count - 1)) if error > 0 else None
    return PairedTest(
        tuple(differences),
        wins,
        signs.count(0),
        losses,
        mean,
        signed,
        corrected,
        error,
    )


def detectable_difference(paired: PairedTest, *, level: float = SIGNIFICANT, power: float = POWER) -> float | None:
    """The smallest true mean difference that the corrected t-test finds at ``level`` with the chance ``power``.

    The deviation is taken to be that of the observed differences, with the correction of ``corrected_p``: the statistic
    is then noncentral t with n - 1 degrees of freedom. Two-sided; ``None`` below two repeats, 0 where all differences
    are the same.
    """
    if paired.standard_error is None:
        return None
    freedom = len(paired.differences) - 1
    critical = float(student_t.isf(level / 2, freedom))

    def lacking(shift: float) -> float:
        """What a mean of ``shift`` standard errors lacks of the power; the other tail's share is below 0.001."""
        return float(noncentral_t.sf(critical, freedom, shift)) - power

    return float(brentq(lacking, 0.0, 3 * critical + 10)) * paired.standard_error


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) of the p of one family, in their order; ``None`` is no test and stays.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is below one before it, or above 1.
    """
    order = sorted((p, place) for place, p in enumerate(probabilities) if p is not None)
    found: list[float | None] = [None] * len(probabilities)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        found[place] = highest
    return found
