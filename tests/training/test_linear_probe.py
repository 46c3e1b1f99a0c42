"""The ridge regression of the linear probe against its closed form, and what chooses its penalty."""

from dataclasses import replace

import numpy as np
import pytest

from mpiqe import metrics
from mpiqe.data.record import Split
from mpiqe.errors import DatasetError
from mpiqe.training.linear_probe import ALPHAS, probe, ridge


def _data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, Split]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 12)) * rng.uniform(0.1, 10, 12) + 5
    mos = features[:, 0] + rng.normal(size=60)
    return features, mos, Split(tuple(range(40)), tuple(range(40, 50)), tuple(range(50, 60)))


def test_ridge_in_one_dimension_is_the_closed_form() -> None:
    # x = 1 2 3 has deviation sqrt(2/3), so x' = -1.2247 0 1.2247 and x'x' = 3; y - 4 = -2 0 2, x'y = 4.899;
    # by hand w = 4.899 / (3 + alpha)
    for alpha, fit in zip((0, 1, 9), ridge(np.array([[1.0], [2], [3]]), np.array([2.0, 4, 6]), (0, 1, 9)), strict=True):
        assert fit.weights == pytest.approx([2 * 6**0.5 / (3 + alpha)])
        assert fit(np.array([[2.0]])) == pytest.approx([4])
    assert ridge(np.array([[1.0], [2], [3]]), np.array([2.0, 4, 6]), [0])[0](np.array([[10.0]])) == pytest.approx([20])


def test_ridge_is_the_normal_equations_and_a_constant_feature_says_nothing() -> None:
    features, mos, _ = _data()
    features[:, 3] = 7.0
    x = features - features.mean(axis=0)
    x = np.delete(x, 3, axis=1) / np.delete(x.std(axis=0), 3)
    (fit,) = ridge(features, mos, [2.5])
    expected = np.linalg.solve(x.T @ x + 2.5 * np.eye(11), x.T @ (mos - mos.mean()))
    assert np.delete(fit.weights, 3) == pytest.approx(expected)
    assert fit.weights[3] == pytest.approx(0)
    wide = features[:8]  # more features than images
    x = (wide - wide.mean(axis=0)) / np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1)
    expected = np.linalg.solve(x.T @ x + 0.1 * np.eye(12), x.T @ (mos[:8] - mos[:8].mean()))
    assert ridge(wide, mos[:8], [0.1])[0].weights == pytest.approx(expected)


def test_alpha_is_chosen_on_validation_and_never_on_test() -> None:
    chosen = set()
    for seed in range(5):
        features, mos, split = _data(seed)
        before = probe(features, mos, split, trained=split.train)
        best = min(before.validation.values())
        assert before.alpha == max(alpha for alpha in ALPHAS if before.validation[alpha] == best)
        fit = ridge(features[:40], mos[:40], [before.alpha])[0]
        assert before.validation[before.alpha] == pytest.approx(metrics.rmse(fit(features[40:50]), mos[40:50]))
        assert before.scores == pytest.approx(fit(features[50:]))
        other = np.concatenate([mos[:50], -mos[50:]])
        again = probe(np.concatenate([features[:50], features[50:] * 100]), other, split, trained=split.train)
        assert (again.alpha, again.validation) == (before.alpha, before.validation)
        shuffled = np.concatenate([mos[:40], mos[40:50][::-1], mos[50:]])
        chosen.add(probe(features, shuffled, split, trained=split.train).alpha == before.alpha)
    assert False in chosen  # validation does matter


def test_the_probe_learns_again_from_validation_where_mpiqe_does() -> None:
    features, mos, split = _data()
    small = probe(features, mos, split, trained=split.train)
    large = probe(features, mos, split, trained=(*split.train, *split.val))
    assert large.alpha == small.alpha
    assert large.scores == pytest.approx(ridge(features[:50], mos[:50], [small.alpha])[0](features[50:]))
    assert large.scores != pytest.approx(small.scores)


def test_a_split_without_validation_images_is_refused() -> None:
    features, mos, split = _data()
    with pytest.raises(DatasetError, match="validation images, and this split has none"):
        probe(features, mos, replace(split, val=()), trained=split.train)
