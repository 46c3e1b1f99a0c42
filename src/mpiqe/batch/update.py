"""Bring an output up to date with a folder that has changed: rows of unchanged images are copied, the others scored.

The new rows go to a file beside the output, which takes its place when they are all there. A run that is killed leaves
the output as it was, and its file beside it, whose rows the next update takes too.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from mpiqe.batch.destination import RowsFormat
from mpiqe.batch.interrupts import Interrupts, JobInterrupted
from mpiqe.batch.output import Output, unfinished, waits_beside
from mpiqe.batch.parquet_sink import EarlierParquet, ParquetRows, ParquetSink, parts_folder, remove_parts
from mpiqe.batch.progress import OnProgress, Tracker, counting
from mpiqe.batch.resume import (
    COMPUTES,
    VERSION,
    EarlierText,
    check_settings,
    record_at,
    refuse_foreign,
    settings_file,
)
from mpiqe.batch.signatures import Signature, SignatureFile, key_of, read_signatures, signature_of, signatures_file
from mpiqe.batch.sinks import COLUMNS, CsvSink, JsonLinesSink, Sink, encode_name
from mpiqe.errors import ConfigError
from mpiqe.scoring import loading
from mpiqe.sources.find import Photo


class Updated(NamedTuple):
    """What an update did."""

    tracker: Tracker
    kept: int
    dropped: int


def is_there(output: Path) -> bool:
    """Whether there are rows to update, of a run that is finished or not."""
    return output.exists() or parts_folder(output).exists()


def update_here(
    paths: list[str],
    found: Iterator[Photo],
    *,
    output: Path,
    form: RowsFormat,
    settings: dict[str, Any],
    options: dict[str, Any],
    on_progress: OnProgress | None,
    count_total: bool,
) -> Updated:
    """Write the rows of what is ``found``, in that order, in place of those of ``output``.

    A row is copied if it has a score and the size and time of the file are those that it was made of. Rows of images
    that are not found any more are dropped. Raises ``ConfigError`` for rows that were made with other settings, for
    those of an unfinished run that wait to replace them, for nothing to score, and for a folder that cannot be listed:
    its rows would be dropped.
    """
    if waits_beside(output, form):
        raise unfinished(output)
    refuse_foreign(output)
    first = next(found, None)
    if first is None:
        raise ConfigError(f"there is no image in {' '.join(paths)}, so the rows of {output} are left as they are")
    scorer = loading.load(**options)
    now = {**settings, VERSION: scorer.scale.model, COMPUTES: scorer.predictor.computes}
    check_settings(output, now)
    known = _Known([output, *(part for part in _beside(output) if _has_settings(part, now))], form)
    beside = next(path for number in count(1) if not _leftovers(path := _numbered(output, number)))
    tracker, kept = Tracker(on_progress), 0
    waiting: deque[tuple[_Place, Signature] | None] = deque()
    with Interrupts() as interrupts:
        try:
            with (
                Output(beside, form, resume=False).opened(scorer.predictor, earlier=None, settings=settings) as sink,
                SignatureFile(beside, goes_on=False) as signatures,
                counting(tracker, paths, output, wanted=count_total),
            ):

                def copy(place: _Place, signature: Signature) -> None:
                    nonlocal kept
                    with interrupts.held():
                        known.copy(place, sink)
                        signatures.add(place.path, place.score, signature)
                        kept += 1
                        tracker.add_many(1, failed=0)

                tracker.report()
                changed = _changed(chain([first], found), known, waiting, copy)
                with closing(scorer.rows(signatures.noted(changed))) as rows:
                    for row in rows:
                        waiting.popleft()
                        with interrupts.held():
                            sink.write(row)
                            signatures.add_row(row)
                            tracker.add(row)
                        _copy_first(waiting, copy)
                _copy_first(waiting, copy)
        except KeyboardInterrupt as interrupt:
            raise JobInterrupted(tracker.done, can_resume=True) from interrupt
    beside.replace(output)
    signatures_file(beside).replace(signatures_file(output))
    settings_file(beside).replace(settings_file(output))
    remove_parts(output)
    for path in _beside(output):
        remove_parts(path)
        for leftover in _leftovers(path):
            leftover.unlink(missing_ok=True)
    return Updated(tracker, kept, known.unused())


def _changed(
    found: Iterator[Photo],
    known: "_Known",
    waiting: "deque[tuple[_Place, Signature] | None]",
    copy: "Callable[[_Place, Signature], None]",
) -> Generator[Photo, None, None]:
    """Yield the photos to score, for which ``waiting`` gets ``None``; the rows of all others wait or are copied."""
    for photo in found:
        if photo.file is not None and os.path.isdir(photo.file):
            raise ConfigError(
                f"{photo.file} cannot be listed, so the rows of its photos would be dropped; the output is as it was"
            )
        signature = signature_of(photo)
        place = known.unchanged(photo, signature)
        if place is None or signature is None:
            waiting.append(None)
            yield photo
            continue
        photo.discard()
        if waiting:
            waiting.append((place, signature))
        else:  # nothing before it is being scored
            copy(place, signature)


def _copy_first(waiting: "deque[tuple[_Place, Signature] | None]", copy: "Callable[[_Place, Signature], None]") -> None:
    while waiting and (first := waiting[0]) is not None:
        copy(*first)
        waiting.popleft()


class _Place(NamedTuple):
    """Where a known row is."""

    source: int
    """Which of the outputs it is in."""
    position: int
    """A byte of a text, or the number of a row."""
    path: str
    """As it is written."""
    score: float


class _Known:
    """Rows of several outputs by path; the last one counts."""

    def __init__(self, outputs: list[Path], form: RowsFormat) -> None:
        self._form = form
        self._outputs = outputs
        self._signatures = [read_signatures(output) for output in outputs]
        self._places: dict[str, _Place | None] = {}
        self._found: set[str] = set()
        for number, output in enumerate(outputs):
            earlier = EarlierParquet(output) if form == "parquet" else EarlierText(output, form)
            for row_number, row in enumerate(earlier):
                position = earlier.start if isinstance(earlier, EarlierText) else row_number
                place = None
                if row.score is not None and earlier.columns == COLUMNS:  # else it is scored again
                    place = _Place(number, position, row.path, row.score)
                if place is not None or row.path not in self._places:
                    self._places[row.path] = place
        self._tables = [ParquetRows(output) for output in outputs] if form == "parquet" else []

    def unchanged(self, photo: Photo, signature: Signature | None) -> _Place | None:
        """Return where the row of a photo is, if it was made of the same file and has a score."""
        path = encode_name(photo.name)
        self._found.add(path)
        place = self._places.get(path)
        if place is None or signature is None:
            return None
        return place if self._signatures[place.source].get(key_of(path, place.score)) == signature else None

    def copy(self, place: _Place, sink: Sink) -> None:
        """Write a known row once more, as it is."""
        if isinstance(sink, ParquetSink):
            sink.write_values(self._tables[place.source].values(place.position))
        elif isinstance(sink, (CsvSink, JsonLinesSink)):
            record = record_at(self._outputs[place.source], place.position, self._form)
            sink.stream.write(record.decode("utf-8", "surrogateescape"))
            sink.stream.flush()

    def unused(self) -> int:
        """Return of how many paths there was a row and no photo."""
        return len(self._places.keys() - self._found)


def _numbered(output: Path, number: int) -> Path:
    return output.with_name(f"{output.name}.update-{number}")


def _leftovers(path: Path) -> list[Path]:
    """What there is of a file of rows: itself, its settings, signatures and parts."""
    return [each for each in (path, settings_file(path), signatures_file(path), parts_folder(path)) if each.exists()]


def _beside(output: Path) -> list[Path]:
    """The files of updates that were not finished, in the order in which they were begun."""
    pattern = re.compile(re.escape(output.name) + r"\.update-(\d{1,9})(?:\.run\.json|\.run\.photos|\.parts)?")
    names = (pattern.fullmatch(name) for name in os.listdir(output.parent))
    return [_numbered(output, number) for number in sorted({int(match[1]) for match in names if match})]


def _has_settings(output: Path, settings: dict[str, Any]) -> bool:
    """Whether an unfinished update was made with these settings."""
    try:
        check_settings(output, settings)
    except ConfigError:
        return False
    return True
