import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from mpiqe.intervals import (
    Calibration,
    IntervalModel,
    calibrate,
    calibrate_shots,
    conformal_quantile,
    interval_from_values,
)


def photos(count: int, seed: int, *, uneven: float = 0.0, by_spread: float = 0.0, name: str = "set") -> Calibration:
    """Photos with normal errors whose deviation falls along the score, or grows with the spread."""
    rng = np.random.default_rng(seed)
    score, spread = rng.uniform(20, 80, count), rng.gamma(2.0, 1.0, count)
    deviation = 10 * np.exp(-uneven * (score - 50) / 30 + by_spread * np.log1p(spread))
    return Calibration(score + deviation * rng.standard_normal(count), score, spread, np.full(count, name))


def joined(*sets: Calibration) -> Calibration:
    return Calibration(
        *(np.concatenate([getattr(one, key) for one in sets]) for key in ("mos", "score", "spread", "group"))
    )


def calibrated(known: Calibration) -> IntervalModel:
    model = calibrate(known, crops=1)
    assert model is not None
    return model


def measured(known: Calibration, new: Calibration) -> tuple[float, float]:
    return calibrated(known).measure(new.mos.tolist(), new.score.tolist(), new.spread.tolist())


def constant_width(known: Calibration) -> float:
    error = np.abs(known.mos - known.score)
    return 2 * conformal_quantile(error, np.zeros(len(error), dtype=np.intp), 0.9)


def test_the_quantile_is_that_of_one_photo_more() -> None:
    """By hand: of 19 values the ceil(20 * 0.9) = 18th smallest; of 9 the 9th; of 8 there is none."""
    for count, place in ((19, 18), (9, 9), (39, 36), (100, 91)):
        values = np.random.default_rng(count).permutation(count).astype(float) + 1
        assert conformal_quantile(values, np.zeros(count, dtype=np.intp), 0.9) == place
    assert conformal_quantile(np.arange(8.0), np.zeros(8, dtype=np.intp), 0.9) == math.inf


def test_few_photos_have_a_constant_width_and_fewer_have_none() -> None:
    """The errors are 1 to 19, in any order: half the width is 18."""
    errors = np.random.default_rng(0).permutation(19) + 1.0
    score = np.linspace(0, 100, 19)
    model = calibrated(Calibration(score + errors, score, np.ones(19), np.full(19, "set")))
    assert model.coefficients == {}
    assert model.around(50.0, 1.0) == (32.0, 68.0)
    assert model.around(-1000.0, 99.0) == (-1018.0, -982.0)
    assert (model.photos, model.coverage) == ({"set": 19}, {"set": round(18 / 19, 4)})
    assert calibrate(photos(8, 0), crops=1) is None
    assert calibrate(photos(0, 0), crops=1) is None


@pytest.mark.parametrize(("count", "uneven", "by_spread"), [(20, 0, 0), (60, 0, 0), (60, 0.8, 0), (200, 0.8, 0.5)])
def test_nine_of_ten_new_photos_lie_in_their_intervals(count: int, uneven: float, by_spread: float) -> None:
    shape = {"uneven": uneven, "by_spread": by_spread}
    found = [measured(photos(count, seed, **shape), photos(500, 10_000 + seed, **shape))[0] for seed in range(60)]
    assert np.mean(found) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("shape", [{"uneven": 0.8}, {"by_spread": 1.2}])
def test_intervals_that_follow_the_error_are_narrower_at_the_same_coverage(shape: dict[str, float]) -> None:
    pairs = [(photos(200, seed, **shape), photos(500, 10_000 + seed, **shape)) for seed in range(20)]
    coverage, width = np.mean([measured(*pair) for pair in pairs], axis=0)
    assert coverage == pytest.approx(0.9, abs=0.02)
    assert width < 0.95 * np.mean([constant_width(known) for known, _ in pairs])


def test_the_width_follows_the_score_and_stays_at_the_edge_beyond_what_was_seen() -> None:
    known = photos(400, 1, uneven=0.8)
    model = calibrated(known)
    halves = model.half_width(np.array([25.0, 50.0, 75.0]), np.full(3, 1.0))
    assert halves[0] > 1.5 * halves[1] > 2.25 * halves[2] > 0
    low, high = float(known.score.min()), float(known.score.max())
    ends = model.half_width(np.array([low, high]), np.full(2, 1.0))
    beyond = model.half_width(np.array([-1e6, 1e6]), np.full(2, 1.0))
    assert beyond.tolist() == pytest.approx(ends.tolist())


def test_a_large_set_does_not_outvote_a_small_one() -> None:
    """Their errors have deviations 5 and 10: by photos alone the small set would be covered at some 59 %."""
    small, large = [], []
    for seed in range(30):
        known = joined(photos(100, seed, name="small"), _with_half_the_error(photos(1000, 500 + seed, name="large")))
        model = calibrated(known)
        for found, new in ((small, photos(500, 900 + seed)), (large, _with_half_the_error(photos(500, 950 + seed)))):
            found.append(model.measure(new.mos.tolist(), new.score.tolist(), new.spread.tolist())[0])
    assert (np.mean(small) + np.mean(large)) / 2 == pytest.approx(0.9, abs=0.02)
    assert np.mean(small) > 0.78


def _with_half_the_error(given: Calibration) -> Calibration:
    return Calibration(given.score + (given.mos - given.score) / 2, given.score, given.spread, given.group)


def test_sets_that_differ_where_their_scores_lie_are_each_covered() -> None:
    """Scores tell the sets apart, so the scale can: 87 to 93 % of both."""
    found = []
    for seed in range(30):
        sets = [_around(place, error, 1000 * place + seed) for place, error in ((30, 12.0), (70, 6.0))]
        model = calibrated(joined(*(_part(one, slice(0, 150)) for one in sets)))
        new = [_part(one, slice(150, None)) for one in sets]
        found.append([model.measure(n.mos.tolist(), n.score.tolist(), n.spread.tolist())[0] for n in new])
    assert all(0.87 < coverage < 0.93 for coverage in np.mean(found, axis=0))


def _around(place: int, error: float, seed: int) -> Calibration:
    rng = np.random.default_rng(seed)
    score = place + rng.uniform(-15, 15, 450)
    return Calibration(score + error * rng.standard_normal(450), score, np.ones(450), np.full(450, f"at {place}"))


def _part(given: Calibration, which: slice) -> Calibration:
    return Calibration(given.mos[which], given.score[which], given.spread[which], given.group[which])


def test_a_model_without_error_has_an_interval_without_width() -> None:
    score = np.linspace(0, 100, 60)
    model = calibrated(Calibration(score, score, np.zeros(60), np.full(60, "set")))
    assert model.around(50.0, 0.0) == (50.0, 50.0)


def test_exact_answers_among_others_do_no_harm() -> None:
    given = photos(100, 3, uneven=0.8)
    exact = Calibration(np.where(np.arange(100) % 3, given.mos, given.score), given.score, given.spread, given.group)
    low, high = calibrated(exact).around(50.0, 1.0)
    assert 5 < high - low < 100


def test_an_interval_model_comes_back_from_json() -> None:
    model = calibrate(photos(100, 2, uneven=0.8), crops=4, mos=(55.0, 20.0))
    assert model is not None
    assert (model.crops, model.mos_mean, model.mos_deviation) == (4, 55.0, 20.0)
    assert interval_from_values(json.loads(json.dumps(asdict(model)))) == model
    assert interval_from_values(None) is None


def bursts(slope: float, count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Leads of best shots, and whether they are right, with a chance that grows with the lead."""
    rng = np.random.default_rng(seed)
    lead = rng.exponential(5.0, count)
    return lead, rng.uniform(size=count) < 1 / (1 + np.exp(-slope * lead))


@pytest.mark.parametrize("slope", [0.2, 0.6])
def test_shots_that_far_apart_are_in_the_right_order_nine_times_of_ten(slope: float) -> None:
    found = calibrate_shots(*bursts(slope, 20_000, 0))
    assert found == pytest.approx(math.log(9) / slope, rel=0.05)  # 1 / (1 + exp(-slope x)) = 0.9
    lead, right = bursts(slope, 200_000, 1)
    assert right[np.abs(lead - found) < 0.5].mean() == pytest.approx(0.9, abs=0.02)


def test_the_difference_of_shots_is_in_the_units_of_the_score() -> None:
    lead, right = bursts(0.4, 300, 2)
    known = calibrate_shots(lead, right)
    assert known is not None
    assert calibrate_shots(100 * lead, right) == pytest.approx(100 * known)


def test_bursts_that_do_not_show_when_a_pick_is_sure_calibrate_nothing() -> None:
    lead, right = bursts(0.4, 300, 3)
    assert calibrate_shots(lead[:39], right[:39]) is None
    assert calibrate_shots(lead, np.ones(300, dtype=bool)) is None
    assert calibrate_shots(np.zeros(300), right) is None
    assert calibrate_shots(lead, np.zeros(300, dtype=bool)) is None


@pytest.mark.parametrize(
    "values",
    [{"shot_difference": 0.0}, {"shot_difference": -1.0}, {"shot_difference": math.inf}, {"bursts": {"a": -1}}],
)
def test_a_difference_that_no_bursts_give_is_refused(values: dict[str, object]) -> None:
    model = asdict(calibrated(photos(60, 1)))
    with pytest.raises(ValueError, match="none that calibration makes"):
        interval_from_values({**model, **values})
    kept = interval_from_values({**model, "shot_difference": 6.5, "bursts": {"a": 300}})
    assert kept is not None
    assert kept.shot_difference == 6.5
