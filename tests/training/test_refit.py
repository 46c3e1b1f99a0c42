"""The head of a model that goes on: a ridge regression on the stem's pooled features and the model's own number."""

import numpy as np
import pytest
import torch
from torch import nn

from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.model.mpiqe import MPIQE
from mpiqe.training.refit import fit, put_into, widened


def _made(images: int, features: int, *, known: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, a model's numbers and MOS: a part of the MOS that the model knows, and a part of the features alone."""
    draw = np.random.default_rng(0)
    values, numbers = draw.normal(size=(images, features)), draw.normal(size=images)
    mos = known * numbers + 0.5 * values[:, 0] + 0.1 * draw.normal(size=images)
    return tuple(map(torch.from_numpy, (values, numbers, mos)))  # type: ignore[return-value]


def test_what_is_fitted_is_what_it_says_and_left_out_is_a_fit_without_the_image() -> None:
    features, numbers, mos = _made(40, 6, known=1.0)
    found = fit(features, numbers, mos)
    said = found.offset + found.slope * numbers + features @ found.weight
    torch.testing.assert_close(said, found.fitted, atol=1e-9, rtol=0)
    errors = (found.left_out - mos).square().mean(), (found.fitted - mos).square().mean()
    assert errors[0] > errors[1]
    rest = torch.arange(40) != 7
    again = fit(features[rest], numbers[rest], mos[rest])
    without = again.offset + again.slope * numbers[7] + features[7] @ again.weight
    assert float(without) == pytest.approx(float(found.left_out[7]), abs=0.05)  # standardised by one image fewer


def test_a_model_that_knows_the_set_is_kept_and_one_that_does_not_gives_way() -> None:
    trusted, doubted = (fit(*_made(60, 40, known=known)) for known in (2.0, 0.05))
    assert trusted.slope == pytest.approx(2.0, abs=0.2)
    assert doubted.slope < 0.2
    features, numbers, mos = _made(60, 4, known=1.0)
    assert fit(features, -numbers, mos).slope == 0  # falls where the MOS rise
    assert fit(features, torch.ones(60), mos).slope == 0


@pytest.fixture
def embedded() -> MPIQE:
    model, _ = load_checkpoint("embedded")
    assert isinstance(model, MPIQE)
    return model


@pytest.mark.slow
def test_the_model_then_predicts_what_was_fitted(embedded: MPIQE) -> None:
    pixels = torch.randint(
        0,
        256,
        (12, 3, embedded.image_size, embedded.image_size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        before = embedded(pixels).prediction
        pooled = embedded.clip.embed(embedded.clip.preprocess(pixels)).pooled
        assert pooled is not None
        embedded.stem_head = widened(embedded.stem_head)  # type: ignore[arg-type]
        torch.testing.assert_close(embedded(pixels).prediction, before, atol=1e-5, rtol=0)
        found = fit(pooled, before, torch.linspace(-1, 1, 12) + 0.3 * before.double())
        put_into(embedded, found)
        after = embedded(pixels).prediction.double()
    torch.testing.assert_close(after, found.fitted, atol=1e-3, rtol=0)
    assert embedded.stem_head[0].out_features == 130  # type: ignore[index, union-attr]


def test_a_linear_head_needs_no_room() -> None:
    head = nn.Linear(5, 1)
    assert widened(head) is head
