import pytest
import torch

from mpiqe.training.ridge import fit_ridge


def _data(rows: int = 30, features: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64) * torch.tensor([1, 10, 0.1, 1, 1])
    y = 3 + x @ torch.tensor([1.0, 0.2, -5.0, 0.0, 0.0], dtype=torch.float64)
    return x, y + 0.5 * torch.randn(rows, generator=generator, dtype=torch.float64)


def test_weights_solve_the_normal_equations_of_standardised_features() -> None:
    x, y = _data()
    ridge = fit_ridge(x, y, penalties=[7.0])
    deviation = x.std(dim=0, correction=0)
    z = (x - x.mean(dim=0)) / deviation
    expected = torch.linalg.solve(z.T @ z + 7 * torch.eye(5, dtype=torch.float64), z.T @ (y - y.mean())) / deviation
    torch.testing.assert_close(ridge.weight, expected)
    torch.testing.assert_close(ridge.fitted, x @ ridge.weight + ridge.bias)
    torch.testing.assert_close(ridge.fitted.mean(), y.mean())


def test_left_out_predictions_are_those_of_fits_without_the_row() -> None:
    x, y = _data()
    ridge = fit_ridge(x, y, penalties=[7.0])
    z = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    penalty = torch.diag(torch.tensor([0.0, 7, 7, 7, 7, 7], dtype=torch.float64))  # none on the constant
    design = torch.cat([torch.ones(30, 1, dtype=torch.float64), z], dim=1)
    for row in range(30):
        rest = torch.arange(30) != row
        solved = torch.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ y[rest])
        torch.testing.assert_close(ridge.left_out[row], design[row] @ solved)


def test_the_penalty_with_the_least_left_out_error_is_taken() -> None:
    x, y = _data()
    noise = torch.randn(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert fit_ridge(x, y, penalties=[0.1, 1e6]).penalty == 0.1
    assert fit_ridge(x, noise, penalties=[0.1, 1e6]).penalty == 1e6


def test_a_constant_feature_gets_no_weight() -> None:
    x, y = _data()
    x[:, 3] = 2.5
    assert fit_ridge(x.float(), y.float()).weight[3] == 0


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    x, y = _data()
    weights = torch.ones(30)
    weights[:10] = 2.0
    found = fit_ridge(x, y, weights=weights, penalties=[7.0])
    twice = torch.cat([torch.arange(10), torch.arange(30)])
    expected = fit_ridge(x[twice], y[twice], penalties=[7.0 * 40 / 30])  # weights are brought to a mean of one
    torch.testing.assert_close(found.weight, expected.weight)
    torch.testing.assert_close(found.bias, expected.bias)


def test_left_out_predictions_are_those_of_weighted_fits_without_the_row() -> None:
    x, y = _data()
    weights = torch.linspace(0.5, 1.5, 30, dtype=torch.float64)
    ridge = fit_ridge(x, y, weights=weights, penalties=[7.0])
    share = weights / weights.sum()
    mean = share @ x
    z = (x - mean) / (share @ (x - mean).square()).sqrt()
    penalty = torch.diag(torch.tensor([0.0, 7, 7, 7, 7, 7], dtype=torch.float64))
    design = torch.cat([torch.ones(30, 1, dtype=torch.float64), z], dim=1)
    for row in range(30):
        rest = torch.arange(30) != row
        normal = design[rest].T @ (weights[rest, None] * design[rest]) + penalty
        solved = torch.linalg.solve(normal, design[rest].T @ (weights[rest] * y[rest]))
        torch.testing.assert_close(ridge.left_out[row], design[row] @ solved)


def test_no_penalties_are_an_error() -> None:
    with pytest.raises(ValueError, match="no penalties"):
        fit_ridge(*_data(), penalties=[])
