"""Where rows go: standard output or a file, new or continued."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from mpiqe.errors import ConfigError

if TYPE_CHECKING:
    from mpiqe.scoring.predictor import Predictor
    from mpiqe.scoring.resume import Earlier
    from mpiqe.scoring.sinks import Sink

Format = Literal["table", "csv", "jsonl", "parquet"]

_BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_SYNC_SECONDS = 5.0


class Output:
    """A file for rows, or standard output where ``path`` is ``None``.

    ``form`` is by default what the file's suffix says, or else a table. Raises ``ConfigError`` for what cannot be
    meant: Parquet without a file, ``resume`` without a file that scripts read.
    """

    def __init__(self, path: Path | None, form: Format | None, *, resume: bool) -> None:
        self.path = path
        self.form: Format = form or (_BY_SUFFIX.get(path.suffix.lower(), "table") if path else "table")
        self.resume = resume
        if resume and not self.can_resume:
            raise ConfigError("--resume continues a file: give --output FILE, as csv, jsonl or parquet")
        if self.form == "parquet" and path is None:
            raise ConfigError("parquet is for a file: give --output FILE")

    @property
    def can_resume(self) -> bool:
        """Whether a later run can continue this output."""
        if self.path is None or self.form == "table":
            return False
        return self._is_file

    @property
    def _is_file(self) -> bool:
        """Neither a pipe nor /dev/stdout."""
        return self.path is not None and (self.path.is_file() or not self.path.exists())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs from the file meanwhile; raises ``ConfigError`` where one is at it."""
        from mpiqe.scoring.lock import alone

        with alone(self.path) if self.path and self._is_file else contextlib.nullcontext():
            yield

    def earlier(self) -> "Earlier | None":
        """The rows that are to be continued, if any can be there; raises ``ConfigError`` where some would be lost."""
        from mpiqe.scoring.cluster.parts import refuse_unfinished as refuse_shards
        from mpiqe.scoring.parquet_sink import EarlierParquet, refuse_unfinished
        from mpiqe.scoring.resume import EarlierText, refuse_foreign

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
        """Do what an earlier run had left to do after its last row."""
        from mpiqe.scoring.parquet_sink import merge, remove_parts

        if self.form == "parquet" and self.path:
            if self.path.exists():
                remove_parts(self.path)
            else:
                merge(self.path)

    @contextlib.contextmanager
    def opened(
        self, predictor: "Predictor", *, earlier: "Earlier | None", settings: Mapping[str, Any]
    ) -> "Iterator[Sink]":
        """A sink, after the rows of ``earlier`` or for a new beginning; whatever happens, it keeps the rows it took.

        Raises ``ConfigError`` where those rows were computed with something else than the ``predictor`` computes with,
        or by another version of the model.
        """
        from rich.console import Console

        from mpiqe.scoring.resume import COMPUTES, VERSION, check_settings
        from mpiqe.scoring.sinks import CsvSink, JsonLinesSink, TableSink

        settings = {**settings, VERSION: predictor.scale.model, COMPUTES: predictor.computes}
        if earlier and self.path:
            check_settings(self.path, settings)
        if self.form == "parquet" and self.path:
            with self._parquet(self.path, predictor, earlier, settings) as sink:
                yield sink
            return
        with self._stream(earlier, settings) as stream:
            if self.form == "csv":
                yield CsvSink(stream, header=earlier is None)
            elif self.form == "jsonl":
                yield JsonLinesSink(stream)
            else:
                yield TableSink(Console(file=stream, highlight=False), predictor)

    @contextlib.contextmanager
    def _parquet(
        self, path: Path, predictor: "Predictor", earlier: "Earlier | None", settings: Mapping[str, Any]
    ) -> "Iterator[Sink]":
        from mpiqe.scoring.parquet_sink import ParquetSink, remove_parts
        from mpiqe.scoring.resume import write_settings

        if earlier:
            earlier.cut()
        else:
            with self._writable(path):
                path.unlink(missing_ok=True)
                remove_parts(path)
                write_settings(path, settings)
        sink = ParquetSink(path, predictor, settings=settings)
        try:
            yield sink
        except BaseException:
            sink.save()
            raise
        sink.finish()

    @contextlib.contextmanager
    def _stream(self, earlier: "Earlier | None", settings: Mapping[str, Any]) -> Iterator[Any]:
        """In UTF-8 where scripts read it, with whatever bytes a path may hold."""
        from mpiqe.scoring.resume import write_settings

        if self.path is None:
            if isinstance(sys.stdout, io.TextIOWrapper):
                if self.form == "table":
                    sys.stdout.reconfigure(errors="replace")
                else:
                    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
            yield sys.stdout
            return
        with self._writable(self.path):
            if earlier:
                earlier.cut()
            file = self.path.open("a" if earlier else "w", encoding="utf-8", errors="surrogateescape", newline="\n")
        with file:
            if not self.can_resume:
                yield file
                return
            if not earlier:  # after the old rows are gone: they are not to be taken for rows of these settings
                write_settings(self.path, settings)
            synced = _Synced(file)
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
    """A file whose text is with the system after each flush, and on the disk every few seconds."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
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
