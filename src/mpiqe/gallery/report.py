"""Make a page of photos and their scores: the job behind ``mpiqe report``."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mpiqe.batch.figures import FigureFolder
from mpiqe.batch.progress import OnProgress, Tracker, counting
from mpiqe.errors import ConfigError
from mpiqe.gallery.addresses import folder_addresses
from mpiqe.gallery.folder import PageFolder
from mpiqe.gallery.packing import Contents
from mpiqe.gallery.read_table import check_readable, is_table
from mpiqe.gallery.scored import ScoredPhotos
from mpiqe.gallery.shots import Grouping, find_groups
from mpiqe.gallery.stored import page_of_tables
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.preview import LARGEST_SIDE
from mpiqe.scoring import loading
from mpiqe.sources.find import Limits, Reach, count, find, standard_input
from mpiqe.sources.names import Names

THUMBNAIL = 256
WORST = 24


@dataclass(frozen=True)
class ReportResult:
    """What a finished page shows."""

    page: Path
    """The file to open."""
    photos: int
    """Photos with a score."""
    failed: int
    """Photos that could not be read; a view of their own says why."""
    notes: tuple[str, ...] = ()
    """What the page says above the photos."""


def write_report(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    single_file: bool = False,
    title: str | None = None,
    thumbnail: int = THUMBNAIL,
    worst: int | None = None,
    explain_all: bool = False,
    grouping: Grouping | None = None,
    on_progress: OnProgress | None = None,
    count_total: bool = True,
    max_bytes: int = 256 << 20,
    timeout: float = 60.0,
    column: str | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    allow_scheme: Iterable[str] = (),
    allow_host: Iterable[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
    workers: int | None = None,
    **options: Any,
) -> ReportResult:
    """Write a static page of photos and their scores to the folder ``out``: ``index.html`` and what it needs.

    ``sources`` are photos, as ``mpiqe.score_to`` takes them, which are scored; or one table of scores (jsonl, csv or
    Parquet), or two of the same photos to compare, whose photos are read for thumbnails where they are files of this
    machine. The page works from disk and makes no request to any server.

    ``single_file``: put everything into ``index.html``, for 5,000 photos at most. ``thumbnail``: pixels along the
    longer side. ``worst``: of so many photos with the worst scores the page shows where the distortion is, by default
    24 of photos that are scored and none of a table; ``explain_all``: of all. ``grouping``: which photos are shots of
    one subject, whose best the page marks; by default bursts by time. ``on_progress``, ``count_total``, ``include`` and
    ``exclude`` are those of ``mpiqe.score_to``, all other options those of ``mpiqe.load``.

    The rows of photos that are scored go to ``scores.jsonl`` in ``out`` as they come, so that after an interrupt a page
    can be made of those.

    Raises ``ConfigError`` for invalid options, for nothing to show and for an ``out`` that holds another page;
    ``WeightsError`` for weights that cannot be loaded.
    """
    paths = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    if not 16 <= thumbnail <= LARGEST_SIDE:
        raise ConfigError(f"thumbnail must be from 16 to {LARGEST_SIDE} pixels, not {thumbnail}")
    if worst is not None and worst < 0:
        raise ConfigError(f"worst must be at least 0, not {worst}")
    for path in paths:
        check_readable(path)
    grouping = grouping or Grouping()
    folder = PageFolder(Path(out), single_file=single_file)
    tracker = Tracker(on_progress)
    options |= {"max_pixels": max_pixels, "read_timeout": timeout, "workers": workers}
    tables = [Path(path) for path in paths if is_table(path)]
    if tables:
        if len(tables) < len(paths) or len(tables) > 2:
            raise ConfigError("give photos, or one table of scores, or two to compare; not more, and not both")
        of_photos = {
            "--include": tuple(include),
            "--exclude": tuple(exclude),
            "--column": column,
            "--allow-scheme": tuple(allow_scheme),
            "--allow-host": tuple(allow_host),
        }
        if given := ", ".join(name for name, value in of_photos.items() if value):
            raise ConfigError(f"a table of scores is shown whole, and from files of this machine: leave {given} away")
        contents = page_of_tables(
            tables,
            folder,
            tracker,
            title=title or " and ".join(table.name for table in tables),
            thumbnail=thumbnail,
            worst=None if explain_all else worst or 0,
            grouping=grouping,
            options=options,
        )
    else:
        reach = Reach.of(paths, schemes=allow_scheme, hosts=allow_host)
        names = Names(include=tuple(include), exclude=tuple(exclude))
        limits = Limits(max_bytes=max_bytes, timeout=timeout, reach=reach, names=names)
        found = find(paths, stdin=standard_input(paths), limits=limits, column=column)
        found = FigureFolder(folder.folder).photos_outside(found)
        if single_file:
            folder.check_count(count(paths, output=None, stopped=threading.Event(), names=names) or 0)
        first = next(found, None)
        if first is None:
            raise ConfigError(f"there is no image in {' '.join(paths)}")
        scorer = loading.load(**options)
        grouping.difference(scorer.scale)  # said before all is scored if the model has none
        photos = ScoredPhotos(
            scorer, folder, thumbnail=thumbnail, worst=None if explain_all else WORST if worst is None else worst
        )
        folder.make()
        with counting(tracker, paths, None, wanted=count_total, names=names):
            photos.score(chain([first], found), tracker)
        title = title or _title(paths)
        table = photos.builder.table(name=title, scale=scorer.scale)
        files = [file for _, file in photos.files]
        contents = Contents(
            title=title,
            tables=[table],
            taken=[capture and capture.seconds for capture in photos.captures],
            groups=find_groups(table, grouping, photos.captures, files, workers=scorer.workers, timeout=timeout),
            pictures=[photos.pictures.to_json()],
            maps=photos.maps,
            addresses=[folder_addresses(photos.files, folder.folder)],
        )
    folder.write(contents)
    failed = {path for table in contents.tables for path, _ in table.failures}
    return ReportResult(folder.page, len(contents.tables[0].paths), len(failed), tuple(contents.notes))


def _title(paths: list[str]) -> str:
    names = [os.path.basename(os.path.abspath(path)) or path for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
