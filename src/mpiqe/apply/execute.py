"""Carry out a plan; each step is written to the journal before it is done."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any

from mpiqe.apply import transfer
from mpiqe.apply.journal import Journal
from mpiqe.apply.places import FileAction, Plan, Step
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
    """Move, copy or link the files of a plan; a step that fails leaves its source as it was, and the others go on.

    A photo and its sidecars stay together: where one of them fails, those before it are put back and those behind it
    are left.
    """
    failures: Failures = []
    for photo, group in groupby(enumerate(plan.steps), key=lambda each: each[1].photo):
        done: list[tuple[int, Step]] = []
        failed: str | None = None
        for number, step in group:
            if failed is not None:
                failures.append((step.source, f"stays with {failed}"))
            elif (reason := _do(journal, action, number, step)) is None:
                done.append((number, step))
            else:
                failures.append((step.source, reason))
                failed = os.path.basename(step.source)
            on_step()
        if failed is not None:
            failures += _put_back(journal, action, done, because=os.path.basename(photo))
    return failures


def _do(journal: Journal, action: FileAction, number: int, step: Step) -> str | None:
    temporary = temporary_of(step.target, journal.identity, number)
    about = {"step": number, "action": action, "from": step.source, "to": step.target, "temporary": temporary}
    if step.is_there:
        about["is_there"] = True

    def work() -> None:
        _make_folders(os.path.dirname(step.target), journal)
        _transfer(action, step.source, step.target, temporary)

    return _attempt(journal, about, work)


def _put_back(journal: Journal, action: FileAction, done: Iterable[tuple[int, Step]], *, because: str) -> Failures:
    """Take back the steps of sidecars whose photo could not follow; all of them are failures."""
    failures: Failures = []
    for number, step in done:
        journal.announce({"undo": number})
        reason = f"stays with {because}"
        try:
            if action == "move" and step.is_there:
                transfer.add_name(step.target, step.source)
            elif action == "move":
                transfer.move(step.target, step.source, temporary_of(step.source, journal.identity, number))
            else:
                os.unlink(step.target)
        except OSError as error:
            reason = f"is {step.target} now: {because} could not follow, nor this be put back ({error.strerror})"
        else:
            journal.note({"failed": number, "reason": reason})
        failures.append((step.source, reason))
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
                raise NotADirectoryError(errno.ENOTDIR, f"{each} is not a folder") from error


def _nearest(folder: str) -> str:
    """The folder, or the first above it that is there."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
