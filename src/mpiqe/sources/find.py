"""Find the images that paths, patterns, lists and addresses stand for."""

import codecs
import os
import stat
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.sources import lists, parquet, passed_over, patterns, store
from mpiqe.sources.archive import Archive, Shared
from mpiqe.sources.kinds import is_archive, is_table
from mpiqe.sources.lists import Incoming
from mpiqe.sources.local import below, kind_left_out, listing, saved_tables
from mpiqe.sources.names import Names
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.photo import Limits, Photo, content_photo, file_photo, too_large, unreadable
from mpiqe.sources.reach import Reach
from mpiqe.sources.urls import scheme, shown

__all__ = ["Archive", "Limits", "Photo", "Reach", "count", "find", "find_closed", "photo_files", "standard_input"]

Source = TypeVar("Source")

STANDARD_INPUT = "standard input"


def photo_files(paths: Iterable[str], *, stdin: IO[bytes], left_out: PassedOver | None = None) -> Iterator[Path]:
    """Yield the files that ``find`` finds; raises ``ConfigError`` for a photo that is not a file of its own.

    Archives that lie in a folder are passed over and counted in ``left_out``, as what ``find`` leaves out.
    """
    left_out = left_out or PassedOver()
    for path in _checked(paths):
        is_folder = os.path.isdir(path)
        for source in find_closed([path], stdin=stdin, left_out=left_out):
            if is_folder and isinstance(source, Archive) and not is_table(source.name):
                left_out.add(passed_over.ARCHIVES)
                continue
            for photo in _as_rows(source.name, source.photos()):
                yield _file_of(photo)


def _file_of(photo: Photo) -> Path:
    if photo.fault is not None:
        raise ConfigError(f"{photo.name}: {photo.fault}")
    if photo.file is None:
        raise ConfigError(f"{photo.name} is not a file of its own: unpack or download such photos first")
    return Path(photo.file)


def find(
    paths: Iterable[str],
    *,
    stdin: IO[bytes],
    limits: Limits | None = None,
    column: str | None = None,
    output: str | os.PathLike[str] | None = None,
    left_out: PassedOver | None = None,
    kept: Sequence[str] = (),
    null: bool = False,
    empty: list[str] | None = None,
) -> Iterator[Photo]:
    """Yield the photos that ``paths`` stand for, lazily and always in the same order.

    - A folder: every file below it that has the name of an image (``mpiqe.decoding.SUFFIXES``), and the photos in its
      tar and zip archives, ordered by name within each folder. Tables, lists, names that begin with a dot, figures of
      mpiqe and links to folders are passed over: nothing in a folder leads anywhere else. A folder that Hugging Face's
      ``save_to_disk`` wrote: a photo for each row of its tables.
    - A pattern (``*``, ``?``, ``[a-z]``, ``**`` for any folders between) that is not itself a file: the files it
      matches, in that same order; without a suffix at its end, the images and archives among them.
    - Braces (``shard-{000..009}.tar``, ``{a,b}/x.jpg``), likewise: one path for each.
    - ``.tar``, ``.tar.gz``, ``.tar.bz2``, ``.tar.xz``, ``.zip``: its members with the names of images.
    - ``.parquet``, ``.arrow``: a photo for each row, from its ``column`` of paths, addresses or bytes.
    - ``http://`` and ``https://``: a photo. ``s3://``, ``gs://``, ``az://`` and what ``limits.reach`` adds: a photo, a
      folder or a pattern that fsspec knows.
    - ``@FILE``: the paths in that file, one per line, or with ``null`` each before a zero byte; ``-``: those on
      ``stdin``, or the one image that is there. Empty lines mean nothing, and a line is never another list; one that is
      longer than any path or address fails.
    - Anything else stands for itself, whether there is such a file or not, and so does a folder that cannot be listed:
      reading it will say what is wrong.

    ``output`` is a file that is being written and is passed over in folders. ``left_out`` counts what scans of folders
    and patterns leave out, and photos whose names are not wanted (``limits.names``). ``kept`` are columns of tables
    whose values photos have with them. ``empty`` gets each folder in which nothing is found, and each pattern that
    nothing matches.

    Raises ``ConfigError``, at once, for a list that is not there, and later for a package that is needed but missing.
    """
    finder = _Finder(
        limits=limits or Limits(),
        column=column,
        output=output,
        left_out=left_out,
        kept=kept,
        null=null,
        empty=empty,
    )
    return finder.photos(_checked(paths), stdin)


def find_closed(
    paths: Iterable[str],
    *,
    stdin: IO[bytes],
    limits: Limits | None = None,
    column: str | None = None,
    output: str | os.PathLike[str] | None = None,
    left_out: PassedOver | None = None,
    kept: Sequence[str] = (),
    null: bool = False,
    empty: list[str] | None = None,
) -> Generator[Photo | Archive, None, None]:
    """Find what ``find`` finds, but leave archives closed."""
    finder = _Finder(
        limits=limits or Limits(),
        column=column,
        output=output,
        left_out=left_out,
        kept=kept,
        null=null,
        empty=empty,
    )
    return finder.closed(_checked(paths), stdin)


def _checked(paths: Iterable[str]) -> list[str]:
    paths = list(paths)
    for path in paths:
        if _is_list(path) and not os.access(path[1:], os.R_OK):
            raise ConfigError(f"cannot read the list {path[1:]}; for a photo of that name write ./{path}")
    return paths


def standard_input(paths: Sequence[str]) -> IO[bytes]:
    """Standard input; where it is closed, nothing, or a ``ConfigError`` if ``paths`` name it."""
    if "-" not in paths:
        return BytesIO()
    if sys.stdin is None:
        raise ConfigError("standard input is closed, so no paths can come from there: give a list as @FILE")
    return lists.incoming(sys.stdin.buffer)


def count(
    paths: Iterable[str],
    *,
    output: str | os.PathLike[str] | None,
    stopped: threading.Event,
    names: Names | None = None,
    null: bool = False,
) -> int | None:
    """Return how many photos ``find`` will find; ``None`` if that takes reading everything, or when ``stopped``.

    Nobody can know for standard input and other pipes; compressed archives and stores elsewhere are not asked, nor are
    any archives where only some ``names`` are wanted.
    """
    paths = list(paths)
    if "-" in paths or any(_is_list(path) and not _is_regular(path[1:]) for path in paths):
        return None
    finder = _Finder(limits=Limits(names=names or Names()), column=None, output=output, asks_stores=False, null=null)
    total = 0
    with open(os.devnull, "rb") as nothing, closing(finder.closed(paths, nothing)) as sources:
        for source in sources:
            if stopped.is_set() or (names and isinstance(source, Archive)):
                return None
            counted = source.count()
            if counted is None:
                return None
            total += counted
    return total


class _Finder:
    def __init__(
        self,
        *,
        limits: Limits,
        column: str | None,
        output: str | os.PathLike[str] | None,
        asks_stores: bool = True,
        left_out: PassedOver | None = None,
        kept: Sequence[str] = (),
        null: bool = False,
        empty: list[str] | None = None,
    ) -> None:
        self.limits = limits
        self.output = None if output is None else os.path.realpath(output)
        self.asks_stores = asks_stores
        self.null = null
        self.left_out = left_out or PassedOver()
        self.empty = [] if empty is None else empty
        self.shared = Shared(limits, column, self.left_out, kept=kept)

    def closed(self, paths: Iterable[str], stdin: IO[bytes]) -> Generator[Photo | Archive, None, None]:
        """Yield photos and closed archives; the process that reads tables ends with it."""
        with self.shared:
            for path in paths:
                yield from self._path(path, stdin)

    def photos(self, paths: Iterable[str], stdin: IO[bytes]) -> Generator[Photo, None, None]:
        """Yield every photo, those in archives too; the process that reads tables ends with it."""
        with self.shared:
            for path in paths:
                for source in self._path(path, stdin):
                    yield from _as_rows(source.name, source.photos())

    def _path(self, path: str, stdin: IO[bytes]) -> Iterator[Photo | Archive]:
        if path == "-":
            yield from self._lines(stdin, STANDARD_INPUT)
        elif _is_list(path):
            with open(path[1:], "rb") as file:
                yield from self._lines(file, path[1:])
        else:
            yield from _as_rows(shown(path), self._wanted(path, is_typed=True))

    def _lines(self, file: IO[bytes], name: str) -> Iterator[Photo | Archive]:
        """What a list stands for; an image on standard input is one photo."""
        if self.null:
            found, word = lists.records(file), "name"
        else:
            head, is_image = lists.first_line(file)
            if is_image:
                yield self._image(head, file, name)
                return
            if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # > of Windows PowerShell
                yield unreadable(name, "a list in UTF-16; save it in UTF-8")
                return
            found, word = lists.lines(head.removeprefix(b"\xef\xbb\xbf"), file), "line"
        for number, line in enumerate(found, 1):
            if line is None:
                reason = f"longer than any path or address: over {lists.LONGEST} bytes"
                yield unreadable(f"{name}, {word} {number}", reason)
            elif line:
                path = os.fsdecode(line)
                for source in _as_rows(shown(path), self._wanted(path, is_typed=False)):
                    if isinstance(file, Incoming):
                        file.is_asked_next = not self.null and isinstance(source, Photo) and source.is_named
                    yield source

    def _image(self, head: bytes, file: IO[bytes], name: str) -> Photo:
        if name != STANDARD_INPUT:
            return unreadable(name, "an image and no list; name it without @ in front")
        limit = self.limits.max_bytes
        content = lists.rest_of(head, file, limit)
        return unreadable(name, too_large(None, limit)) if len(content) > limit else content_photo(name, content)

    def _wanted(self, path: str, is_typed: bool) -> Iterator[Photo | Archive]:
        """What a path stands for, without the photos whose names are not wanted; an archive looks at its own."""
        has_braces = patterns.has_braces(path) and not os.path.lexists(path)
        for each in patterns.expand_braces(path) if has_braces else (path,):
            is_empty = True
            for source in self._one(each, is_typed):
                if isinstance(source, Photo) and source.fault is None and not self.limits.names.wanted(source.name):
                    self.left_out.add(passed_over.FILTERED)
                else:
                    is_empty = False
                    yield source
            if is_empty and os.path.isdir(each):
                self.empty.append(each)

    def _one(self, path: str, is_typed: bool) -> Iterator[Photo | Archive]:
        if scheme(path) is not None and not os.path.lexists(path):
            yield from self._at(path, is_typed)
        elif os.path.isdir(path):
            if tables := saved_tables(path):
                for table in tables:
                    yield from self._named(table)
                return
            for inside in below(path, self.left_out, self.output):
                if is_archive(inside) and not os.path.isdir(inside):
                    yield from self._named(inside)
                else:
                    yield file_photo(inside, path)
        elif patterns.is_wild(path) and not os.path.lexists(path):
            yield from self._matched(path)
        else:
            yield from self._named(path)

    def _at(self, url: str, is_typed: bool) -> Iterator[Photo | Archive]:
        if scheme(url) in ("http", "https"):
            from mpiqe.sources import http  # its libraries take as long to load as a photo takes to score

            yield http.photo(url, self.limits)
            return
        if not self.asks_stores:
            yield self._archive_in_store(url)
            return
        refusal = self.limits.reach.refusal(url, chains=is_typed)
        if refusal is not None:
            yield unreadable(shown(url), refusal)
            return
        yield from store.objects(url, limits=self.limits, archive=self._archive_in_store, left_out=self.left_out)

    def _archive_in_store(self, url: str) -> Archive:
        return Archive(shown(url), url, True, self.shared)

    def _matched(self, pattern: str) -> Iterator[Photo | Archive]:
        folder, parts = patterns.split_wild(pattern.replace(os.sep, "/"))
        names_all = patterns.names_a_suffix(pattern)
        none = True
        for entry in patterns.match(folder, parts, _listing):
            kind = kind_left_out(entry.name, entry.path)
            if kind == passed_over.FIGURES or (kind is not None and not names_all):
                self.left_out.add(kind) if kind else self.left_out.add_file(entry.name)
                continue
            none = False
            if is_table(entry.name):
                yield from self._matched_table(entry.path)
            elif is_archive(entry.name):
                yield from self._named(entry.path)
            else:
                yield file_photo(entry.path, folder or ".")
        if none:
            self.empty.append(pattern)
            yield unreadable(pattern, "nothing matches this pattern")

    def _matched_table(self, path: str) -> Iterator[Photo | Archive]:
        """One that a pattern for tables matches: our own outputs are no sources, and a missing package costs a row."""
        if os.path.realpath(path) == self.output:
            return
        try:
            parquet.check_installed()
        except ConfigError as error:
            yield unreadable(path, str(error))
            return
        if parquet.is_ours(path, tables=self.shared.tables):
            self.left_out.add(passed_over.OUTPUTS)
        else:
            yield from self._named(path)

    def _named(self, path: str) -> Iterator[Photo | Archive]:
        yield Archive(path, path, False, self.shared) if is_archive(path) else file_photo(path)


def _as_rows(name: str, sources: Iterator[Source]) -> Iterator[Source | Photo]:
    """Yield ``sources``; a path or an archive that makes a library fail unexpectedly becomes one row."""
    try:
        yield from sources
    except MPIQEError:
        raise
    except Exception as error:
        yield unreadable(name, f"cannot be looked through ({type(error).__name__}: {error})")


def _listing(folder: str) -> Iterable[patterns.Entry]:
    try:
        yield from listing(folder)
    except OSError:  # as the shell does: a folder that cannot be listed has nothing to match
        return


def _is_list(path: str) -> bool:
    return path.startswith("@") and len(path) > 1


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(os.stat(path).st_mode)
