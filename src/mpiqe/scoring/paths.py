"""What the command line's PATHs stand for."""

import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.scoring.sources import parquet, patterns, remote, tar
from mpiqe.scoring.sources.folders import below, is_archive, is_image, listing
from mpiqe.scoring.sources.found import Broken, Fetched, Found, Limits, broken
from mpiqe.scoring.sources.held import Budget
from mpiqe.scoring.sources.reach import Reach
from mpiqe.scoring.sources.urls import last_name, scheme, shown
from mpiqe.scoring.table_process import Tables

__all__ = ["Fetched", "Found", "Limits", "Reach", "count", "count_one", "find", "inside", "is_closed", "photo_files"]

_LONGEST_LINE = 1 << 16  # bytes; the longest paths have 4,096, signed addresses some thousand


def photo_files(paths: Iterable[str], *, stdin: IO[bytes]) -> Iterator[Path]:
    """The files that ``find`` finds; raises ``ConfigError`` for a photo that is none, such as an archive's member."""
    for found in find(paths, stdin=stdin):
        if isinstance(found.fetched, Broken):
            raise ConfigError(f"{found.path}: {found.fetched.reason}")
        if found.fetched is not None:
            raise ConfigError(f"{found.path} is not a file of its own: unpack or download such photos first")
        yield Path(found.path)


def find(
    paths: Iterable[str],
    *,
    stdin: IO[bytes],
    limits: Limits | None = None,
    column: str | None = None,
    output: str | os.PathLike[str] | None = None,
    whole: bool = False,
) -> Iterator[Found]:
    """The photos that ``paths`` stand for, one after the other and found while they are used, always in one order.

    - A folder: every file below it that has the name of an image (``mpiqe.decoding.SUFFIXES``), ordered by name within
      each folder; where a folder has no image of its own, the photos in its tar and Parquet files. Names that begin
      with a dot are passed over, and so are outputs of ``mpiqe score``; links to folders are not followed.
    - A pattern (``*``, ``?``, ``[a-z]``, ``**`` for any folders between) that is not itself a file: the files it
      matches, in that same order; without a suffix at its end, the images and archives among them.
    - Braces (``shard-{000..009}.tar``, ``{a,b}/x.jpg``), likewise: one path for each.
    - ``.tar``, ``.tar.gz``, ``.tar.bz2``, ``.tar.xz``: its members with the names of images.
    - ``.parquet``: a photo for each row, from its ``column`` of paths, addresses or bytes.
    - ``http://`` and ``https://``: a photo. ``s3://``, ``gs://``, ``az://`` and what ``limits.reach`` adds: a photo, a
      folder or a pattern that fsspec knows.
    - ``@FILE``: the paths in that file, one per line; ``-``: those on ``stdin``. Empty lines mean nothing, and a line
      is never another list; one that is longer than any path or address fails.
    - Anything else stands for itself, whether there is such a file or not, and so does a folder that cannot be listed:
      reading it will say what is wrong.

    ``output`` is a file that is being written and is passed over in folders. ``whole`` leaves archives closed: each is
    found as the one path that ``inside`` opens.

    Raises ``ConfigError``, at once, for a list that is not there, and later for a package that is needed but missing.
    """
    paths = list(paths)
    for path in paths:
        if _is_list(path) and not os.access(path[1:], os.R_OK):
            raise ConfigError(f"cannot read the list {path[1:]}; for a photo of that name write ./{path}")
    finder = _Finder(limits=limits or Limits(), column=column, output=output, whole=whole)
    return finder.closing_after(finder.find(paths, stdin))


def count(paths: Iterable[str], *, output: str | os.PathLike[str] | None, stopped: threading.Event) -> int | None:
    """How many photos ``find`` will find; ``None`` where that takes reading everything, or when ``stopped``.

    Nobody can know for standard input and other pipes; compressed archives and stores elsewhere are not asked.
    """
    paths = list(paths)
    if "-" in paths or any(_is_list(path) and not _is_regular(path[1:]) for path in paths):
        return None
    finder = _Finder(limits=Limits(), column=None, output=output, whole=True, asks_stores=False)
    total = 0
    with open(os.devnull, "rb") as nothing, closing(finder.closing_after(finder.find(paths, nothing))) as photos:
        for found in photos:
            if stopped.is_set():
                return None
            one = count_one(found, tables=finder.tables)
            if one is None:
                return None
            total += one
    return total


def is_closed(found: Found) -> bool:
    """Whether it is an archive that ``find`` has left closed, not a photo."""
    if not is_archive(found.path):
        return False
    in_store = isinstance(found.fetched, remote.Object)
    return in_store or (found.fetched is None and not os.path.isdir(found.path))


def inside(
    found: Found, *, limits: Limits, column: str | None = None, first: int = 0, last: int | None = None
) -> Iterator[Found]:
    """The photos in an archive that ``find`` has left closed, as it would have found them.

    Of these the ones from number ``first`` to before number ``last``, counted from 0; what a Parquet file has before
    them is not read, nor are bytes in a plain tar.
    """
    finder = _Finder(limits=limits, column=column, output=None, whole=False)
    if isinstance(found.fetched, remote.Object):
        opened = partial(remote.opened, limits=limits)
        photos = finder.photos_in(found.fetched.url, found.path, opened=opened, first=first, last=last)
    else:
        photos = finder.photos_in(found.path, found.path, first=first, last=last)
    return finder.closing_after(photos)


def count_one(found: Found, *, tables: Tables | None = None) -> int | None:
    """How many photos something stands for that was found with archives left closed; ``None`` as for ``count``."""
    if found.fetched is not None:
        return None if isinstance(found.fetched, remote.Object) else 1
    try:
        if tar.is_tar(found.path):
            return tar.count(found.path)
        return parquet.count(found.path, tables=tables) if parquet.is_parquet(found.path) else 1
    except Exception:  # it is a guess for the progress line; what is wrong will be in a row
        return None


class _Finder:
    def __init__(
        self,
        *,
        limits: Limits,
        column: str | None,
        output: str | os.PathLike[str] | None,
        whole: bool,
        asks_stores: bool = True,
    ) -> None:
        self.limits = limits
        self.column = column
        self.output = None if output is None else os.path.realpath(output)
        self.whole = whole
        self.asks_stores = asks_stores
        self.budget = Budget()
        self.tables = Tables(limits)

    def closing_after(self, photos: Iterator[Found]) -> Generator[Found, None, None]:
        """The photos; no process that reads tables is left when they end or are closed."""
        with self.tables:
            yield from photos

    def find(self, paths: Iterable[str], stdin: IO[bytes]) -> Iterator[Found]:
        for path in paths:
            if path == "-":
                yield from self._lines(stdin, "standard input")
            elif _is_list(path):
                with open(path[1:], "rb") as file:
                    yield from self._lines(file, path[1:])
            else:
                yield from self._stands_for(path, is_typed=True)

    def _lines(self, file: IO[bytes], name: str) -> Iterator[Found]:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield broken(f"{name}, line {number}", f"longer than any path or address: over {_LONGEST_LINE} bytes")
                continue
            path = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"))
            if path:
                yield from self._stands_for(path, is_typed=False)

    def _stands_for(self, path: str, *, is_typed: bool) -> Iterator[Found]:
        """What a PATH or a line stands for; one that makes a library fail in a way nobody thought of is one row."""
        try:
            yield from self._all(path, is_typed)
        except MPIQEError:
            raise
        except Exception as error:
            yield broken(shown(path), f"cannot be looked through ({type(error).__name__}: {error})")

    def _all(self, path: str, is_typed: bool) -> Iterator[Found]:
        if patterns.has_braces(path) and not os.path.lexists(path):
            for each in patterns.expand_braces(path):
                yield from self._one(each, is_typed)
        else:
            yield from self._one(path, is_typed)

    def _one(self, path: str, is_typed: bool) -> Iterator[Found]:
        if scheme(path) is not None and not os.path.lexists(path):
            yield from self._at(path, is_typed)
        elif os.path.isdir(path):
            for inside in below(path):
                if is_archive(inside) and not os.path.isdir(inside):
                    yield from self._archive_in_folder(inside)
                else:
                    yield Found(inside, path)
        elif patterns.is_wild(path) and not os.path.lexists(path):
            yield from self._matched(path)
        else:
            yield from self._opened(path)

    def _at(self, url: str, is_typed: bool) -> Iterator[Found]:
        if scheme(url) in ("http", "https"):
            yield self._download(url, own=True)
            return
        if not self.asks_stores:
            yield Found(shown(url), None, remote.Object(url, self.limits), last_name(url))
            return
        refusal = self.limits.reach.refusal(url, chains=is_typed)
        if refusal is not None:
            yield broken(shown(url), refusal)
            return
        for found in remote.objects(url, limits=self.limits):
            if isinstance(found.fetched, remote.Object) and is_archive(found.path) and not self.whole:
                opened = partial(remote.opened, limits=self.limits)
                yield from self.photos_in(found.fetched.url, found.path, opened=opened)
            else:
                yield found

    def _matched(self, pattern: str) -> Iterator[Found]:
        folder, parts = patterns.split_wild(pattern.replace(os.sep, "/"))
        every = patterns.names_a_suffix(pattern)
        none = True
        for entry in patterns.match(folder, parts, _listing):
            if every or is_image(entry.name) or is_archive(entry.name):
                none = False
                if is_archive(entry.name):
                    yield from self._archive_in_folder(entry.path)
                else:
                    yield Found(entry.path, folder or ".")
        if none:
            yield broken(pattern, "nothing matches this pattern")

    def _download(self, url: str, *, own: bool) -> Found:
        from mpiqe.scoring.sources.http import Download  # its libraries take as long to load as a photo takes to score

        return Found(shown(url), None, Download(url, self.limits, own), last_name(url))

    def _archive_in_folder(self, path: str) -> Iterator[Found]:
        """One that was not named itself: our own outputs are no sources, and a missing package costs a row."""
        if os.path.realpath(path) == self.output:
            return
        try:
            if not (parquet.is_parquet(path) and parquet.is_ours(path, tables=self.tables)):
                yield from self._opened(path)
        except ConfigError as error:
            yield broken(path, str(error).removeprefix(f"{path}: "))

    def _opened(self, path: str) -> Iterator[Found]:
        if self.whole or not is_archive(path):
            yield Found(path)
        else:
            yield from self.photos_in(path, path)

    def photos_in(
        self,
        path: str,
        name: str,
        *,
        opened: Callable[[str], IO[bytes]] | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> Iterator[Found]:
        if tar.is_tar(path):
            photos = tar.photos(path, shown=name, limits=self.limits, budget=self.budget, opened=opened)
            yield from islice(photos, first, last)
        else:
            yield from parquet.photos(
                path,
                shown=name,
                column=self.column,
                limits=self.limits,
                budget=self.budget,
                named=partial(self._named, is_elsewhere=opened is not None),
                opened=opened,
                tables=self.tables,
                first=first,
                last=last,
            )

    def _named(self, path: str, *, is_elsewhere: bool) -> Found:
        """What a table's cell stands for: one photo, never a folder, so that rows stay beside rows.

        A table on this machine may name its files; one that ``is_elsewhere`` may not.
        """
        kind = scheme(path)
        if kind is None:
            if is_elsewhere:
                return broken(path, "a table that is not on this machine names no files of this machine")
            return Found(path)
        if kind in ("http", "https"):
            return self._download(path, own=False)
        refusal = self.limits.reach.refusal(path, files=not is_elsewhere)
        if refusal is not None:
            return broken(shown(path), refusal)
        return Found(shown(path), None, remote.Object(path, self.limits), last_name(path))


def _listing(folder: str) -> Iterable[patterns.Entry]:
    try:
        yield from listing(folder)
    except OSError:  # as the shell does: a folder that cannot be listed has nothing to match
        return


def _is_list(path: str) -> bool:
    return path.startswith("@") and len(path) > 1


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(os.stat(path).st_mode)
