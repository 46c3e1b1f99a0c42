"""Distortions made on purpose, with their class and level: what a backbone is taught on besides rated photos.

The 25 types, their order and codes are KADID-10k's (Lin, Hosu and Saupe, QoMEX 2019), their classes LIQE's mapping of
it. The functions and the five strengths of each are this project's own, from barely seen to ruinous. What a kind draws
is drawn before its strength is used, so that a seed means the same angle, direction or places at every level.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage import color

from mpiqe.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
LEVELS = 5


class Kind(NamedTuple):
    """One type of distortion."""

    code: int
    """KADID-10k's number, 1 to 25; higher for a kind that it does not have."""
    distortion: str | None
    """The class, one of ``mpiqe.labels.DISTORTIONS``; none where no class of the paper names it."""
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, ...]
    """What ``apply`` is given at levels 1 to 5."""


def distort(image: Pixels, kind: str, level: int, *, seed: int) -> Pixels:
    """``image`` (H, W, 3) with distortion ``kind`` at ``level`` 1 to 5; random parts are a function of ``seed``."""
    if kind not in ALL_KINDS or not 1 <= level <= LEVELS:
        raise ConfigError(
            f"no distortion {kind!r} at level {level}; kinds are {', '.join(ALL_KINDS)}, levels 1 to {LEVELS}"
        )
    entry = ALL_KINDS[kind]
    return entry.apply(image, entry.strengths[level - 1], np.random.default_rng(seed))


def class_of(kind: str) -> str | None:
    """The distortion class (of ``mpiqe.labels.DISTORTIONS``) that ``kind`` belongs to; none where there is none."""
    return ALL_KINDS[kind].distortion


def kinds_named(names: Iterable[str]) -> dict[str, Kind]:
    """Those of ``ALL_KINDS``, in its order; raises ``ConfigError`` for a name that is not among them."""
    asked = set(names)
    if unknown := sorted(asked - ALL_KINDS.keys()):
        raise ConfigError(f"no distortion {', '.join(map(repr, unknown))}; kinds are {'; '.join(ALL_KINDS)}")
    return {name: kind for name, kind in ALL_KINDS.items() if name in asked}


def _to_uint8(values: npt.NDArray[Any]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _as_pixels(picture: Image.Image) -> Pixels:
    return np.array(picture.convert("RGB"))  # a copy, as np.asarray of a picture is read-only


def _noise(image: Pixels, rng: np.random.Generator) -> Floats:
    return rng.standard_normal(image.shape, np.float32)


def _gaussian_blur(image: Pixels, sigma: float, _: np.random.Generator) -> Pixels:
    return _to_uint8(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="reflect", truncate=3))


def _convolve(image: Pixels, kernel: Floats) -> Pixels:
    """``image`` under a square ``kernel`` of odd side, by FFT: direct convolution takes 30 times as long."""
    from scipy.signal import fftconvolve  # 0.3 s to import

    reach = len(kernel) // 2
    padded = np.pad(image.astype(np.float32), ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    weights = (kernel / kernel.sum())[..., None]
    return _to_uint8(fftconvolve(padded, weights, mode="valid", axes=(0, 1)))


def _lens_blur(image: Pixels, radius: float, _: np.random.Generator) -> Pixels:
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)  # the rim's pixels count in part
    return _convolve(image, disc.astype(np.float32))


def _motion_blur(image: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    angle, reach = rng.uniform(0, np.pi), np.linspace(-length / 2, length / 2, int(2 * length) + 1)
    centre = int(length) // 2 + 1
    kernel = np.zeros((2 * centre + 1, 2 * centre + 1), np.float32)
    rows, columns = np.rint(centre + np.sin(angle) * reach), np.rint(centre + np.cos(angle) * reach)
    kernel[rows.astype(int), columns.astype(int)] = 1
    return _convolve(image, kernel)


def _diffuse_colour(image: Pixels, sigma: float, _: np.random.Generator) -> Pixels:
    lab = color.rgb2lab(image.astype(np.float32) / 255)
    # Three box filters approach the Gaussian and take the same time at any sigma: 3 (side^2 - 1) / 12 = sigma^2.
    side = 2 * round(((4 * sigma**2 + 1) ** 0.5 - 1) / 2) + 1  # odd, as an even box moves the colours
    for _pass in range(3):
        lab[..., 1:] = ndimage.uniform_filter(lab[..., 1:], (side, side, 1), mode="reflect")
    return _from_lab(lab)


def _from_lab(lab: Floats) -> Pixels:
    # Past this b, Z is negative: lab2rgb would warn and put 0 for it.
    lab[..., 2] = np.minimum(lab[..., 2], 199 * (lab[..., 0] + 16) / 116)
    return _to_uint8(255 * color.lab2rgb(lab))


def _shift_colour(image: Pixels, distance: float, rng: np.random.Generator) -> Pixels:
    # KADID-10k fades the shift out away from edges. Where there is no edge it can not be seen anyway; it is left out.
    angle, (height, width) = rng.uniform(0, 2 * np.pi), image.shape[:2]
    rows = np.clip(np.arange(height) + round(distance * np.sin(angle)), 0, height - 1)
    columns = np.clip(np.arange(width) + round(distance * np.cos(angle)), 0, width - 1)
    result: Pixels = image.copy()
    result[..., 1] = image[rows[:, None], columns, 1]
    return result


def _quantize_colour(image: Pixels, colours: float, _: np.random.Generator) -> Pixels:
    picture = Image.fromarray(image)
    sample = picture.resize((64, 64), Image.Resampling.NEAREST)  # median cut of all pixels takes 15 times as long
    palette = sample.quantize(int(colours), Image.Quantize.MEDIANCUT)
    return _as_pixels(picture.quantize(palette=palette, dither=Image.Dither.NONE))


def _desaturate(image: Pixels, kept: float, _: np.random.Generator) -> Pixels:
    value = image.max(axis=-1, keepdims=True).astype(np.float32)  # V of HSV stays, S is multiplied
    return _to_uint8(value - kept * (value - image))


def _oversaturate(image: Pixels, gain: float, _: np.random.Generator) -> Pixels:
    lab = color.rgb2lab(image.astype(np.float32) / 255)
    lab[..., 1:] *= gain
    return _from_lab(lab)


def _through_file(image: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)  # type: ignore[arg-type]
    with Image.open(buffer) as decoded:
        return _as_pixels(decoded)


def _jpeg2000(image: Pixels, ratio: float, _: np.random.Generator) -> Pixels:
    rate = image.size / (image.size / ratio + 200)  # headers count too: of a small photo they would leave nothing
    return _through_file(image, format="JPEG2000", quality_mode="rates", quality_layers=[rate], irreversible=True)


def _jpeg(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="JPEG", quality=int(quality))


def _jpeg_full_chroma(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="JPEG", quality=int(quality), subsampling=0)


def _jpeg_twice(image: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """Coded, moved by some pixels and coded again, as a picture that is cut and passed on: two grids of blocks."""
    down, across = rng.integers(1, 8, 2)
    padded = np.pad(image, ((down, 0), (across, 0), (0, 0)), mode="reflect")
    once = _through_file(padded, format="JPEG", quality=int(quality))
    return _through_file(once[down:, across:], format="JPEG", quality=int(quality))


def _webp(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="WEBP", quality=int(quality), method=4)


def _avif(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    return _through_file(image, format="AVIF", quality=int(quality), speed=9)


def _thumbnail(image: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.LANCZOS
    )
    return _as_pixels(small.resize((width, height), Image.Resampling.BICUBIC))


def _shrunk_jpeg(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    """Shrunk by 1.6, coded and enlarged again, as messengers and previews do."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((max(8, round(width / 1.6)), max(8, round(height / 1.6))))
    coded = Image.fromarray(_through_file(np.asarray(small), format="JPEG", quality=int(quality)))
    return _as_pixels(coded.resize((width, height), Image.Resampling.BICUBIC))


def _white_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image + rng.normal(0, deviation, image.shape).astype(np.float32))


_RGB_OF_YCBCR = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)  # ITU-R BT.601


def _colour_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    share = np.array([0.3, 1, 1], np.float32)  # of the deviation, in Y, Cb and Cr
    return _to_uint8(image + _noise(image, rng) @ (deviation * share * _RGB_OF_YCBCR).T)


def _impulse_noise(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    drawn = rng.random(image.shape[:2], np.float32)
    result: Pixels = image.copy()
    result[drawn < share / 2] = 0
    result[drawn >= 1 - share / 2] = 255
    return result


def _multiplicative_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image * (1 + deviation * _noise(image, rng)))


def _denoise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """White noise, then the local Wiener filter (Lee 1980): flat places are smoothed, busy ones stay noisy."""
    noisy = np.clip(image + deviation * _noise(image, rng), 0, 255)
    mean = ndimage.uniform_filter(noisy, (5, 5, 1), mode="reflect")
    variance = ndimage.uniform_filter(noisy**2, (5, 5, 1), mode="reflect") - mean**2
    gain = np.maximum(variance - deviation**2, 0) / np.maximum(variance, deviation**2)
    return _to_uint8(mean + gain * (noisy - mean))


def _gamma(image: Pixels, exponent: float, _: np.random.Generator) -> Pixels:
    return _to_uint8(255 * (image.astype(np.float32) / 255) ** exponent)


def _shift_mean(image: Pixels, offset: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image.astype(np.float32) + offset * rng.choice([-1, 1]))


def _jitter(image: Pixels, reach: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    drawn = 2 * rng.random((2, height, width), np.float32) - 1
    rows, columns = np.rint(reach * drawn).astype(np.intp)
    rows = np.clip(rows + np.arange(height)[:, None], 0, height - 1)
    columns = np.clip(columns + np.arange(width), 0, width - 1)
    moved: Pixels = image[rows, columns]
    return moved


def _misplace_patches(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    side = min(16, max(1, min(height, width) // 6))  # pixels, as KADID-10k's where the photo is large enough
    number = max(1, round(share * height * width / side**2))
    top, left, angle = rng.random((number, 3)).T * np.array([[height - side + 1], [width - side + 1], [2 * np.pi]])
    from_top = np.clip(np.rint(top + side * np.sin(angle)), 0, height - side).astype(int)
    from_left = np.clip(np.rint(left + side * np.cos(angle)), 0, width - side).astype(int)
    result: Pixels = image.copy()
    for index in reversed(range(number)):  # the first on top, so that one more never hides an error
        row, column, y, x = int(top[index]), int(left[index]), from_top[index], from_left[index]
        result[row : row + side, column : column + side] = image[y : y + side, x : x + side]
    return result


def _pixelate(image: Pixels, block: float, _: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    small = picture.resize((max(1, round(width / block)), max(1, round(height / block))), Image.Resampling.BOX)
    return _as_pixels(small.resize((width, height), Image.Resampling.NEAREST))


def _quantize(image: Pixels, levels: float, _: np.random.Generator) -> Pixels:
    step = 255 / (levels - 1)
    return _to_uint8(step * np.rint(np.arange(256) / step))[image]


def _colour_blocks(image: Pixels, number: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    side = min(height, width, max(4, min(height, width) // 14))
    drawn = rng.random((int(number), 5)) * (height - side + 1, width - side + 1, 256, 256, 256)
    result: Pixels = image.copy()
    for top, left, *colour in drawn.astype(int)[::-1]:  # the first on top, so that one more never hides an error
        result[top : top + side, left : left + side] = colour
    return result


def _sharpen(image: Pixels, amount: float, _: np.random.Generator) -> Pixels:
    mask = ImageFilter.UnsharpMask(radius=2, percent=int(100 * amount), threshold=0)
    return _as_pixels(Image.fromarray(image).filter(mask))


def _contrast(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    mean = float(image.mean())
    return _to_uint8(mean + (factor if rng.random() < 0.5 else 1 / factor) * (image.astype(np.float32) - mean))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "gaussian blur": Kind(1, "blur", _gaussian_blur, (0.8, 1.4, 2.2, 3.5, 6.0)),  # sigma, pixels
        "lens blur": Kind(2, "blur", _lens_blur, (1, 2, 3.5, 6, 10)),  # radius, pixels
        "motion blur": Kind(3, "blur", _motion_blur, (3, 6, 10, 16, 26)),  # length, pixels
        "colour diffusion": Kind(4, "color-related", _diffuse_colour, (3, 7, 14, 25, 45)),  # sigma, pixels
        "colour shift": Kind(5, "blur", _shift_colour, (1, 2, 3, 5, 9)),  # pixels; blur as LIQE maps it
        "colour quantization": Kind(6, "quantization", _quantize_colour, (32, 16, 10, 6, 3)),  # colours
        "desaturation": Kind(7, "color-related", _desaturate, (0.7, 0.5, 0.3, 0.12, 0.0)),  # share of S kept
        "oversaturation": Kind(8, "color-related", _oversaturate, (1.4, 1.9, 2.6, 4.0, 7.0)),  # gain on a and b
        "JPEG2000": Kind(9, "JPEG2000 compression", _jpeg2000, (16, 32, 65, 120, 240)),  # compression ratio
        "JPEG": Kind(10, "JPEG compression", _jpeg, (45, 25, 14, 8, 4)),  # Pillow's quality
        "white noise": Kind(11, "noise", _white_noise, (6, 12, 22, 36, 60)),  # deviation, grey levels
        "colour noise": Kind(12, "noise", _colour_noise, (6, 12, 22, 36, 60)),  # deviation of Cb and Cr, grey levels
        "impulse noise": Kind(13, "noise", _impulse_noise, (0.002, 0.008, 0.025, 0.06, 0.15)),  # share of pixels
        "multiplicative noise": Kind(14, "noise", _multiplicative_noise, (0.05, 0.1, 0.18, 0.32, 0.6)),  # of the value
        "denoise": Kind(15, "noise", _denoise, (8, 15, 25, 40, 70)),  # deviation before, grey levels
        "brighten": Kind(16, "over-exposure", _gamma, (0.8, 0.65, 0.5, 0.36, 0.22)),  # exponent
        "darken": Kind(17, "under-exposure", _gamma, (1.3, 1.7, 2.3, 3.2, 5.0)),  # exponent
        "mean shift": Kind(18, "others", _shift_mean, (10, 22, 38, 60, 95)),  # grey levels, up or down
        "jitter": Kind(19, "spatially-localized", _jitter, (0.6, 0.9, 1.6, 3.0, 6.0)),  # farthest move, pixels
        "misplaced patches": Kind(20, "spatially-localized", _misplace_patches, (0.02, 0.06, 0.14, 0.3, 0.6)),  # area
        "pixelate": Kind(21, "spatially-localized", _pixelate, (1.7, 2.5, 4.0, 6.0, 10.0)),  # block, pixels
        "quantization": Kind(22, "quantization", _quantize, (20, 12, 7, 4, 3)),  # levels of each channel
        "colour blocks": Kind(23, "spatially-localized", _colour_blocks, (2, 4, 8, 14, 24)),  # number
        "sharpen": Kind(24, "contrast", _sharpen, (0.6, 1.3, 2.6, 5.0, 11.0)),  # gain on detail finer than 2 pixels
        "contrast change": Kind(25, "contrast", _contrast, (0.8, 0.62, 0.45, 0.3, 0.17)),  # factor or its inverse
    }
)

FURTHER_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "JPEG, full chroma": Kind(26, "JPEG compression", _jpeg_full_chroma, (45, 25, 14, 8, 4)),  # Pillow's quality
        "JPEG, twice": Kind(27, "JPEG compression", _jpeg_twice, (45, 25, 14, 8, 4)),  # Pillow's quality
        "WebP": Kind(28, None, _webp, (45, 22, 10, 4, 0)),  # Pillow's quality
        "AVIF": Kind(29, None, _avif, (45, 30, 18, 8, 1)),  # Pillow's quality
        "enlarged thumbnail": Kind(30, "blur", _thumbnail, (1.5, 2.2, 3.2, 4.8, 7.5)),  # factor
        "shrunk JPEG": Kind(31, None, _shrunk_jpeg, (60, 35, 20, 11, 5)),  # Pillow's quality
    }
)
"""What happens to photos on their way besides KADID-10k's 25."""

ALL_KINDS: Mapping[str, Kind] = MappingProxyType({**KINDS, **FURTHER_KINDS})
CODECS = ("JPEG", "JPEG2000", "JPEG, full chroma", "JPEG, twice", "WebP", "AVIF", "shrunk JPEG")
"""The kinds that compression makes."""
