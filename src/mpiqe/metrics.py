"""Agreement between predictions and MOS: SRCC, PLCC, KRCC, RMSE, and the logistic fit before PLCC.

Everything takes two sequences of N >= 3 finite numbers, predictions and MOS, and raises ``DatasetError`` otherwise. A
correlation with a constant is not defined and is ``nan``, so that a constant model can be reported too.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import expit
from scipy.stats import kendalltau, rankdata

from mpiqe.errors import DatasetError

Floats = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating]

FEWEST = 3
NAMES = ("srcc", "plcc", "plcc_fitted", "krcc", "rmse", "rmse_fitted")
_STEEPNESS = (0.5, 2.0, 8.0)  # starts of the fit, in 1 / standard deviations: nearly a line, an S, nearly a step
_EVALUATIONS = 200  # per start; along a line the parameters run away for ever, and the fit has long been good


def srcc(predictions: Values, mos: Values) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    x, y = _pair(predictions, mos)
    return _correlation(rankdata(x), rankdata(y))


def plcc(predictions: Values, mos: Values) -> float:
    """Pearson's linear correlation."""
    return _correlation(*_pair(predictions, mos))


def krcc(predictions: Values, mos: Values) -> float:
    """Kendall's rank correlation, tau-b: corrected for ties."""
    x, y = _pair(predictions, mos)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(kendalltau(x, y).statistic)


def rmse(predictions: Values, mos: Values) -> float:
    """Root of the mean squared difference, in MOS units."""
    x, y = _pair(predictions, mos)
    return float(np.sqrt(np.mean((x - y) ** 2)))


def logistic_fit(predictions: Values, mos: Values) -> Floats:
    """Map predictions to the MOS scale by VQEG's four-parameter logistic, (N,).

    f(x) = (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2, fitted by least squares to these very values, as is usual in
    the field: N figures are used to set four numbers, so the fit flatters small N. A line is the logistic's limit, so
    the fit is never worse than the best line. Constant predictions become the mean MOS.
    """
    x, y = _pair(predictions, mos)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.full_like(y, y.mean())
    x, (target, middle, deviation) = _standardised(x)[0], _standardised(y)
    slope = (x @ target) / (x @ x)
    best = slope * x
    sign = 1.0 if slope >= 0 else -1.0

    def difference(b: Floats) -> Floats:
        return _logistic(x, b) - target

    for steepness in _STEEPNESS:
        start = (sign * np.abs(target).max(), -sign * np.abs(target).max(), 0.0, steepness)
        found = least_squares(difference, start, max_nfev=_EVALUATIONS)
        fitted = _logistic(x, found.x)
        if np.sum((fitted - target) ** 2) < np.sum((best - target) ** 2):
            best = fitted
    return np.asarray(best * deviation + middle, dtype=np.float64)


def report(predictions: Values, mos: Values) -> dict[str, float]:
    """Compute all metrics: srcc, plcc, plcc_fitted, krcc, rmse, rmse_fitted, count.

    PLCC and RMSE are given raw and, as ``_fitted``, after ``logistic_fit`` (D15: both are always reported); a
    correlation that is not defined is ``nan``.
    """
    x, y = _pair(predictions, mos)
    fitted = logistic_fit(x, y)
    return {
        "srcc": srcc(x, y),
        "plcc": plcc(x, y),
        "plcc_fitted": plcc(fitted, y),
        "krcc": krcc(x, y),
        "rmse": rmse(x, y),
        "rmse_fitted": rmse(fitted, y),
        "count": len(x),
    }


def _logistic(x: Floats, b: Floats) -> Floats:
    steepness = abs(b[3])  # 1 / |b4|: the same curves, and none of them divides by zero
    return np.asarray((b[0] - b[1]) * expit(steepness * (x - b[2])) + b[1], dtype=np.float64)


def _standardised(values: Floats) -> tuple[Floats, float, float]:
    """Return the standardised values with their mean and deviation."""
    middle = float(values.mean())
    centred = values - middle
    largest = float(np.abs(centred).max())  # scaled by it first: squares of huge or tiny values leave a double's range
    deviation = float((centred / largest).std())
    return np.asarray(centred / largest / deviation, dtype=np.float64), middle, largest * deviation


def _correlation(x: Floats, y: Floats) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.clip(np.mean(_standardised(x)[0] * _standardised(y)[0]), -1.0, 1.0))


def _pair(predictions: Values, mos: Values) -> tuple[Floats, Floats]:
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DatasetError(f"predictions {x.shape} and mos {y.shape} must be two flat sequences of one length")
    if len(x) < FEWEST:
        raise DatasetError(f"{len(x)} values are too few to correlate; at least {FEWEST} are needed")
    for name, values in (("predictions", x), ("mos", y)):
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DatasetError(f"{name}[{first}] is {values[first]}; every value must be finite")
    return x, y
