"""Rows beside the images that they are of, and with what images have of their tables."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from mpiqe.scoring.score import Row
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.photo import Photo


def paired(
    scorer: Scorer, photos: Iterable[Photo], *, waits: Callable[[], bool] | None = None
) -> Generator[tuple[Photo, Row], None, None]:
    """Yield each image with its row, in order; a row has what is ``kept`` of the image's table.

    ``waits`` is that of ``Scorer.rows``.
    """
    waiting: deque[Photo] = deque()

    def remembered() -> Iterator[Photo]:
        for photo in photos:
            waiting.append(photo)
            yield photo

    with closing(scorer.rows(remembered(), waits=waits)) as rows:
        for row in rows:
            photo = waiting.popleft()
            yield photo, row if photo.kept is None else replace(row, kept=photo.kept)
