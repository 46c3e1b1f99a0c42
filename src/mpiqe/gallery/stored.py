"""A page of photos that were scored before, from one table or two."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiqe.batch.progress import Tracker
from mpiqe.batch.sinks import decode_name
from mpiqe.best.capture import Capture, capture_of
from mpiqe.errors import ConfigError, ImageError
from mpiqe.gallery.addresses import folder_addresses
from mpiqe.gallery.compare import match
from mpiqe.gallery.folder import PageFolder, Pictures
from mpiqe.gallery.maps import map_picture
from mpiqe.gallery.packing import Contents, Map
from mpiqe.gallery.read_table import read_scores
from mpiqe.gallery.shots import Grouping, find_groups
from mpiqe.gallery.table import Table
from mpiqe.gallery.thumbnails import previews
from mpiqe.runtimes.base import ExplainablePredictor
from mpiqe.scoring import loading
from mpiqe.scoring.explanation import explain
from mpiqe.scoring.scorer import processors


@dataclass
class _Shown:
    """The pictures of a table's photos."""

    files: list[str | None]
    pictures: Pictures
    captures: list[Capture | None]


def page_of_tables(
    tables: Sequence[Path],
    folder: PageFolder,
    tracker: Tracker,
    *,
    title: str,
    thumbnail: int,
    worst: int | None,
    grouping: Grouping,
    options: Mapping[str, Any],
) -> Contents:
    """Read one table of scores, or two to compare, and make the photos' thumbnails, where they are files.

    Of two tables the ``grouping`` is that of the first.
    ``worst``: of so many photos there are distortion maps, ``None`` for all; the model for them and the bounds of
    reading are in ``options``, those of ``mpiqe.load``. Raises ``ConfigError`` and ``WeightsError``.
    """
    read = [read_scores(path) for path in tables]
    notes = []
    same_files = True
    if len(read) == 2:
        matched = match(*read)
        read, same_files = [matched.first, matched.second], matched.same_files
        if matched.left_out:
            notes.append(f"{matched.left_out} photos have a score in one of the tables only and are not shown.")
        if read[0].name == read[1].name:
            read = [replace(table, name=str(path)) for table, path in zip(read, tables, strict=True)]
    if not (len(read[0].paths) or read[0].failures):
        raise ConfigError(f"{tables[0]} has no row")
    grouping.difference(read[0].scale)
    folder.check_count(len(read[0].paths))
    folder.make()
    pictured = read if len(read) == 1 or not same_files else read[:1]
    tracker.total = sum(len(table.paths) for table in pictured)
    tracker.report()
    shown = [
        _pictures(table, tables[number], number, folder, tracker, thumbnail=thumbnail, options=options)
        for number, table in enumerate(pictured)
    ]
    missing = sum(len(each.pictures.absent) for each in shown)
    if missing:
        notes.append(f"{missing} photos are shown without a picture: there is no such file here, or none to read.")
    addresses = [
        folder_addresses(zip(table.paths, each.files, strict=True), folder.folder)
        for table, each in zip(pictured, shown, strict=True)
    ]
    return Contents(
        title=title,
        tables=read,
        taken=[capture and capture.seconds for capture in shown[0].captures],
        groups=find_groups(
            read[0],
            grouping,
            shown[0].captures,
            shown[0].files,
            workers=options["workers"] or processors(),
            timeout=options["read_timeout"],
        ),
        pictures=[each.pictures.to_json() for each in shown],
        maps=_maps(read[0], shown[0].files, folder, worst, options) if worst is None or worst else {},
        addresses=addresses,
        notes=notes,
    )


def _pictures(
    table: Table,
    path: Path,
    number: int,
    folder: PageFolder,
    tracker: Tracker,
    *,
    thumbnail: int,
    options: Mapping[str, Any],
) -> _Shown:
    files = [_file(name, path) for name in table.paths]
    shown = _Shown(files, folder.pictures(number), [])
    made = previews(
        files,
        longest=thumbnail,
        workers=options["workers"],
        max_pixels=options["max_pixels"],
        timeout=options["read_timeout"],
    )
    with closing(made):
        for preview in made:
            shown.pictures.add(preview.thumbnail if preview else None)
            shown.captures.append(capture_of(preview))
            tracker.add_many(1, failed=0)
    return shown


def _file(name: str, table: Path) -> str | None:
    """The file of a row: its path from here, or from the table's folder."""
    path = decode_name(name)
    if "\0" in path:
        return None
    return next((file for file in (path, os.path.join(table.parent, path)) if os.path.isfile(file)), None)


def _maps(
    table: Table, files: Sequence[str | None], folder: PageFolder, worst: int | None, options: Mapping[str, Any]
) -> dict[int, Map]:
    """Distortion maps of the worst photos; they are scored again for that, by the model that ``options`` name."""
    scorer = loading.load(**options)
    if not isinstance(scorer.predictor, ExplainablePredictor):
        raise ConfigError("this model has no attention maps, so it cannot explain; leave out --worst and --explain")
    higher_is_better = table.scale is None or table.scale.higher_is_better
    order = np.argsort(table.score if higher_is_better else -table.score, kind="stable")
    maps = {}
    for row in order[:worst].tolist():
        file = files[row]
        if file is None:
            continue
        try:
            explanation = explain(scorer, file)
        except ImageError:  # it was there a moment ago; the page shows it without a map
            continue
        content = map_picture(explanation)
        if content is not None and explanation.distortion is not None:
            maps[row] = Map(explanation.distortion, folder.add_map(row, content))
    return maps
