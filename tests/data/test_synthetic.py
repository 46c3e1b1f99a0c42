from itertools import pairwise

import numpy as np
import pytest
from skimage import color
from skimage import data as photos

from mpiqe.data.synthetic import ALL_KINDS, CODECS, FURTHER_KINDS, KINDS, LEVELS, class_of, distort
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, distortion

PHOTO = photos.astronaut()[:256, 100:356].copy()
SMALL = PHOTO[40:72, 100:132].copy()
CONSTANT = np.full((48, 40, 3), 77, np.uint8)
RANDOM = {
    "motion blur",
    "colour shift",
    "white noise",
    "colour noise",
    "impulse noise",
    "multiplicative noise",
    "denoise",
    "mean shift",
    "jitter",
    "misplaced patches",
    "colour blocks",
    "contrast change",
}
# KADID-10k's types in its order, and the word that LIQE's label files have for each, where they tell it apart.
PUBLISHED = {
    "gaussian blur": "gaussian blur",
    "lens blur": "lens",
    "motion blur": "motion",
    "colour diffusion": "diffusion",
    "colour shift": "shifting",
    "colour quantization": "color quantization",
    "desaturation": "desaturation",
    "oversaturation": "oversaturation",
    "JPEG2000": "jpeg2000 compression",
    "JPEG": "jpeg compression",
    "white noise": "white noise",
    "colour noise": "white with color",
    "impulse noise": "impulse",
    "multiplicative noise": "multiplicative",
    "denoise": "white noise with denoise",
    "brighten": "brighten",
    "darken": "darken",
    "mean shift": "shifting the mean",
    "jitter": "jitter",
    "misplaced patches": "noneccentricity patch",
    "pixelate": "pixelate",
    "quantization": "quantization",
    "colour blocks": "color blocking",
    "sharpen": "sharpness",
    "contrast change": "realistic contrast change",
}


def _error(made: np.ndarray, original: np.ndarray = PHOTO) -> float:
    return float(((made.astype(float) - original) ** 2).mean())


def test_the_kinds_are_kadids_in_its_order() -> None:
    assert list(KINDS) == list(PUBLISHED)
    assert [kind.code for kind in KINDS.values()] == list(range(1, 26))


def test_every_kind_has_the_class_that_liqe_gives_it() -> None:
    assert {kind: class_of(kind) for kind in KINDS} == {kind: distortion(word) for kind, word in PUBLISHED.items()}
    assert {class_of(kind) for kind in KINDS} == set(DISTORTIONS)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_level_takes_a_photo_further_from_itself(kind: str, seed: int) -> None:
    errors = [0.0, *(_error(distort(PHOTO, kind, level, seed=seed)) for level in range(1, LEVELS + 1))]
    assert all(milder < worse for milder, worse in pairwise(errors)), errors
    assert errors[1] > 5  # squared grey levels: no level is invisible to a training
    assert errors[5] > 4 * errors[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_distorted_photo_is_a_photo_and_repeats_itself(kind: str) -> None:
    given = PHOTO.copy()
    made = distort(given, kind, 3, seed=7)
    assert (made.shape, made.dtype) == (PHOTO.shape, np.uint8)
    assert made.flags.c_contiguous
    assert made.flags.writeable
    assert np.array_equal(made, distort(PHOTO, kind, 3, seed=7))
    made[:] = 0
    assert np.array_equal(given, PHOTO)


def test_random_distortions_depend_on_the_seed_and_no_others_do() -> None:
    made = {kind: [distort(PHOTO, kind, 3, seed=seed).tobytes() for seed in range(6)] for kind in KINDS}
    assert {kind for kind, versions in made.items() if len(set(versions)) > 1} == RANDOM


@pytest.mark.parametrize("level", [1, LEVELS])
@pytest.mark.parametrize("kind", KINDS)
def test_small_odd_grey_and_constant_images_are_distorted_too(kind: str, level: int) -> None:
    grey = np.repeat(PHOTO[:40, 50:100, :1], 3, axis=2)
    wide = photos.chelsea()[100:133, 100:157]  # a view that is not contiguous
    for image in (SMALL, wide, np.ascontiguousarray(wide.transpose(1, 0, 2)), grey, CONSTANT, 0 * CONSTANT):
        made = distort(image, kind, level, seed=4)
        assert (made.shape, made.dtype, made.flags.c_contiguous) == (image.shape, np.uint8, True)
    if class_of(kind) == "blur":
        assert np.array_equal(distort(CONSTANT, kind, level, seed=4), CONSTANT)


def test_jpeg2000_leaves_something_of_a_small_photo() -> None:
    errors = [_error(distort(SMALL, "JPEG2000", level, seed=0), SMALL) for level in (1, 2, 3)]
    assert errors == sorted(set(errors))
    assert errors[-1] < SMALL.var()


@pytest.mark.parametrize("kind", ["gaussian blur", "lens blur", "motion blur", "white noise", "jitter"])
def test_blur_noise_and_jitter_keep_brightness(kind: str) -> None:
    assert distort(PHOTO, kind, 3, seed=0).mean() == pytest.approx(PHOTO.mean(), abs=1.5)


def test_exposure_moves_brightness() -> None:
    assert distort(PHOTO, "darken", 3, seed=0).mean() < PHOTO.mean() - 30
    assert distort(PHOTO, "brighten", 3, seed=0).mean() > PHOTO.mean() + 30


@pytest.mark.parametrize("kind", ["mean shift", "contrast change"])
def test_a_seed_means_one_direction_at_all_levels_and_seeds_mean_both(kind: str) -> None:
    measure = np.mean if kind == "mean shift" else np.std
    signs = []
    for seed in range(8):
        moved = [measure(distort(PHOTO, kind, level, seed=seed)) - measure(PHOTO) for level in range(1, LEVELS + 1)]
        assert len(set(np.sign(moved))) == 1
        signs.append(np.sign(moved[0]))
    assert set(signs) == {-1, 1}


@pytest.mark.parametrize("kind", ["impulse noise", "misplaced patches", "colour blocks"])
def test_what_a_milder_level_hits_a_stronger_one_hits_too(kind: str) -> None:
    for seed in range(8):
        milder, worse = (distort(PHOTO, kind, level, seed=seed) for level in (3, 5))
        hit = (milder != PHOTO).any(axis=-1)
        assert hit.any()
        assert np.array_equal(worse[hit], milder[hit])


def test_colour_distortions_leave_lightness_alone() -> None:
    lightness = color.rgb2lab(PHOTO)[..., 0]
    for kind in ("colour diffusion", "oversaturation"):
        off = np.abs(color.rgb2lab(distort(PHOTO, kind, 1, seed=0))[..., 0] - lightness)
        assert np.median(off) < 0.5  # of 100; colours beyond the gamut are clipped
    assert np.ptp(distort(PHOTO, "desaturation", 5, seed=0), axis=-1).max() == 0
    assert np.array_equal(distort(PHOTO, "colour shift", 3, seed=0)[..., ::2], PHOTO[..., ::2])


def test_colour_diffusion_keeps_colours_in_place() -> None:
    square = np.full((101, 101, 3), 128, np.uint8)
    square[40:61, 40:61] = (160, 110, 110)
    made = distort(square, "colour diffusion", 3, seed=0)
    for mirrored in (made[::-1], made[:, ::-1]):
        assert np.abs(made.astype(int) - mirrored).max() <= 1  # grey levels, by rounding


def test_quantization_leaves_as_many_values_as_asked_for() -> None:
    assert len(np.unique(distort(PHOTO, "colour quantization", 3, seed=0).reshape(-1, 3), axis=0)) == 10
    assert np.unique(distort(PHOTO, "quantization", 5, seed=0)).tolist() == [0, 128, 255]


def test_noise_has_the_deviation_it_was_asked_for() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert distort(grey, "white noise", 3, seed=0).astype(float).std() == pytest.approx(22, rel=0.02)
    assert distort(grey, "multiplicative noise", 3, seed=0).astype(float).std() == pytest.approx(0.18 * 128, rel=0.02)
    # Of luma and the chroma differences, by ITU-R BT.601; level 3 asks for 22 in Cb and 0.3 times that in Y.
    noisy = distort(grey, "colour noise", 3, seed=0).astype(float)
    luma = noisy @ [0.299, 0.587, 0.114]
    assert luma.std() == pytest.approx(0.3 * 22, rel=0.05)
    assert ((noisy[..., 2] - luma) / 1.772).std() == pytest.approx(22, rel=0.05)


def test_denoising_leaves_less_noise_than_there_was() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert distort(grey, "denoise", 3, seed=0).astype(float).std() < 25 / 2  # level 3 adds 25


def test_an_unknown_kind_or_level_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no distortion 'fog' at level 1; kinds are gaussian blur, .*contrast change"
    ):
        distort(PHOTO, "fog", 1, seed=0)
    for level in (0, 6):
        with pytest.raises(ConfigError, match="levels 1 to 5"):
            distort(PHOTO, "JPEG", level, seed=0)


@pytest.mark.parametrize("kind", FURTHER_KINDS)
def test_what_happens_to_photos_on_their_way_grows_worse_with_the_level(kind: str) -> None:
    errors = [np.square(distort(PHOTO, kind, level, seed=1).astype(float) - PHOTO).mean() for level in range(1, 6)]
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert distort(PHOTO, kind, 3, seed=1).shape == PHOTO.shape


def test_webp_and_avif_have_no_class_and_jpeg_has_its_own_however_it_was_coded() -> None:
    assert class_of("WebP") is None
    assert class_of("AVIF") is None
    assert class_of("JPEG, twice") == class_of("JPEG, full chroma") == "JPEG compression"
    assert set(CODECS) <= set(ALL_KINDS)
