"""Distortions made on purpose, with their class and level: what a backbone is taught on besides rated photos.

Types and classes follow KADID-10k; the five levels of each are this project's own, from barely seen to ruinous.
"""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from mpiqe.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
LEVELS = 5


def distort(image: Pixels, kind: str, level: int, *, seed: int) -> Pixels:
    """``image`` (H, W, 3) with distortion ``kind`` at ``level`` 1 to 5; random parts are a function of ``seed``."""
    if kind not in KINDS or not 1 <= level <= LEVELS:
        raise ConfigError(
            f"no distortion {kind!r} at level {level}; kinds are {', '.join(KINDS)}, levels 1 to {LEVELS}"
        )
    _, apply, strengths = KINDS[kind]
    return apply(image, strengths[level - 1], np.random.default_rng(seed))


def class_of(kind: str) -> str:
    """The distortion class (of ``mpiqe.labels.DISTORTIONS``) that ``kind`` belongs to."""
    return KINDS[kind][0]


def _to_uint8(values: npt.NDArray[Any]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _gaussian_blur(image: Pixels, sigma: float, _: np.random.Generator) -> Pixels:
    return _to_uint8(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="reflect", truncate=3))


def _motion_blur(image: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    angle, reach = rng.uniform(0, np.pi), np.linspace(-length / 2, length / 2, int(2 * length) + 1)
    kernel = np.zeros((int(length) + 3, int(length) + 3), np.float32)
    centre = kernel.shape[0] // 2
    rows, columns = np.rint(centre + np.sin(angle) * reach), np.rint(centre + np.cos(angle) * reach)
    kernel[rows.astype(int), columns.astype(int)] = 1
    kernel /= kernel.sum()
    planes = [ndimage.convolve(image[..., plane].astype(np.float32), kernel, mode="reflect") for plane in range(3)]
    return _to_uint8(np.stack(planes, axis=-1))


def _white_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image + rng.normal(0, deviation, image.shape).astype(np.float32))


def _impulse_noise(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    result: Pixels = image.copy()
    hit = rng.random(image.shape[:2]) < share
    result[hit] = rng.choice(np.array([0, 255], np.uint8), size=(int(hit.sum()), 1))
    return result


def _through_file(image: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)  # type: ignore[arg-type]
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"))


def _jpeg(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="JPEG", quality=int(quality))


def _jpeg2000(image: Pixels, ratio: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)


def _gamma(image: Pixels, exponent: float, _: np.random.Generator) -> Pixels:
    return _to_uint8(255 * (image.astype(np.float32) / 255) ** exponent)


def _contrast(image: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    mean = image.mean(axis=(0, 1), dtype=np.float32)
    return _to_uint8(mean + factor * (image - mean))


def _quantize(image: Pixels, colours: float, _: np.random.Generator) -> Pixels:
    reduced = Image.fromarray(image).quantize(int(colours), dither=Image.Dither.NONE)
    return np.asarray(reduced.convert("RGB"))


def _desaturate(image: Pixels, share: float, _: np.random.Generator) -> Pixels:
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    return _to_uint8((1 - share) * image + share * grey[..., None])


def _oversaturate(image: Pixels, gain: float, _: np.random.Generator) -> Pixels:
    grey = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return _to_uint8(grey + gain * (image - grey))


def _pixelate(image: Pixels, block: float, _: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    small = picture.resize((max(1, round(width / block)), max(1, round(height / block))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _blocks(image: Pixels, number: float, rng: np.random.Generator) -> Pixels:
    result: Pixels = image.copy()
    height, width = image.shape[:2]
    side = max(4, min(height, width) // 14)
    for _ in range(int(number)):
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        result[top : top + side, left : left + side] = rng.integers(0, 256, 3)
    return result


_Apply = Callable[[Pixels, float, np.random.Generator], Pixels]

KINDS: Mapping[str, tuple[str, _Apply, tuple[float, ...]]] = MappingProxyType(
    {
        # kind: (class, function, strength at levels 1 to 5 with its unit)
        "gaussian blur": ("blur", _gaussian_blur, (0.8, 1.4, 2.2, 3.5, 6.0)),  # sigma, pixels
        "motion blur": ("blur", _motion_blur, (3, 6, 10, 16, 26)),  # length, pixels
        "white noise": ("noise", _white_noise, (6, 12, 22, 36, 60)),  # deviation, grey levels
        "impulse noise": ("noise", _impulse_noise, (0.002, 0.008, 0.025, 0.06, 0.15)),  # share of pixels
        "JPEG": ("JPEG compression", _jpeg, (45, 25, 14, 8, 4)),  # Pillow's quality
        "JPEG2000": ("JPEG2000 compression", _jpeg2000, (20, 40, 80, 150, 300)),  # compression ratio
        "brighten": ("over-exposure", _gamma, (0.8, 0.65, 0.5, 0.36, 0.22)),  # exponent
        "darken": ("under-exposure", _gamma, (1.3, 1.7, 2.3, 3.2, 5.0)),  # exponent
        "low contrast": ("contrast", _contrast, (0.8, 0.62, 0.45, 0.3, 0.17)),  # factor about the mean
        "quantize": ("quantization", _quantize, (32, 16, 10, 6, 3)),  # colours
        "desaturate": ("color-related", _desaturate, (0.3, 0.5, 0.7, 0.85, 1.0)),  # share of grey
        "oversaturate": ("color-related", _oversaturate, (1.5, 2.0, 2.8, 4.0, 6.0)),  # gain on chroma
        "pixelate": ("spatially-localized", _pixelate, (1.7, 2.5, 4.0, 6.0, 10.0)),  # block, pixels
        "blocks": ("spatially-localized", _blocks, (2, 4, 8, 14, 24)),  # number of coloured blocks
    }
)
