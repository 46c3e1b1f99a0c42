"""Thumbnails of photos that were scored before, read in processes apart."""

from collections.abc import Generator, Iterable
from contextlib import closing
from functools import partial

from mpiqe.decoding import DEFAULT_MAX_PIXELS, release
from mpiqe.errors import ImageError
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.preview import Preview
from mpiqe.scoring.pipeline import in_order
from mpiqe.scoring.scorer import processors
from mpiqe.view import View


def previews(
    files: Iterable[str | None],
    *,
    longest: int,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    timeout: float = 60.0,
) -> Generator[Preview | None, None, None]:
    """Yield the preview of each file, in order; ``None`` for ``None`` and for a file that cannot be read.

    ``workers`` files are read at once, by default one for each processor. Raises ``ConfigError`` if no process can be
    started to read in.
    """
    cutting = Cutting(
        size=1,
        count=0,
        mode="seeded",
        seed=0,
        max_pixels=max_pixels,
        view=View.of_side(2 * longest),  # a large JPEG is decoded at a fraction of its size
        thumbnail=longest,
    )
    workers = processors() if workers is None else workers
    readers = Readers(cutting=cutting, timeout=timeout)
    work = partial(_preview, readers)
    with closing(in_order(work, files, workers=workers, ahead=2 * workers, release=readers.close)) as found:
        yield from found


def _preview(readers: Readers, file: str | None) -> Preview | None:
    if file is None:
        return None
    try:
        return readers.read(file).preview
    except ImageError as error:  # the page shows the photo without a picture
        release(error)
        return None
