import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mpiqe.errors import DatasetError
from mpiqe.metrics import krcc, logistic_fit, plcc, report, rmse, srcc

# Few values, so that there are many ties.
tied = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30)
floats = st.floats(-1e6, 1e6, allow_subnormal=False)
untied = st.lists(st.tuples(floats, floats), min_size=3, max_size=30)


def _scipy(function, x, y) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(x, y).statistic)


@settings(deadline=None)
@given(pairs=tied | untied)
def test_correlations_agree_with_scipy_on_ties_and_without(pairs):
    x, y = np.array(pairs, dtype=float).T
    assert srcc(x, y) == pytest.approx(_scipy(stats.spearmanr, x, y), abs=1e-9, nan_ok=True)
    assert krcc(x, y) == pytest.approx(_scipy(stats.kendalltau, x, y), abs=1e-9, nan_ok=True)


@settings(deadline=None)
@given(pairs=tied)
def test_plcc_agrees_with_scipy(pairs):
    x, y = np.array(pairs, dtype=float).T
    assert plcc(x, y) == pytest.approx(_scipy(stats.pearsonr, x, y), abs=1e-9, nan_ok=True)


def test_small_cases_worked_by_hand():
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8; five pairs of six agree, one does not: 4 / 6.
    x, y = [1, 2, 3, 4], [10, 30, 20, 40]
    assert srcc(x, y) == pytest.approx(0.8)
    assert krcc(x, y) == pytest.approx(2 / 3)
    # Deviations (-1.5, -0.5, 0.5, 1.5) and (-15, 5, -5, 15): 40 / sqrt(5 * 500) = 0.8.
    assert plcc(x, y) == pytest.approx(0.8)
    # Differences 9, 28, 17, 36: sqrt((81 + 784 + 289 + 1296) / 4).
    assert rmse(x, y) == pytest.approx(612.5**0.5)


def test_ties_worked_by_hand():
    # Ranks 1.5 1.5 3 and 1 2 3: deviations (-0.5, -0.5, 1) and (-1, 0, 1): 1.5 / sqrt(1.5 * 2).
    assert srcc([5, 5, 6], [1, 2, 3]) == pytest.approx(1.5 / 3**0.5)
    # Two of three pairs agree, one is tied in x: 2 / sqrt(2 * 3).
    assert krcc([5, 5, 6], [1, 2, 3]) == pytest.approx(2 / 6**0.5)


@pytest.mark.parametrize(("b1", "b2", "b3", "b4"), [(90, 10, 0.5, 0.1), (80, 20, 0.3, 0.02), (10, 90, 0.5, 0.2)])
def test_the_fit_finds_the_logistic_that_made_the_values(b1, b2, b3, b4):
    x = np.linspace(0, 1, 60)
    y = (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4))) + b2
    assert logistic_fit(x, y) == pytest.approx(y, abs=1e-3)


def test_the_fit_makes_a_curved_relation_straight():
    mos = np.linspace(1, 99, 200)
    predictions = np.log(mos / (100 - mos))
    figures = report(predictions, mos)
    assert figures["plcc"] < 0.98
    assert figures["plcc_fitted"] > 0.9999
    assert figures["rmse_fitted"] < 0.5


@settings(deadline=None, max_examples=40)
@given(pairs=tied | untied)
def test_the_fit_is_never_worse_than_the_best_line(pairs):
    x, y = np.array(pairs, dtype=float).T
    fitted = logistic_fit(x, y)
    assert np.isfinite(fitted).all()
    if np.ptp(x) > 0:
        line = stats.linregress(x / np.abs(x).max(), y)
        best = line.slope * x / np.abs(x).max() + line.intercept
    else:
        best = np.full_like(y, y.mean())
    assert rmse(fitted, y) <= rmse(best, y) * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1, 1e200])
def test_plcc_and_the_fit_do_not_depend_on_the_unit(scale):
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    assert plcc(x * scale, y * scale) == pytest.approx(plcc(x, y))
    assert logistic_fit(x * scale, y * scale) / scale == pytest.approx(logistic_fit(x, y), abs=1e-3)


def test_a_constant_model_is_reported_rather_than_raised():
    figures = report([3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 6.0])
    assert np.isnan([figures["srcc"], figures["plcc"], figures["plcc_fitted"], figures["krcc"]]).all()
    assert figures["rmse"] == pytest.approx((14 / 4) ** 0.5)  # differences 2, 1, 0, 3
    assert figures["rmse_fitted"] == pytest.approx(3.5**0.5)  # the mean is 3 as well
    assert figures["count"] == 4


def test_constant_mos_is_reported_rather_than_raised():
    figures = report([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert np.isnan([figures["srcc"], figures["plcc"], figures["plcc_fitted"], figures["krcc"]]).all()
    assert figures["rmse_fitted"] == 0


def test_a_perfect_model_is_perfect():
    mos = [3.0, 1.0, 2.0, 5.0, 4.0]
    figures = report(mos, mos)
    assert [figures[key] for key in ("srcc", "plcc", "plcc_fitted", "krcc")] == pytest.approx([1, 1, 1, 1])
    assert [figures["rmse"], figures["rmse_fitted"]] == pytest.approx([0, 0], abs=1e-6)


def test_a_report_is_the_single_figures():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(size=30)
    fitted = logistic_fit(x, y)
    assert report(x, y) == {
        "srcc": srcc(x, y),
        "plcc": plcc(x, y),
        "plcc_fitted": plcc(fitted, y),
        "krcc": krcc(x, y),
        "rmse": rmse(x, y),
        "rmse_fitted": rmse(fitted, y),
        "count": 30,
    }


@pytest.mark.parametrize("function", [srcc, plcc, krcc, rmse, logistic_fit, report])
@pytest.mark.parametrize(
    ("predictions", "mos", "fault"),
    [
        ([1, 2, 3], [1, 2, 3, 4], r"\(3,\) and mos \(4,\)"),
        ([[1, 2, 3]], [[1, 2, 3]], "flat"),
        ([1, 2], [1, 2], "2 values are too few"),
        ([], [], "0 values are too few"),
        ([1, float("nan"), 3], [1, 2, 3], r"predictions\[1\] is nan"),
        ([1, 2, 3], [1, 2, float("inf")], r"mos\[2\] is inf"),
    ],
)
def test_what_cannot_be_compared_is_refused(function, predictions, mos, fault):
    with pytest.raises(DatasetError, match=fault):
        function(predictions, mos)
