"""The output of a job: a text stream, or a file that is new or continued."""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from rich.console import Console

from mpiqe.batch.lock import alone
from mpiqe.batch.parquet_sink import EarlierParquet, ParquetSink, merge, refuse_unfinished, remove_parts
from mpiqe.batch.ray.parts import refuse_unfinished as refuse_shards
from mpiqe.batch.resume import (
    COMPUTES,
    VERSION,
    Earlier,
    EarlierText,
    check_settings,
    refuse_foreign,
    settings_file,
    write_settings,
)
from mpiqe.batch.selection import PathsSink, Selection
from mpiqe.batch.sinks import COLUMNS, CsvSink, JsonLinesSink, Sink, Stream, TableSink
from mpiqe.decoding import begins_image
from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Predictor
from mpiqe.sources import parquet

Format = Literal["table", "csv", "jsonl", "parquet", "paths", "paths0"]
"""The last two are paths alone, each followed by a line feed or by NUL."""

_BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_SYNC_SECONDS = 5.0
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4")  # gzip, bzip2, xz, zip


class Output:
    """A file for rows, or a text ``stream`` where ``path`` is ``None``.

    ``form`` is by default what the file's suffix says, or else a table. Of a link, ``path`` becomes the file that it
    leads to, which is replaced while the link stays. ``name_figures``: whether a table says which figure belongs to a
    row. ``selection``: which rows are going to be written, if not all. Raises ``ConfigError`` for invalid combinations:
    Parquet without a file, ``resume`` without a file that scripts read or with a selection.
    """

    def __init__(
        self,
        path: Path | None,
        form: Format | None,
        *,
        stream: Stream | None = None,
        resume: bool,
        name_figures: bool = False,
        selection: Selection | None = None,
    ) -> None:
        if form is not None and form not in get_args(Format):
            raise ConfigError(f"file_format must be one of {', '.join(get_args(Format))}, not {form!r}")
        self.path = path
        self.stream = stream
        self.form: Format = form or (_BY_SUFFIX.get(path.suffix.lower(), "table") if path else "table")
        self.resume = resume
        self.name_figures = name_figures
        self.is_selection = selection is not None and not selection.is_all
        if resume and self.is_selection:
            raise ConfigError(
                "--resume continues all rows: leave --min-score, --max-score, --worst, --best, --sort away"
            )
        if resume and not self.can_resume:
            raise ConfigError("--resume continues a file: give --output FILE, as csv, jsonl or parquet")
        if self.form == "parquet" and path is None:
            raise ConfigError("parquet is for a file: give --output FILE")
        if path and self._is_file and path.is_symlink():
            self.path = Path(os.path.realpath(path))

    @property
    def can_resume(self) -> bool:
        """Whether a later run can continue this output."""
        if self.path is None or self.form in ("table", "paths", "paths0") or self.is_selection:
            return False
        return self._is_file

    @property
    def _is_file(self) -> bool:
        """Whether it is, or will be, a regular file and not a pipe or device."""
        return self.path is not None and (self.path.is_file() or not self.path.exists())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the file while the context lasts; raises ``ConfigError`` if another job writes it."""
        with alone(self.path) if self.path and self._is_file else contextlib.nullcontext():
            yield

    def earlier(self) -> Earlier | None:
        """Return the rows to continue, if there can be any; raises ``ConfigError`` where some would be lost."""
        if self.path is None:
            return None
        refuse_shards(self.path)
        if self.resume:
            refuse_foreign(self.path)
            return EarlierParquet(self.path) if self.form == "parquet" else EarlierText(self.path, self.form)
        if self.form == "parquet":
            refuse_unfinished(self.path)
        return None

    def finish(self) -> None:
        """Finish the output of an earlier run that was killed after its last row."""
        if self.form == "parquet" and self.path:
            if self.path.exists():
                remove_parts(self.path)
            else:
                merge(self.path)

    @contextlib.contextmanager
    def opened(self, predictor: Predictor, *, earlier: Earlier | None, settings: Mapping[str, Any]) -> Iterator[Sink]:
        """Open a sink that continues the rows of ``earlier`` or starts anew; rows it took are kept whatever happens.

        Raises ``ConfigError`` where those rows were computed with something else than the ``predictor`` computes with,
        or by another version of the model.
        """
        settings = {**settings, VERSION: predictor.scale.model, COMPUTES: predictor.computes}
        if earlier and self.path:
            check_settings(self.path, settings)
        if self.form == "parquet" and self.path:
            with self._parquet(self.path, predictor, earlier, settings) as sink:
                yield sink
            return
        columns = earlier.columns if earlier else COLUMNS
        with self._stream(earlier, settings) as stream:
            if self.form == "csv":
                yield CsvSink(stream, header=earlier is None, columns=columns)
            elif self.form == "jsonl":
                yield JsonLinesSink(stream, columns=columns)
            elif self.form in ("paths", "paths0"):
                yield PathsSink(stream, end="\0" if self.form == "paths0" else "\n")
            else:
                console = Console(file=cast("IO[str]", stream), highlight=False)
                yield TableSink(console, predictor, name_figures=self.name_figures)

    @contextlib.contextmanager
    def _parquet(
        self, path: Path, predictor: Predictor, earlier: Earlier | None, settings: Mapping[str, Any]
    ) -> Iterator[Sink]:
        if earlier:
            earlier.cut()
        else:
            with self._writable(path):
                path.unlink(missing_ok=True)
                remove_parts(path)
                write_settings(path, settings)
        sink = ParquetSink(path, predictor, settings=settings, columns=earlier.columns if earlier else COLUMNS)
        try:
            yield sink
        except BaseException:
            if self.is_selection:
                remove_parts(path)  # nothing goes on from them
            else:
                sink.save()
            raise
        sink.finish()

    @contextlib.contextmanager
    def _stream(self, earlier: Earlier | None, settings: Mapping[str, Any]) -> Iterator[Any]:
        """In UTF-8 where scripts read it, with whatever bytes a path may hold."""
        if self.path is None:
            yield self.stream
            return
        with self._writable(self.path):
            if earlier:
                earlier.cut()
            file = self.path.open("a" if earlier else "w", encoding="utf-8", errors="surrogateescape", newline="\n")
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                yield file
                return
            # after the old rows are gone: they are not to be taken for rows of these settings
            if self.can_resume and not earlier:
                write_settings(self.path, settings)
            elif self.is_selection:  # the settings of rows that are no longer there
                settings_file(self.path).unlink(missing_ok=True)
            synced = _Synced(file, self.path)
            try:
                yield synced
            finally:
                synced.sync()

    @contextlib.contextmanager
    def _writable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"cannot write to {path}: {error.strerror}; name another --output") from error


class _Synced:
    """A file whose text is with the system after each flush, and on the disk every few seconds.

    Raises ``ConfigError`` where it is found then that ``path`` is another file, or none: who removes an output during
    the run would else wait for rows that nobody will see.
    """

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file = file
        self.path = path
        self._since = time.monotonic()

    def write(self, text: str, /) -> object:
        return self.file.write(text)

    def flush(self) -> None:
        self.file.flush()
        if time.monotonic() - self._since >= _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self._since = time.monotonic()
        try:
            there = os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except FileNotFoundError:
            there = False
        if not there:
            raise ConfigError(
                f"{self.path} was removed, renamed or replaced during the run, so its rows are not there; start again, "
                "and leave the file alone meanwhile"
            )


def refuse_inputs(output: Path, paths: Iterable[str]) -> None:
    """Raise ``ConfigError`` where rows would be written over what is scored: one of ``paths``, an image, an archive.

    ``mpiqe score --output photos/*.jpg`` names the first photo as the output, once the shell has expanded it.
    """
    if not output.is_file():
        return
    named = (path[1:] if path.startswith("@") and len(path) > 1 else path for path in paths)
    if any(os.path.exists(path) and os.path.samefile(path, output) for path in named):
        reason = "is one of the inputs"
    elif holds := _content(output):
        reason = f"holds {holds}"
    else:
        return
    raise ConfigError(
        f"{output} {reason}, and the rows would be written over it; name another --output (a pattern right after "
        "--output is expanded by the shell, and its first file is taken for the output)"
    )


def _content(path: Path) -> str | None:
    """What kind of input a file is by its first bytes; ``None`` for anything else, such as earlier rows."""
    with path.open("rb") as file:
        beginning = file.read(512)
    if begins_image(beginning):
        return "an image"
    if beginning.startswith(_PACKED) or beginning[257:262] == b"ustar":
        return "an archive"
    if beginning.startswith(b"PAR1") and not parquet.is_ours(str(path)):
        return "a Parquet file that mpiqe score has not written"
    return None
