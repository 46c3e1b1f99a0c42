"""Prediction intervals by split conformal calibration. Knows numpy and nothing of torch.

Axes: N calibration photos, B bursts, P predictors of the scale.

An interval is score -+ quantile * scale. The scale is an estimate of the absolute error, fitted on the calibration
photos; the quantile is that of their errors over their scales. Each photo's scale is fitted without its own fold, so
that no error has a say in what it is divided by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.9
FEWEST_TO_SCALE = 40
"""With fewer calibration photos the width is constant: a scale fitted on so few would be noise."""
FORMS = ((), ("score", "score_squared"), ("score", "score_squared", "spread"))
"""Which predictors the scale may depend on; the form with the best cross-validated likelihood is taken."""
_FOLDS = 10
_PENALTY = 5.0  # of the squared coefficients, in photos


@dataclass(frozen=True)
class IntervalModel:
    """How wide the interval around a score is: ``quantile * exp(sum of coefficients * predictors)`` to both sides.

    The predictors are 1, z and z^2, where z is the score brought from ``score_range`` to [-1, 1], and
    log(1 + spread / ``spread_unit``). Beyond what calibration saw they stay as they are at its edge.
    """

    level: float
    """The share of photos whose MOS the interval shall hold."""
    quantile: float
    """In scales; in the units of a score where the width is constant."""
    coefficients: dict[str, float] = field(default_factory=dict)
    """``constant``, ``score``, ``score_squared``, ``spread``; one that is absent is 0."""
    score_range: tuple[float, float] = (0.0, 0.0)
    """The lowest and highest score that calibration saw."""
    spread_unit: float = 0.0
    """The median spread that calibration saw."""
    spread_most: float = 0.0
    """The largest spread that calibration saw."""
    mos_mean: float = 0.0
    """Mean and deviation of the training images' MOS, on the scores' scale: other sets' MOS are brought to these."""
    mos_deviation: float = 1.0
    crops: int = 1
    """Crops per photo in calibration: with fewer, the interval would not hold its level."""
    photos: dict[str, int] = field(default_factory=dict)
    """How many photos of which set it was calibrated on."""
    coverage: dict[str, float] = field(default_factory=dict)
    """The share of each set's calibration photos in their cross-validated intervals."""
    shot_difference: float | None = None
    """How far two shots of one scene have to be apart, in the units of a score, for 90 % to be in the right order.

    ``None`` where no bursts calibrated it (``calibrate_shots``).
    """
    bursts: dict[str, int] = field(default_factory=dict)
    """How many bursts, made of photos of which set, calibrated ``shot_difference``."""

    def half_width(self, score: Floats, spread: Floats) -> Floats:
        """Half the width of the interval for each score (N,) and its spread (N,)."""
        known = predictors(score, spread, self.score_range, self.spread_unit, self.spread_most)
        logs: Floats = np.zeros(len(score))
        for name, value in self.coefficients.items():
            logs = logs + value * known[name]
        return self.quantile * np.exp(logs)

    def around(self, score: float, spread: float) -> tuple[float, float]:
        """The interval of one photo, low and high."""
        half = float(self.half_width(np.array([score]), np.array([spread]))[0])
        return score - half, score + half

    def measure(self, mos: Sequence[float], score: Sequence[float], spread: Sequence[float]) -> tuple[float, float]:
        """Coverage and mean width on rated photos, of which there is one at least."""
        scores = np.asarray(score, dtype=np.float64)
        half = self.half_width(scores, np.asarray(spread, dtype=np.float64))
        inside = np.abs(np.asarray(mos, dtype=np.float64) - scores) <= half
        return float(inside.mean()), float(2 * half.mean())


@dataclass(frozen=True)
class Calibration:
    """Rated photos that the model was not trained on, set by set; all MOS on the scale of the scores."""

    mos: Floats
    score: Floats
    spread: Floats
    group: NDArray[np.str_]
    """The set of each photo."""


def calibrate(photos: Calibration, *, crops: int, mos: tuple[float, float] = (0.0, 1.0)) -> IntervalModel | None:
    """Fit the scale and the quantile; ``None`` with too few photos for any interval (under 9 for 90 %).

    Several sets count equally, whatever their sizes: the quantile covers ``LEVEL`` of their photos on average over the
    sets. ``mos``: mean and deviation of the training images' MOS, kept for later. The folds are the same every time.
    """
    error = np.abs(photos.mos - photos.score)
    names, group = np.unique(photos.group, return_inverse=True)
    if not len(error) or not math.isfinite(conformal_quantile(error, group, LEVEL)):
        return None
    weight = 1 / np.bincount(group)[group]
    weight *= len(error) / weight.sum()
    score_range = float(photos.score.min()), float(photos.score.max())
    unit, most = float(np.median(photos.spread)), float(photos.spread.max())
    known = predictors(photos.score, photos.spread, score_range, unit, most)
    fitted_to = np.maximum(error, 1e-6 * error.max())  # an error of 0 has no logarithm
    fold = np.random.default_rng(0).permutation(len(error)) % _FOLDS
    usable = len(error) >= FEWEST_TO_SCALE and bool((error > 0).any())
    best, scale = math.inf, np.ones(len(error))
    chosen: tuple[str, ...] = ()
    coefficients: dict[str, float] = {}
    for form in FORMS if usable else ():
        design = np.stack([known[name] for name in ("constant", *form)], axis=1)
        held_out = cross_fitted_scale(design, fitted_to, weight, fold)
        loss = float(np.average(np.log(held_out) + fitted_to / held_out, weights=weight))
        if loss < best:
            best, chosen, scale = loss, form, held_out
    if chosen:
        design = np.stack([known[name] for name in ("constant", *chosen)], axis=1)
        fitted = fit_scale(design, fitted_to, weight).tolist()
        coefficients = dict(zip(("constant", *chosen), fitted, strict=True))
    else:
        scale = np.ones(len(error))  # the width is constant: its quantile is exact, without a fitted scale
    quantile = conformal_quantile(error / scale, group, LEVEL)
    inside = error / scale <= quantile
    return IntervalModel(
        level=LEVEL,
        quantile=quantile,
        coefficients=coefficients,
        score_range=score_range,
        spread_unit=unit,
        spread_most=most,
        mos_mean=mos[0],
        mos_deviation=mos[1],
        crops=crops,
        photos={str(name): int((group == index).sum()) for index, name in enumerate(names)},
        coverage={str(name): round(float(inside[group == index].mean()), 4) for index, name in enumerate(names)},
    )


def calibrate_shots(lead: Floats, right: NDArray[np.bool_]) -> float | None:
    """How far the best shot of a burst has to be ahead for nine of ten such picks to be right.

    ``lead`` (B,): of each burst how far the best score is ahead of the next, at least 0; ``right`` (B,): whether that
    shot is the best one. The chance of the right order is taken for 1 / (1 + exp(-slope * lead)): even where the scores
    are equal, since nothing then tells the shots apart. Newton's method finds the slope of the largest likelihood;
    from 0 it comes to it from below, since the likelihood's derivative is convex there.

    Much less than the interval of one score: what a model makes wrong of a scene, it makes wrong of all its shots.
    ``None`` where bursts do not show it: fewer than ``FEWEST_TO_SCALE``, none wrong that is ahead, or as good as half.
    """
    if len(lead) < FEWEST_TO_SCALE or not lead[~right].any() or ((right - 0.5) * lead).sum() <= 0:
        return None
    most = float(lead.max())
    lead = lead / most
    slope = 0.0
    for _ in range(100):
        chance = 1 / (1 + np.exp(-slope * lead))
        step = float(((right - chance) * lead).sum() / (chance * (1 - chance) * lead**2).sum())
        slope += step
        if abs(step) < 1e-9:
            break
    return most * math.log(LEVEL / (1 - LEVEL)) / slope


def conformal_quantile(values: Floats, group: NDArray[np.intp], level: float) -> float:
    """The smallest value that holds ``level`` of one more photo, a set drawn at random; infinite where none does.

    In a set of n a new photo is as likely to come at each of n + 1 places, so each value stands for 1 / (n + 1) of its
    set. With one set that is the ceil((n + 1) level)-th smallest value.
    """
    sizes = np.bincount(group)
    order = np.argsort(values, kind="stable")
    share = np.cumsum(1 / (sizes[group[order]] + 1)) / len(sizes)
    reached = np.flatnonzero(share >= level - 1e-9)
    return float(values[order[reached[0]]]) if len(reached) else math.inf


def cross_fitted_scale(design: Floats, error: Floats, weight: Floats, fold: NDArray[np.intp]) -> Floats:
    """The scale (N,) of each photo from a fit on the other folds; ``design`` is (N, P)."""
    scale = np.empty(len(error))
    for number in np.unique(fold):
        out = fold == number
        scale[out] = np.exp(design[out] @ fit_scale(design[~out], error[~out], weight[~out]))
    return scale


def fit_scale(design: Floats, error: Floats, weight: Floats) -> Floats:
    """Coefficients (P,) of log scale = design @ coefficients, for absolute errors above 0 of a Laplace
    distribution.

    Maximises the likelihood, that is minimises mean(log scale + error / scale), with a small ridge penalty on all but
    the first coefficient. The problem is convex; Newton's method with a bounded step solves it.
    """
    found = np.zeros(design.shape[1])
    found[0] = math.log(float(np.average(error, weights=weight)))
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[0] = 0.0
    for _ in range(100):
        relative = error * np.exp(-(design @ found))
        gradient = design.T @ (weight * (1 - relative)) + penalty * found
        curvature = (design.T * (weight * relative)) @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        longest = float(np.abs(step).max())
        found = found - step * min(1.0, 1.0 / max(longest, 1e-300))
        if longest < 1e-9:
            break
    return found


def interval_from_values(values: Mapping[str, Any] | None) -> IntervalModel | None:
    """The model that JSON holds, if it holds one; raises ``ValueError`` for values that no calibration makes."""
    if values is None:
        return None
    try:
        model = IntervalModel(**{**values, "score_range": tuple(values["score_range"])})
        numbers = [model.level, model.quantile, model.spread_unit, model.spread_most, *model.score_range]
        numbers += [model.mos_mean, model.mos_deviation]
        numbers += [*model.coefficients.values(), *model.coverage.values(), *model.photos.values()]
        low, high = model.score_range
        right = all(
            isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
            for number in numbers
        )
        right = right and model.level == LEVEL and model.quantile >= 0 and low <= high
        right = right and 0 <= model.spread_unit <= model.spread_most and set(model.coefficients) <= set(PREDICTORS)
        right = right and isinstance(model.crops, int) and model.crops >= 1
        difference = model.shot_difference
        right = right and (difference is None or (math.isfinite(difference) and difference > 0))
        right = right and all(isinstance(count, int) and count >= 0 for count in model.bursts.values())
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"interval = {values!r}: {error}") from error
    if not right:
        raise ValueError(f"interval = {values!r} is none that calibration makes")
    return model


PREDICTORS = ("constant", "score", "score_squared", "spread")


def predictors(
    score: Floats, spread: Floats, score_range: tuple[float, float], spread_unit: float, spread_most: float
) -> dict[str, Floats]:
    """Each predictor (N,) by its name in ``PREDICTORS``."""
    low, high = score_range
    place = np.clip((2 * score - low - high) / ((high - low) or 1.0), -1, 1)
    uneven = np.log1p(np.clip(spread, 0, spread_most) / (spread_unit or 1.0))
    return dict(zip(PREDICTORS, (np.ones(len(score)), place, place**2, uneven), strict=True))
