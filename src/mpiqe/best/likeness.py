"""How alike photos look, by perceptual hashes: 64 bits of a photo's coarse structure, which damage hardly changes."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe.errors import ImageError
from mpiqe.extras import needing
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.scoring.pipeline import in_order
from mpiqe.view import View

Hashes = NDArray[np.uint64]

BITS = 64
_SIDE = 96  # pixels of the square from the photo's middle, as wide as its short side, that is hashed
_BLOCK = 512


def hash_photos(
    paths: Sequence[str],
    *,
    workers: int = 2,
    timeout: float = 60.0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[int | None]:
    """Yield the hash of each photo, in order; ``None`` for one that cannot be read, as scoring it will say.

    Photos are decoded in processes apart, as for scoring. Raises ``ConfigError`` without imagehash.
    """
    _imagehash()
    cutting = Cutting(size=_SIDE, count=1, mode="grid", seed=0, max_pixels=max_pixels, view=View.of_side(_SIDE))
    readers = Readers(cutting=cutting, timeout=timeout, isolate=len(paths) > 1)
    results = in_order(partial(_hash, readers), paths, workers=workers, ahead=4 * workers, release=readers.close)
    with closing(results):
        yield from results


def hash_image(image: Image.Image) -> int:
    """The hash of an RGB image."""
    bits = _imagehash().phash(image, hash_size=8).hash
    return int("".join("1" if bit else "0" for bit in bits.ravel()), 2)


def alike(hashes: Hashes, most: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs (i, j), i < j, of hashes (N,) that differ in at most ``most`` bits."""
    for start in range(0, len(hashes), _BLOCK):
        distance = _differing_bits(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        for row, column in zip(*np.nonzero(distance <= most), strict=True):
            if row < column:
                yield start + int(row), start + int(column)


def _differing_bits(words: Hashes) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # numpy 2
        counted: NDArray[np.uint8] = np.bitwise_count(words)
        return counted
    # each bit of each word: (..) uint64 -> (.., 8) uint8 -> (.., 64)
    bits = np.unpackbits(np.ascontiguousarray(words)[..., None].view(np.uint8), axis=-1)
    return np.asarray(bits.sum(axis=-1), dtype=np.uint8)


def _hash(readers: Readers, path: str) -> int | None:
    try:
        crops = readers.read(path).crops
    except ImageError:
        return None
    return hash_image(Image.fromarray(crops[0]))


def _imagehash() -> Any:
    with needing("to group photos by similarity"):
        import imagehash
    return imagehash
