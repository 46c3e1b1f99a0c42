"""When and with which camera photos were taken, from their EXIF."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from mpiqe.errors import ImageError
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.preview import Preview
from mpiqe.scoring.pipeline import in_order
from mpiqe.view import View

_SIDE = 32  # pixels of the view and of the thumbnail, of which nothing is used: a JPEG is decoded at an eighth for it


class Capture(NamedTuple):
    """Moment and camera."""

    seconds: float
    """Since 1970, as if the camera's clock were UTC, with its fraction where the camera wrote one."""
    camera: str
    """Make, model and serial number, as far as they are there: photos of two cameras are no burst."""


def read_captures(
    paths: Sequence[str],
    *,
    workers: int = 2,
    timeout: float = 60.0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[Capture | None]:
    """Yield the capture of each photo, in order; ``None`` for one without a time, or that cannot be read.

    Photos are decoded in processes apart, as for scoring, which will say what is wrong with them.
    """
    cutting = Cutting(
        size=_SIDE,
        count=1,
        mode="grid",
        seed=0,
        max_pixels=max_pixels,
        view=View.of_side(_SIDE),
        thumbnail=_SIDE,
    )
    readers = Readers(cutting=cutting, timeout=timeout, isolate=len(paths) > 1)
    results = in_order(partial(_read, readers), paths, workers=workers, ahead=4 * workers, release=readers.close)
    with closing(results):
        yield from results


def capture_of(preview: Preview | None) -> Capture | None:
    """What a preview says of it; ``None`` without a time."""
    return None if preview is None or preview.taken is None else Capture(preview.taken, preview.camera)


def _read(readers: Readers, path: str) -> Capture | None:
    try:
        return capture_of(readers.read(path).preview)
    except ImageError:
        return None
