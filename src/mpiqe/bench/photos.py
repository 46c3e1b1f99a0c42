"""Photos made by a formula, the same on every machine, that cost a JPEG decoder what real ones do.

Dead leaves: discs of all sizes that hide one another, the smaller the more, which gives edges and the spectrum of
natural scenes; each has its colour, shading and grain. What decoding costs hangs on the number of coefficients that are
not zero, and so on the bits per pixel, which ``bits_per_pixel`` tells. At quality 90 these have 2.4 (512 x 384) and 1.7
(1024 x 768); those of scikit-image, brought to these sizes, have 1.3 to 2.3 and 1.0 to 1.6, the astronaut as it is 2.9.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe.images import Pixels

QUALITY = 90
SIZES = ((512, 384), (1024, 768))
"""Width and height: what mobile datasets and LIVE Challenge have, and what KADID and KonIQ have."""
_DISCS = 160


def write_photos(folder: Path, *, size: tuple[int, int], number: int) -> list[Path]:
    """Write ``number`` different JPEGs of (width, height) pixels to ``folder``."""
    paths = []
    for index in range(number):
        paths.append(folder / f"{size[0]}x{size[1]}-{index:02}.jpg")
        Image.fromarray(make_photo(size, seed=index)).save(paths[-1], quality=QUALITY)
    return paths


def bits_per_pixel(paths: Sequence[Path], size: tuple[int, int]) -> float:
    """Mean over the files."""
    return 8 * sum(path.stat().st_size for path in paths) / len(paths) / (size[0] * size[1])


def make_photo(size: tuple[int, int], *, seed: int) -> Pixels:
    """One photo of (width, height) pixels, (H, W, 3) uint8, a function of ``seed``."""
    width, height = size
    rng = np.random.default_rng(seed)
    photo = np.full((height, width, 3), 120.0, dtype=np.float32)
    grain = _noise(rng, height, width)
    large = max(size) / 2
    for number in range(_DISCS):  # the largest behind, so that the small ones are seen
        radius = large / (1 + 40 * number / _DISCS) ** 0.9
        left, top = rng.uniform(0, width), rng.uniform(0, height)
        columns = slice(max(0, int(left - radius)), min(width, int(left + radius) + 1))
        rows = slice(max(0, int(top - radius)), min(height, int(top + radius) + 1))
        down, across = np.ogrid[rows, columns]
        inside = (down - top) ** 2 + (across - left) ** 2 <= radius**2
        shading = rng.uniform(-30, 30) * (across - left) / radius + rng.uniform(-30, 30) * (down - top) / radius
        texture = rng.choice((0.5, 2.0, 5.0)) * grain[rows, columns]
        colour = rng.normal(120, 50) + rng.normal(0, 18, size=3)
        made = (shading + texture)[..., None] + colour
        photo[rows, columns] = np.where(inside[..., None], made, photo[rows, columns])
    return np.clip(photo + rng.normal(0, 1.0, photo.shape), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Grain whose amplitude falls with the root of the frequency, deviation 1."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = 1
    grain = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / np.sqrt(frequencies), s=(height, width))
    result: NDArray[np.float64] = (grain - grain.mean()) / grain.std()
    return result
