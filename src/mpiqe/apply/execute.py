"""Carry out a plan; each step is written to the journal before it is done."""

import os
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mpiqe.apply import transfer
from mpiqe.apply.journal import Journal
from mpiqe.apply.places import FileAction, Plan
from mpiqe.apply.sidecars import SidecarEdit
from mpiqe.errors import ConfigError

Failures = list[tuple[str, str]]
"""Paths with reasons."""
OnStep = Callable[[], object]


def check_room(plan: Plan, action: FileAction, folder: str) -> None:
    """Raise ``ConfigError`` where the folder's disk has no room for what is going to be copied to it."""
    folder = _nearest(os.path.abspath(folder))
    if not os.path.isdir(folder):
        raise ConfigError(f"{folder} is not a folder; name another one")
    device = os.stat(folder).st_dev
    copied = [step for step in plan.steps if action == "copy" or os.lstat(step.source).st_dev != device]
    needed = 0 if action == "link" else sum(step.size for step in copied)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{_megabytes(needed)} are to be copied, and there is room for {_megabytes(free)} in {folder}"
        )


def move_files(plan: Plan, action: FileAction, journal: Journal, *, on_step: OnStep) -> Failures:
    """Move, copy or link the files of a plan; a step that fails leaves its source as it was, and the others go on."""
    failures: Failures = []
    for number, step in enumerate(plan.steps):
        temporary = temporary_of(step.target, journal.identity, number)
        _make_folders(os.path.dirname(step.target), journal)
        about = {"step": number, "action": action, "from": step.source, "to": step.target, "temporary": temporary}
        reason = _attempt(journal, about, partial(_transfer, action, step.source, step.target, temporary))
        if reason is not None:
            failures.append((step.source, reason))
        on_step()
    return failures


def write_sidecars(edits: Iterable[SidecarEdit], journal: Journal, *, on_step: OnStep) -> Failures:
    """Write sidecars; what they held before is in the journal."""
    failures: Failures = []
    for number, edit in enumerate(edits):
        temporary = temporary_of(edit.path, journal.identity, number)
        about = {"step": number, "action": "sidecar", "temporary": temporary, **edit.to_json()}
        reason = _attempt(journal, about, partial(edit.write, temporary))
        if reason is not None:
            failures.append((edit.path, reason))
        on_step()
    return failures


def temporary_of(target: str, identity: str, number: int) -> str:
    """The name of the temporary file beside a target; an undo finds it by the journal's run id."""
    return os.path.join(os.path.dirname(target), f".mpiqe-{identity}-{number}.part")


def _attempt(journal: Journal, about: dict[str, Any], work: Callable[[], None]) -> str | None:
    """Write a step to the journal and do it; returns the reason if it fails."""
    journal.announce(about)
    try:
        work()
    except OSError as error:
        reason = "a file of that name exists now" if isinstance(error, FileExistsError) else str(error.strerror)
        journal.note({"failed": about["step"], "reason": reason})
        return reason
    journal.note({"done": about["step"]})
    return None


def _transfer(action: FileAction, source: str, target: str, temporary: str) -> None:
    if action == "move":
        transfer.move(source, target, temporary)
    elif action == "copy":
        transfer.copy(source, target, temporary)
    else:
        transfer.link(source, target)


def _make_folders(folder: str, journal: Journal) -> None:
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        journal.announce({"folder": each})
        try:
            os.mkdir(each)
        except FileExistsError as error:
            if not os.path.isdir(each):
                raise ConfigError(f"{each} is not a folder; name another one") from error


def _nearest(folder: str) -> str:
    """The folder, or the first above it that is there."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
