"""What tells whether an image is the one that a row was made of: the size and time of its file, beside the output.

A line for each row: a digest of the row's path and score, and the file's bytes and time of change in nanoseconds. It
holds for the row with that score alone, so that it does no harm beside rows of another run, whatever was killed between
the two.
"""

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mpiqe.batch.sinks import encode_name
from mpiqe.batch.writing import writing
from mpiqe.scoring.score import Row
from mpiqe.sources.kinds import is_archive
from mpiqe.sources.photo import Photo


class Signature(NamedTuple):
    """A file's size in bytes and the time of its last change in nanoseconds."""

    size: int
    changed: int


def signatures_file(output: Path) -> Path:
    """Return the path of an output's signatures."""
    return output.with_name(f"{output.name}.run.photos")


def signature_of(photo: Photo) -> Signature | None:
    """Return the signature of an image's file, or of the archive on this machine that it lies in; else ``None``."""
    path = photo.file
    if path is None:
        archive, inside, _ = photo.name.partition("::")
        path = archive if inside and is_archive(archive) else None
    try:
        state = None if path is None else os.stat(path)
    except (OSError, ValueError):
        return None
    return None if state is None else Signature(state.st_size, state.st_mtime_ns)


def key_of(path: str, score: float) -> str:
    """Return what tells a row, of a path as it is written and a score, from others."""
    text = f"{round(score, 6)!r} {path}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def read_signatures(output: Path) -> dict[str, Signature]:
    """Return an output's signatures by ``key_of``; a line that was cut short is none."""
    found: dict[str, Signature] = {}
    with contextlib.suppress(OSError), signatures_file(output).open(encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if line.endswith("\n") and len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
                found[words[0]] = Signature(int(words[1]), int(words[2]))
    return found


class SignatureFile:
    """Takes signatures before images are read, and writes them after their rows; without ``output`` it does neither."""

    def __init__(self, output: Path | None, *, goes_on: bool) -> None:
        self._file: IO[str] | None = None
        if output is not None:
            self._file = signatures_file(output).open("a" if goes_on else "w", encoding="ascii", newline="\n")
        self._waiting: deque[Signature | None] = deque()

    def noted(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        """Yield the photos; the signature of each is taken first, so that a later change is seen."""
        for photo in photos:
            self._waiting.append(signature_of(photo) if self._file else None)
            yield photo

    def add_row(self, row: Row) -> None:
        """Write the signature of a row's photo; rows come in the order of the photos."""
        signature = self._waiting.popleft()
        if row.score is not None and signature is not None:
            self.add(encode_name(row.path), row.score.score, signature)

    def add(self, path: str, score: float, signature: Signature) -> None:
        """Write a signature of the row with that path, as it is written, and score."""
        if self._file:
            with writing(Path(self._file.name)):
                self._file.write(f"{key_of(path, score)} {signature.size} {signature.changed}\n")
                self._file.flush()

    def __enter__(self) -> "SignatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            with writing(Path(self._file.name)):  # what is left to write, where a disk was full
                self._file.close()
