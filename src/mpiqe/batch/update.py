"""Bring an output up to date with a folder that has changed: rows of unchanged images are copied, the others scored.

The new rows go to a file beside the output, which takes its place when they are all there. A run that is killed leaves
the output as it was, and its file beside it, whose rows the next update takes too.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from io import BytesIO
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
from mpiqe.batch.sinks import COLUMNS, CsvSink, JsonLinesSink, Sink, decode_name, encode_name
from mpiqe.batch.summary import Scores
from mpiqe.errors import ConfigError
from mpiqe.scoring import loading
from mpiqe.sources.find import Limits, Photo, find_closed
from mpiqe.sources.kinds import is_archive
from mpiqe.sources.names import Names
from mpiqe.sources.patterns import has_braces, is_wild, split_wild
from mpiqe.sources.urls import scheme


class Updated(NamedTuple):
    """What an update did."""

    tracker: Tracker
    kept: int
    dropped: int


def is_there(output: Path) -> bool:
    """Whether there are rows to update, of a run that is finished or not; an empty file has none."""
    return (output.is_file() and output.stat().st_size > 0) or parts_folder(output).exists()


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
    scores: Scores,
    names: Names,
    null: bool,
    empty: list[str],
    waits: Callable[[], bool] | None,
) -> Updated:
    """Write the rows of what is ``found``, in that order, in place of those of ``output``.

    A row is copied if it has a score and the size and time of the file are those that it was made of. Rows of images
    that are not found any more are dropped. ``empty`` is that of ``find``. Raises ``ConfigError`` for rows that were
    made with other settings, for those of an unfinished run that wait to replace them, and for nothing to score; and
    where rows would be dropped because a disk is not mounted: for a path that is not there, for a folder that cannot be
    listed, and for one in which nothing is found any more.
    """
    if waits_beside(output, form):
        raise unfinished(output)
    refuse_foreign(output)
    first = next(found, None)
    if first is None:
        raise ConfigError(f"there is no image in {' '.join(paths)}, so the rows of {output} are left as they are")
    scorer = loading.load(**options)
    scores.higher_is_better = scorer.scale.higher_is_better
    now = {**settings, VERSION: scorer.scale.model, COMPUTES: scorer.predictor.computes}
    check_settings(output, now)
    known = _Known([output, *(part for part in _beside(output) if _has_settings(part, now))], form)
    _check_paths(paths, known, output, names)
    beside = next(path for number in count(1) if not _leftovers(path := _numbered(output, number)))
    tracker, kept = Tracker(on_progress, scores=scores), 0
    waiting: deque[tuple[_Place, Signature] | None] = deque()
    with Interrupts() as interrupts:
        try:
            with (
                Output(beside, form, resume=False).opened(scorer.predictor, earlier=None, settings=settings) as sink,
                SignatureFile(beside, goes_on=False) as signatures,
                counting(tracker, paths, output, wanted=count_total, names=names, null=null),
            ):

                def copy(place: _Place, signature: Signature) -> None:
                    nonlocal kept
                    with interrupts.held():
                        known.copy(place, sink)
                        signatures.add(place.path, place.score, signature)
                        kept += 1
                        scores.add(decode_name(place.path), place.score)
                        tracker.add_many(1, failed=0)

                tracker.report()
                changed = _changed(_checked(chain([first], found), known, output, empty), known, waiting, copy)
                with closing(scorer.rows(signatures.noted(changed), waits=waits)) as rows:
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


def _check_paths(paths: list[str], known: "_Known", output: Path, names: Names) -> None:
    """Raise ``ConfigError`` at once for a path of which ``_checked`` would say so after hours of scoring, perhaps."""
    for path in paths:
        if path == "-" or path.startswith("@") or scheme(path) is not None:
            continue
        is_pattern = is_wild(path) or has_braces(path)
        if os.path.isdir(path) or is_pattern:
            empty: list[str] = []
            limits = Limits(names=names)
            with closing(find_closed([path], stdin=BytesIO(), limits=limits, output=output, empty=empty)) as inside:
                next(inside, None)
            _check_empty(empty, known, output)
        elif not os.path.exists(path):
            if not known.has(path):
                raise _gone(path, output)
            _check_missing(path, known, output)


def _checked(found: Iterator[Photo], known: "_Known", output: Path, empty: list[str]) -> Iterator[Photo]:
    """Yield what is ``found``, as long as nothing is missing whose rows would be dropped, or lose their scores."""
    for photo in found:
        _check_empty(empty, known, output)
        path = _named(photo)
        if path is not None and not os.path.exists(path):
            _check_missing(path, known, output)
        yield photo
    _check_empty(empty, known, output)


def _check_missing(path: str, known: "_Known", output: Path) -> None:
    """Raise ``ConfigError`` for a path that is not there, unless it is one photo that was removed from its folder."""
    folder = os.path.dirname(path)
    if known.has_below(path) or (_is_void(folder) and known.has_below(folder)):
        raise _gone(path, output)


def _check_empty(empty: list[str], known: "_Known", output: Path) -> None:
    """Raise ``ConfigError`` if there are rows of a folder in which nothing was found.

    The same for the folder that a pattern begins with, where nothing matches the pattern and the folder is void.
    """
    for path in empty:
        is_folder = os.path.isdir(path) or not is_wild(path)
        folder = path if is_folder else split_wild(path.replace(os.sep, "/"))[0]
        if known.has_below(folder) and (is_folder or _is_void(folder)):
            raise ConfigError(
                f"there is nothing to score in {path}, and {output} has rows of it, which are left as they are; is its "
                "disk mounted? To drop these rows, do not name it any more"
            )
    empty.clear()


def _named(photo: Photo) -> str | None:
    """The path of a file or an archive on this machine that was named itself, and not found in a folder."""
    if photo.file is not None:
        return photo.file if photo.folder is None else None
    is_archive_itself = photo.fault is not None and is_archive(photo.name) and "::" not in photo.name
    return photo.name if is_archive_itself and scheme(photo.name) is None else None


def _is_void(folder: str) -> bool:
    """Whether there is no such folder, or nothing at all in it, as where a disk is not mounted."""
    try:
        with os.scandir(folder or ".") as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _gone(path: str, output: Path) -> ConfigError:
    return ConfigError(
        f"{path} is not there, so the rows of {output} are left as they are; is its disk mounted? To go on without it, "
        "and to drop its rows, do not name it any more"
    )


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
        self._failed: set[str] = set()  # have no score in any of the outputs
        self._folders: set[str] | None = None
        for number, output in enumerate(outputs):
            earlier = EarlierParquet(output) if form == "parquet" else EarlierText(output, form)
            for row_number, row in enumerate(earlier):
                position = earlier.start if isinstance(earlier, EarlierText) else row_number
                if not row.failed:
                    self._failed.discard(row.path)
                elif row.path not in self._places:
                    self._failed.add(row.path)
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

    def has(self, path: str) -> bool:
        """Whether there is a row of that name."""
        return encode_name(path) in self._places

    def has_below(self, folder: str) -> bool:
        """Whether there are scores of what lies in a folder or an archive, at any depth and however it is written.

        Paths that are relative are taken as from the working directory.
        """
        if self._folders is None:
            self._folders = set()
            names = (decode_name(path).partition("::") for path in self._places.keys() - self._failed)
            for holds in {archive if inside else os.path.dirname(archive) for archive, inside, _ in names}:
                above = os.path.abspath(holds)
                while above not in self._folders:
                    self._folders.add(above)
                    above = os.path.dirname(above)
        return os.path.abspath(folder) in self._folders

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
