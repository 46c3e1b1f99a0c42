"""Paths, patterns and addresses that a Python caller gives, resolved as on the command line."""

import os
from collections.abc import Generator, Iterable
from typing import Any

from mpiqe.sources import patterns, store
from mpiqe.sources.find import find, standard_input
from mpiqe.sources.kinds import is_archive
from mpiqe.sources.photo import Limits, Photo, file_photo, unreadable
from mpiqe.sources.urls import scheme, shown

_SEVERAL = "scorer.rows({path!r}) and mpiqe.score_to({path!r}, ..) score what it holds"


def is_path(source: object) -> bool:
    """Whether it is a path, a pattern or an address."""
    return isinstance(source, (str, os.PathLike))


def expanded(sources: Iterable[Any], *, limits: Limits) -> Generator[Any, None, None]:
    """Yield what each path among ``sources`` stands for, as ``find`` does, and everything else as it is, lazily.

    Raises ``ConfigError`` as ``find`` does, when the turn of that source comes.
    """
    for source in sources:
        if not is_path(source):
            yield source
            continue
        path = os.fsdecode(source)
        if not path or (os.path.isfile(path) and not is_archive(path)):  # an empty path is a missing file, no folder
            yield file_photo(path)
            continue
        yield from find([path], stdin=standard_input([path]), limits=limits)


def one_photo(path: str, *, limits: Limits) -> Photo:
    """Return the photo at a path or an address; for what stands for several, one that cannot be read and says so."""
    several = _SEVERAL.format(path=path)
    if os.path.isdir(path):
        return unreadable(path, f"a folder; {several}")
    if is_archive(path):
        return unreadable(shown(path), f"an archive of photos; {several}")
    kind = None if os.path.lexists(path) else scheme(path)
    if kind in ("http", "https"):
        from mpiqe.sources import http  # its libraries take as long to load as a photo takes to score

        return http.photo(path, limits)
    if kind is not None:
        refusal = limits.reach.refusal(path, chains=True)
        return store.photo(path, limits) if refusal is None else unreadable(shown(path), refusal)
    if not os.path.lexists(path) and (patterns.is_wild(path) or patterns.has_braces(path) or path.startswith("@")):
        return unreadable(path, f"no such file; where it is a pattern or a list, {several}")
    return file_photo(path)
