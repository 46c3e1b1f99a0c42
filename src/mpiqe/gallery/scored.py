"""Score photos for a page, with a thumbnail of each from the same reading, and explain the worst of them."""

import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing

from mpiqe.batch.progress import Tracker
from mpiqe.batch.sinks import JsonLinesSink, encode_name
from mpiqe.best.capture import Capture, capture_of
from mpiqe.errors import ConfigError, ImageError
from mpiqe.gallery.folder import PageFolder
from mpiqe.gallery.maps import map_picture
from mpiqe.gallery.packing import Map
from mpiqe.gallery.table import TableBuilder
from mpiqe.runtimes.base import ExplainablePredictor
from mpiqe.scoring.explanation import explain
from mpiqe.scoring.score import Row, Score
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.photo import Photo

SCORES = "scores.jsonl"


class ScoredPhotos:
    """Scores photos and keeps what a page needs of them.

    ``worst``: of so many photos with the worst scores there are distortion maps; ``None`` for all. A model without
    attention maps makes none; raises ``ConfigError`` if all were asked for.
    """

    def __init__(self, scorer: Scorer, folder: PageFolder, *, thumbnail: int, worst: int | None) -> None:
        if worst is None and not isinstance(scorer.predictor, ExplainablePredictor):
            raise ConfigError("this model has no attention maps, so it cannot explain; leave out --explain")
        self.builder = TableBuilder()
        self.captures: list[Capture | None] = []
        """Time and camera of each photo with a score, ``None`` without a time."""
        self.pictures = folder.pictures(0)
        self.files: list[tuple[str, str | None]] = []
        """How its row names it, and its path if it is a file."""
        self.maps: dict[int, Map] = {}
        self._scorer = scorer
        self._folder = folder
        self._thumbnail = thumbnail
        self._explains_all = worst is None
        self._most = worst if worst and isinstance(scorer.predictor, ExplainablePredictor) else 0
        self._worst: list[tuple[float, int, Photo, Score]] = []  # a heap, the best of them first

    def score(self, found: Iterator[Photo], tracker: Tracker) -> None:
        """Score all photos; in a folder their rows go to ``scores.jsonl`` as they come."""
        waiting: deque[Photo] = deque()

        def remembered() -> Iterator[Photo]:
            for photo in found:
                waiting.append(photo)
                yield photo

        with ExitStack() as until_scored:
            sink = None
            if not self._folder.single_file:
                path = self._folder.folder / SCORES
                sink = JsonLinesSink(until_scored.enter_context(path.open("w", encoding="utf-8")))
            tracker.report()
            rows = self._scorer.rows(remembered(), thumbnail=self._thumbnail)
            for row in until_scored.enter_context(closing(rows)):
                self._add(row, waiting.popleft())
                if sink:
                    sink.write(row)
                tracker.add(row)
        for _, number, photo, score in sorted(self._worst, reverse=True):
            self._explain(number, photo, score)

    def _add(self, row: Row, photo: Photo) -> None:
        name = encode_name(row.path)
        if row.score is None:
            self.builder.fail(name, encode_name(row.error or ""))
            return
        self._folder.check_count(len(self.builder) + 1)
        number = self.builder.add(name, row.score)
        shown = row.preview
        self.pictures.add(shown.thumbnail if shown else None)
        self.captures.append(capture_of(shown))
        self.files.append((name, photo.file))
        if self._explains_all:
            self._explain(number, photo, row.score)
        elif self._most:
            good = row.score.score if self._scorer.scale.higher_is_better else -row.score.score
            keep = heapq.heappush if len(self._worst) < self._most else heapq.heappushpop
            keep(self._worst, (-good, number, photo, row.score))

    def _explain(self, number: int, photo: Photo, score: Score) -> None:
        try:
            explanation = explain(self._scorer, photo.source(), score=score)
        except ImageError:  # it was there a moment ago; the page shows it without a map
            return
        content = map_picture(explanation)
        if content is not None and explanation.distortion is not None:
            self.maps[number] = Map(explanation.distortion, self._folder.add_map(number, content))
