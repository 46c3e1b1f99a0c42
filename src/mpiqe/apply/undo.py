"""Undo the steps of a journal. Files that have changed since, or whose place is taken, are left and reported."""

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpiqe.apply import transfer
from mpiqe.apply.journal import Recorded, continued

_ONE_FILE = "stays: {} is the same file, by a link among the folders"


@dataclass
class Undone:
    """The result of an undo."""

    back: int = 0
    """Steps that were taken back, now or before."""
    left: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason."""


def undo(path: Path, *, on_step: Callable[[int], object]) -> Undone:
    """Take back all steps, the last one first; ``on_step`` is called with the number of all steps, at each.

    A move is taken back where the name is free, a copy or link that was made and a sidecar that was written are removed
    or restored where they are as they were made and, for a copy, the original is there with the same bytes; folders
    that were made go if they are empty. It can be killed and repeated. Raises ``ConfigError`` for what is no journal.
    """
    result = Undone()
    with continued(path) as (recorded, journal):
        for number in sorted(recorded.steps, reverse=True):
            step = recorded.steps[number]
            on_step(len(recorded.steps))
            if number in recorded.failed:
                _unlink(step["temporary"])
                continue
            if number in recorded.undone:
                result.back += 1
                continue
            journal.announce({"undo": number})
            try:
                reason = _UNDO[step["action"]](step, recorded, number)
            except OSError as error:
                reason = f"could not be put back ({error.strerror})"
            if reason is None:
                journal.note({"undone": number})
                result.back += 1
            else:
                result.left.append((step["to"], reason))
        for folder in reversed(recorded.folders):
            with contextlib.suppress(OSError):  # something else is in it, or it is gone
                os.rmdir(folder)
    return result


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _move(step: dict[str, Any], recorded: Recorded, number: int) -> str | None:
    source, target, temporary = step["from"], step["to"], step["temporary"]
    if step.get("is_there"):
        return _name_back(source, target)
    back = os.path.join(os.path.dirname(source), os.path.basename(temporary))
    had_temporary = os.path.lexists(temporary)
    if number in recorded.undo and os.path.lexists(back) and os.path.lexists(source) and os.path.lexists(target):
        if os.path.getsize(source) == 0:  # an undo was killed when the copy had its name reserved
            os.unlink(source)
        os.unlink(back)
    if os.path.lexists(source):
        if not os.path.lexists(target):
            _unlink(temporary)
            return None
        if transfer.is_second_name(source, target):  # killed between its two names
            os.unlink(target)
            return None
        if os.path.samestat(os.lstat(source), os.lstat(target)):
            return _ONE_FILE.format(source)
        in_between = number not in recorded.done or number in recorded.undo
        if in_between and transfer.same_content(source, target):  # killed between the copy and the removal
            os.unlink(target)
            _unlink(temporary)
            return None
        if in_between and had_temporary and os.path.getsize(target) == 0:  # killed when the copy had its name reserved
            os.unlink(target)
            _unlink(temporary)
            return None
        return f"stays: there is another {source}"
    if not os.path.lexists(target):
        return f"is gone, and so is {source}"
    os.makedirs(os.path.dirname(source), exist_ok=True)
    _unlink(back)
    transfer.move(target, source, back)
    return None


def _name_back(source: str, target: str) -> str | None:
    """Take back a move to what was a second name of the source before; it stays."""
    if os.path.lexists(source):
        if not os.path.lexists(target) or transfer.is_second_name(source, target):
            return None
        return f"stays: there is another {source}"
    if not os.path.lexists(target):
        return f"is gone, and so is {source}"
    os.makedirs(os.path.dirname(source), exist_ok=True)
    transfer.add_name(target, source)
    return None


def _copy(step: dict[str, Any], recorded: Recorded, number: int) -> str | None:
    source, target, temporary = step["from"], step["to"], step["temporary"]
    reserved = os.path.lexists(temporary) and os.path.lexists(target) and os.path.getsize(target) == 0
    if os.path.lexists(target):
        if not os.path.lexists(source):
            return f"stays: the original {source} is gone"
        if not reserved and not transfer.same_content(source, target):
            return f"stays: it differs from {source}"
        if os.path.samestat(os.lstat(source), os.lstat(target)) and not transfer.is_second_name(source, target):
            return _ONE_FILE.format(source)
        os.unlink(target)
    _unlink(temporary)
    return None


def _link(step: dict[str, Any], recorded: Recorded, number: int) -> str | None:
    source, target = step["from"], step["to"]
    if os.path.lexists(target):
        if not (os.path.islink(target) and os.readlink(target) == source):
            return "stays: it is another file by now"
        os.unlink(target)
    return None


def _sidecar(step: dict[str, Any], recorded: Recorded, number: int) -> str | None:
    target, temporary = step["to"], step["temporary"]
    before = None if step["before"] is None else base64.b64decode(step["before"])
    _unlink(temporary)
    try:
        now = Path(target).read_bytes()
    except FileNotFoundError:
        return None if before is None else "is gone; the journal has what it held before"
    if now == before:
        return None
    if hashlib.sha256(now).hexdigest() != step["after"]:
        return "stays: it was changed since"
    if before is None:
        os.unlink(target)
        return None
    with open(temporary, "xb") as file:
        file.write(before)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, os.stat(target).st_mode & 0o7777)
    os.replace(temporary, target)
    transfer.sync_folder(os.path.dirname(target))
    return None


_UNDO: dict[str, Callable[[dict[str, Any], Recorded, int], str | None]] = {
    "move": _move,
    "copy": _copy,
    "link": _link,
    "sidecar": _sidecar,
}
