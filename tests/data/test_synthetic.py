import numpy as np
import pytest
from skimage import data as photos

from mpiqe.data.synthetic import KINDS, LEVELS, class_of, distort
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS

PHOTO = photos.coffee()[100:260, 200:420]


def _error(kind: str, level: int) -> float:
    made = distort(PHOTO, kind, level, seed=1)
    return float(np.abs(made.astype(float) - PHOTO).mean())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_level_takes_a_photo_further_from_itself(kind: str) -> None:
    errors = [_error(kind, level) for level in range(1, LEVELS + 1)]
    assert errors[0] > 0.2
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_distorted_photo_is_a_photo_and_repeats_itself(kind: str) -> None:
    before = PHOTO.copy()
    made = distort(PHOTO, kind, 3, seed=7)
    assert (made.shape, made.dtype) == (PHOTO.shape, np.uint8)
    assert np.array_equal(made, distort(PHOTO, kind, 3, seed=7))
    assert np.array_equal(PHOTO, before)
    assert class_of(kind) in DISTORTIONS


def test_random_distortions_depend_on_the_seed() -> None:
    changing = {
        kind for kind in KINDS if not np.array_equal(distort(PHOTO, kind, 3, seed=1), distort(PHOTO, kind, 3, seed=2))
    }
    assert changing == {"motion blur", "white noise", "impulse noise", "blocks"}


def test_blur_keeps_brightness_and_exposure_moves_it() -> None:
    mean = PHOTO.mean()
    assert distort(PHOTO, "gaussian blur", 5, seed=0).mean() == pytest.approx(mean, abs=1)
    assert distort(PHOTO, "motion blur", 5, seed=0).mean() == pytest.approx(mean, abs=1)
    assert distort(PHOTO, "darken", 3, seed=0).mean() < mean - 30
    assert distort(PHOTO, "brighten", 3, seed=0).mean() > mean + 30


def test_noise_has_the_deviation_it_was_asked_for() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert distort(grey, "white noise", 3, seed=0).astype(float).std() == pytest.approx(22, rel=0.02)


def test_an_unknown_kind_or_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="no distortion 'fog' at level 1; kinds are gaussian blur, "):
        distort(PHOTO, "fog", 1, seed=0)
    with pytest.raises(ConfigError, match="levels 1 to 5"):
        distort(PHOTO, "JPEG", 6, seed=0)
