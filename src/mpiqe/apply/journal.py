"""The journal of ``mpiqe apply``: JSON lines, each flushed to disk before its step is done.

The first line says what the run is. Then ``{"folder": PATH}`` before a folder is made, ``{"step": N, ..}`` before a
step, ``{"done": N}`` or ``{"failed": N, "reason": ..}`` after it, and ``{"undo": N}`` and ``{"undone": N}`` around
taking it back. A last line that is incomplete is of a step that was not begun.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mpiqe.apply.transfer import sync_folder
from mpiqe.batch.lock import alone
from mpiqe.errors import ConfigError
from mpiqe.parse import parse_json

FORMAT = 1


class Journal:
    """A journal that is being written."""

    def __init__(self, path: Path, descriptor: int, identity: str) -> None:
        self.path = path
        self.identity = identity
        """Of the run; a part of the names of temporary files."""
        self._descriptor = descriptor

    def announce(self, values: Mapping[str, Any]) -> None:
        """Write a line and flush it to disk."""
        self.note(values)
        os.fsync(self._descriptor)

    def note(self, values: Mapping[str, Any]) -> None:
        """Write a line without a flush."""
        line = (json.dumps(values) + "\n").encode()
        while line:
            line = line[os.write(self._descriptor, line) :]


@dataclass
class Recorded:
    """A journal that was read."""

    action: str
    identity: str
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    undo: set[int] = field(default_factory=set)
    """Steps that an earlier undo had begun to take back."""
    undone: set[int] = field(default_factory=set)
    length: int = 0
    """Bytes of whole lines."""


def default_path(folder: str) -> Path:
    """A new name in a folder."""
    return Path(folder) / f"mpiqe-apply-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.jsonl"


@contextlib.contextmanager
def started(path: Path, about: Mapping[str, Any]) -> Iterator[Journal]:
    """A new journal, locked while the context lasts; raises ``ConfigError`` if it exists or cannot be written."""
    path = Path(os.path.abspath(path))
    identity = secrets.token_hex(4)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise ConfigError(f"cannot write the journal {path}: {error.strerror}; name another --journal") from error
    try:
        with _alone(path):
            journal = Journal(path, descriptor, identity)
            moment = datetime.now().astimezone().isoformat(timespec="seconds")
            journal.announce({"mpiqe": "apply", "format": FORMAT, "id": identity, "started": moment, **about})
            sync_folder(str(path.parent))
            yield journal
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def continued(path: Path) -> Iterator[tuple[Recorded, Journal]]:
    """A journal of an earlier run with what it says, locked and without a line that was cut short.

    Raises ``ConfigError`` for one that is missing, no journal, or being written.
    """
    path = Path(os.path.abspath(path))
    with _alone(path):
        recorded = read(path)
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        try:
            os.ftruncate(descriptor, recorded.length)
            os.lseek(descriptor, 0, os.SEEK_END)
            yield recorded, Journal(path, descriptor, recorded.identity)
        finally:
            os.close(descriptor)


def read(path: Path) -> Recorded:
    """Parse a journal; raises ``ConfigError`` for any other file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the journal {path}: {error.strerror}") from error
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    try:
        header = parse_json(lines[0]) if lines else None
        if not isinstance(header, dict) or header.get("mpiqe") != "apply":
            raise ConfigError(f"{path} is not a journal of mpiqe apply")
        if header.get("format") != FORMAT:
            raise ConfigError(f"{path} is a journal of another version of mpiqe ({header.get('format')!r})")
        recorded = Recorded(str(header["action"]), str(header["id"]), length=len(whole))
        for line in lines[1:]:
            _take(recorded, parse_json(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a journal of mpiqe apply, or damaged: {error}") from error
    return recorded


def _take(recorded: Recorded, line: dict[str, Any]) -> None:
    if "step" in line:
        recorded.steps[int(line["step"])] = line
    elif "folder" in line:
        recorded.folders.append(str(line["folder"]))
    else:
        for name in ("done", "failed", "undo", "undone"):
            if name in line:
                getattr(recorded, name).add(int(line[name]))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as until_done:
        try:
            until_done.enter_context(alone(path))
        except ConfigError as error:
            raise ConfigError(f"{path} belongs to a run that is going on, or cannot be locked: {error}") from error
        yield
