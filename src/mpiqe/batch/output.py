"""The output of a job: a text stream, or a file that is new or continued."""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

from mpiqe.atomic import write_atomic
from mpiqe.batch.destination import (
    Form,
    Format,
    RowsFormat,
    beside,
    finish_move,
    form_of,
    is_occupied,
    made,
    move,
    unmade,
)
from mpiqe.batch.lock import alone
from mpiqe.batch.parquet_sink import (
    EarlierParquet,
    ParquetSink,
    merge,
    parts_folder,
    refuse_unfinished,
    remove_parts,
)
from mpiqe.batch.ray.parts import refuse_unfinished as refuse_shards
from mpiqe.batch.remote import RemoteOutput
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
from mpiqe.batch.signatures import signatures_file
from mpiqe.batch.sinks import (
    COLUMNS,
    COLUMNS_WITHOUT_QUALITY,
    CsvSink,
    JsonLinesSink,
    JsonSink,
    Sink,
    Stream,
    TableSink,
)
from mpiqe.batch.writing import GO_ON, writing
from mpiqe.decoding import begins_image
from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Predictor
from mpiqe.sources import parquet
from mpiqe.sources.unpacking import FAULTS, unpacking

_SYNC_SECONDS = 5.0
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4")  # gzip, bzip2, xz, zip
_ROWS = (
    b'{"path": ',
    b'[\n{"path": ',
    b"[\n]\n",
    *(",".join(names).encode() for names in (COLUMNS, COLUMNS_WITHOUT_QUALITY)),
)


class Output:
    """A file for rows, or a text ``stream`` where ``path`` is ``None``.

    ``form`` is by default what the file's suffix says (``destination.form_of``), or else a table. Of a link, ``final``
    is the file that it leads to, which is replaced while the link stays; ``path`` is where rows are written, from
    ``alone`` on, which is another file where they cannot lie in their place at once; of a ``remote`` output ``path`` is
    the local file. ``resume`` continues the rows
    that are there, ``overwrite`` replaces them when the new ones are all there; with neither, rows that are there are a
    ``ConfigError``. ``name_figures``: whether a table says which figure belongs to a row. ``selection``: which rows are
    going to be written, if not all. ``keep``: further columns.

    Raises ``ConfigError`` for invalid combinations: Parquet without a file, ``resume`` without a file that scripts
    read or with a selection, ``keep`` for a table or paths, an unknown suffix.
    """

    def __init__(
        self,
        path: Path | None,
        form: Format | None,
        *,
        stream: Stream | None = None,
        resume: bool,
        overwrite: bool = False,
        name_figures: bool = False,
        selection: Selection | None = None,
        keep: Sequence[str] = (),
        remote: RemoteOutput | None = None,
    ) -> None:
        self.path = self.final = path
        self.remote = remote
        self._is_opened = False
        self.stream = stream
        self.made_as = form_of(path, form, is_file=self._is_file)
        self.form: RowsFormat = self.made_as.rows
        self.resume = resume
        self.overwrite = overwrite
        self.name_figures = name_figures
        self.keep = keep
        self.is_selection = selection is not None and not selection.is_all
        if resume and overwrite:
            raise ConfigError("--resume continues the rows that are there and --overwrite replaces them: give one")
        if resume and self.is_selection:
            raise ConfigError(
                "--resume continues all rows: leave --min-score, --max-score, --worst, --best, --sort away"
            )
        if resume and not self.can_resume:
            raise ConfigError("--resume continues a file: give --output FILE, as csv, jsonl, json or parquet")
        if keep and self.form in ("table", "paths", "paths0"):
            raise ConfigError(
                "--keep adds columns to rows of csv, jsonl, json and parquet; give such a --format or --output, or "
                "leave it away"
            )
        if path and self._is_file and path.is_symlink():
            self.path = self.final = Path(os.path.realpath(path))

    @property
    def can_resume(self) -> bool:
        """Whether a later run can continue this output."""
        if self.path is None or self.form in ("table", "paths", "paths0") or self.is_selection:
            return False
        return self._is_file

    @property
    def signed(self) -> Path | None:
        """The rows whose images are noted for a later update; ``None`` where there can be none."""
        return self.path if self.can_resume and not self.made_as.is_made_at_the_end and not self.remote else None

    @property
    def _is_file(self) -> bool:
        """Whether it is, or will be, a regular file and not a pipe or device."""
        return self.final is not None and (self.final.is_file() or not self.final.exists())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the file while the context lasts, and move the rows into their place at its end if nothing went wrong.

        Raises ``ConfigError`` if another job writes it, or if rows would be lost.
        """
        if self.final is None or not self._is_file:
            yield
            return
        if self.remote:
            self.remote.folder.mkdir(parents=True, exist_ok=True)
        try:
            with alone(self.final):
                with self._fetched_for_rows():
                    if self.remote:
                        self._begin_remote(self.remote, self.final)
                    self._settle(self.final)
                    yield
                if self.path and self.path != self.final:
                    self._put_in_place(self.path, self.final)
                if self.remote:
                    self.remote.finish()
        finally:
            if self.remote:
                self.remote.leave()

    @contextlib.contextmanager
    def _fetched_for_rows(self) -> Iterator[None]:
        """Remove what was fetched from a store if a job fails before it has opened it for further rows."""
        try:
            yield
        except BaseException:
            if self.remote and self.remote.is_fetched and not self._is_opened and self.final:
                for each in (self.final, beside(self.final)):
                    each.unlink(missing_ok=True)
                    remove_parts(each)
                    _forget(each)
            raise

    def _begin_remote(self, remote: RemoteOutput, local: Path) -> None:
        new = beside(local)
        waits = parts_folder(local).exists() or parts_folder(new).exists()
        is_unfinished = waits or is_occupied(local, self.made_as) or is_occupied(new, Form(self.form))
        remote.begin(resume=self.resume, overwrite=self.overwrite, is_unfinished=is_unfinished)

    def _settle(self, final: Path) -> None:
        """Choose where the rows are written."""
        new = beside(final)
        is_unfinished = waits_beside(final, self.form)
        is_there = is_occupied(final, self.made_as)
        if self.resume:
            self.path = new if is_unfinished or self.made_as.is_made_at_the_end else final
            if is_there and self.made_as.is_made_at_the_end and not is_unfinished:
                refuse_foreign(final)
                write_atomic(settings_file(new), settings_file(final).read_bytes())
                unmade(final, self.made_as, new)
            return
        if is_unfinished and not self.overwrite:
            raise unfinished(final)
        if is_there and not self.overwrite:
            raise ConfigError(
                f"{final} is there already: --resume continues it, --overwrite replaces it; or name another --output"
            )
        has_parts = self.overwrite and parts_folder(final).exists()  # they stay until the new rows are there
        self.path = new if is_there or has_parts or self.made_as.is_made_at_the_end else final

    def start_anew(self) -> None:
        """Remove the unfinished rows that lie where new ones are going to be written; ``opened`` does this.

        Not before there is something to score, and a model to score it with: else these rows are lost for nothing.
        """
        if self.resume or self.final is None or not self._is_file:
            return
        new = beside(self.final)
        remove_parts(new)
        for leftover in (new, settings_file(new), signatures_file(new)):
            leftover.unlink(missing_ok=True)

    def _put_in_place(self, rows: Path, final: Path) -> None:
        with self._writable(final):
            if not self.can_resume:
                _forget(final)
            if self.made_as.is_made_at_the_end and rows.exists():
                whole = rows.with_name(f"{rows.name}.whole")
                made(rows, self.made_as, whole)
                whole.replace(final)
                rows.unlink()
            move(rows, final)
            remove_parts(final)

    def earlier(self) -> Earlier | None:
        """Return the rows to continue, if there can be any; raises ``ConfigError`` where some would be lost."""
        if self.path is None or self.overwrite:
            return None
        refuse_shards(self.path)
        if self.resume:
            refuse_foreign(self.path)
            if self.form == "parquet":
                return EarlierParquet(self.path)
            return EarlierText(self.path, self.form, self.keep)
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
    def opened(
        self,
        predictor: Predictor,
        *,
        earlier: Earlier | None,
        settings: Mapping[str, Any],
        crops: int | None = None,
    ) -> Iterator[Sink]:
        """Open a sink that continues the rows of ``earlier`` or starts anew; rows it took are kept whatever happens.

        ``crops``: how many each photo is scored by; a table of photos of one crop has no column for their spread.
        Raises ``ConfigError`` where those rows were computed with something else than the ``predictor`` computes with,
        or by another version of the model.
        """
        settings = {**settings, VERSION: predictor.scale.model, COMPUTES: predictor.computes}
        if earlier and self.path:
            check_settings(self.path, settings)
        self._is_opened = True
        self.start_anew()
        if self.form == "parquet" and self.path:
            with self._parquet(self.path, predictor, earlier, settings) as sink:
                yield sink
            return
        columns = earlier.columns if earlier else COLUMNS
        with self._stream(earlier, settings) as stream:
            if self.form == "csv":
                yield CsvSink(stream, header=earlier is None, columns=columns, kept=self.keep)
            elif not self._is_file and self.made_as.format == "json":
                array = JsonSink(stream, kept=self.keep)
                yield array
                array.finish()
            elif self.form == "jsonl":
                yield JsonLinesSink(stream, columns=columns, kept=self.keep)
            elif self.form in ("paths", "paths0"):
                yield PathsSink(stream, end="\0" if self.form == "paths0" else "\n")
            else:
                console = Console(file=cast("IO[str]", stream), highlight=False)
                yield TableSink(console, predictor, crops=crops, name_figures=self.name_figures)

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
                parts_folder(path).mkdir()  # before the settings: settings alone are those of rows that have moved
                write_settings(path, settings) if self.can_resume else _forget(path)
        columns = earlier.columns if earlier else COLUMNS
        sink = ParquetSink(path, predictor, settings=settings, columns=columns, kept=self.keep)
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
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            with file:
                yield file
            return
        synced = _Synced(file, self.path, then=GO_ON if self.can_resume else "")
        try:
            # after the old rows are gone: they are not to be taken for rows of these settings
            if self.can_resume and not earlier:
                write_settings(self.path, settings)
            elif not self.can_resume:
                _forget(self.path)
            yield synced
        finally:
            synced.close()

    @contextlib.contextmanager
    def _writable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"cannot write to {path}: {error.strerror}; name another --output") from error


def waits_beside(final: Path, form: RowsFormat) -> bool:
    """Whether rows of a run that was not finished wait to take the place of ``final``.

    Where a kill has left the settings of rows that have done so, they follow.
    """
    new = beside(final)
    if parts_folder(new).exists():
        return True
    finish_move(new, final)
    return is_occupied(new, Form(form))


def unfinished(final: Path) -> ConfigError:
    """Return the error for rows that wait where neither ``--resume`` nor ``--overwrite`` was given."""
    return ConfigError(
        f"{beside(final)} has the rows of a run that was not finished; continue it with --resume, or start anew with "
        "--overwrite"
    )


def _forget(output: Path) -> None:
    """Remove the settings and signatures of rows that are replaced by others which nothing continues."""
    for each in (settings_file(output), signatures_file(output)):
        each.unlink(missing_ok=True)


class _Synced:
    """A file whose text is with the system after each flush, and on the disk every few seconds.

    Raises ``ConfigError`` where it is found then that ``path`` is another file, or none: who removes an output during
    the run would else wait for rows that nobody will see.
    """

    def __init__(self, file: IO[str], path: Path, *, then: str) -> None:
        self.file = file
        self.path = path
        self._then = then
        self._since = time.monotonic()

    def write(self, text: str, /) -> object:
        with writing(self.path, then=self._then):
            return self.file.write(text)

    def flush(self) -> None:
        with writing(self.path, then=self._then):
            self.file.flush()
        if time.monotonic() - self._since >= _SYNC_SECONDS:
            self.sync()

    def close(self) -> None:
        """Write what is left, see it on the disk and close the file."""
        try:
            self.sync()
        finally:
            with writing(self.path, then=self._then):
                self.file.close()

    def sync(self) -> None:
        with writing(self.path, then=self._then):
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
    is_ours = settings_file(output).is_file()
    named = (path[1:] if path.startswith("@") and len(path) > 1 else path for path in paths)
    if any(os.path.exists(path) and os.path.samefile(path, output) for path in named):
        reason = "is one of the inputs"
    elif holds := _content(output, packed_is_ours=is_ours):
        reason = f"holds {holds}"
    else:
        return
    raise ConfigError(
        f"{output} {reason}, and the rows would be written over it; name another --output (a pattern right after "
        "--output is expanded by the shell, and its first file is taken for the output)"
    )


def _content(path: Path, *, packed_is_ours: bool) -> str | None:
    """What kind of input a file is by its first bytes; ``None`` for anything else, such as earlier rows."""
    with path.open("rb") as file:
        beginning = file.read(512)
    if begins_image(beginning):
        return "an image"
    if beginning.startswith(_PACKED[0]) and (packed_is_ours or _unpacks_to_rows(path)):
        return None
    if beginning.startswith(_PACKED) or beginning[257:262] == b"ustar":
        return "an archive"
    if beginning.startswith(b"PAR1") and not parquet.is_ours(str(path)):
        return "a Parquet file that mpiqe score has not written"
    return None


def _unpacks_to_rows(path: Path) -> bool:
    """Whether a compressed file begins as rows do, those of a selection too, which have no settings beside them."""
    with path.open("rb") as file:
        unpack = unpacking(file)
        try:
            beginning = unpack(file).read(512) if unpack else b""
        except FAULTS:
            return False
    return not beginning or beginning.startswith(_ROWS)
