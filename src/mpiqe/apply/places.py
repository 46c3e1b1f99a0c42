"""Choose the target paths of photos: their folders are kept, and no name is used twice."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Literal

from mpiqe.apply.decisions import Entry, Table
from mpiqe.apply.transfer import folded, is_second_name

FileAction = Literal["move", "copy", "link"]
NOT_THERE = "is not there"
"""Why a photo is left that is no file of this machine."""


@dataclass(frozen=True)
class Step:
    """One file to move, copy or link; absolute paths."""

    source: str
    target: str
    size: int
    """Bytes of the source."""
    photo: str
    """The photo that it is of, or is a sidecar of."""
    is_there: bool = False
    """Whether the target is a second name of the source already."""


@dataclass
class Plan:
    """The steps to do, and the photos that are left out, with the reason."""

    steps: list[Step] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason."""
    photos: int = 0
    """Steps that are of photos; the others are of their sidecars."""


def files_of(entries: Iterable[Entry], root: str) -> tuple[list[tuple[Entry, str]], list[tuple[str, str]]]:
    """The entries that are files of this machine, each once with its absolute path; and the others with the reason."""
    found: list[tuple[Entry, str]] = []
    left: list[tuple[str, str]] = []
    seen: set[str] = set()
    for entry in entries:
        path = os.path.abspath(os.path.join(root, entry.path))
        if path in seen:
            continue
        seen.add(path)
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):
            left.append((entry.path, _why_not_there(entry.path)))
            continue
        except OSError as error:  # a folder above it may not be entered, or it has too long a name
            left.append((entry.path, error.strerror or str(error)))
            continue
        if stat.S_ISLNK(mode):
            left.append((entry.path, "is a symbolic link; act on the file that it leads to"))
        elif not stat.S_ISREG(mode):
            left.append((entry.path, "is no file"))
        else:
            found.append((entry, path))
    return found, left


def _why_not_there(path: str) -> str:
    if "::" in path:
        return "is in an archive; unpack it first"
    if "://" in path:
        return "is not on this machine"
    return NOT_THERE


def plan_files(
    table: Table, entries: Iterable[Entry], *, action: FileAction, folder: str, root: str | None, flat: bool
) -> Plan:
    """Where the files of ``entries`` go below ``folder``, which need not exist.

    They keep their folders, counted from ``root``, or else from the deepest folder that all photos of the table share;
    ``flat`` puts all into one folder. A name that is taken, by a file that is there or by another of the plan, or would
    be on a file system that ignores capitals, gets ``-2`` and so on. A photo's sidecars go with it.
    """
    folder = os.path.abspath(folder)
    real_folder = os.path.realpath(folder)
    base = os.path.abspath(root) if root else os.getcwd()
    found, left = files_of(entries, base)
    plan = Plan(left=left)
    common = (
        base if root else _common_folder(os.path.abspath(os.path.join(base, entry.path)) for entry in table.entries)
    )
    names = _Names(takes_second=action == "move")
    sidecars = _Sidecars()
    real = lru_cache(1)(os.path.realpath)  # of a photo's folder: links among the folders lead to the same place
    for entry, path in found:
        if _is_within(path, folder) or _is_within(os.path.join(real(os.path.dirname(path)), ""), real_folder):
            plan.left.append((entry.path, f"is in {folder} already"))
            continue
        within = os.path.relpath(os.path.dirname(path), common)
        if flat or within == "." or within.startswith(os.pardir):
            within = ""
        companions = sidecars.of(path)
        target, *others = names.free(os.path.join(folder, within), os.path.basename(path), path, companions)
        # the photo last: if a run is killed in between, the next one still finds it, and its name
        for source, new in [*zip((sidecar for sidecar, _ in companions), others, strict=True), (path, target)]:
            plan.steps.append(Step(source, new, os.path.getsize(source), path, is_there=os.path.lexists(new)))
        plan.photos += 1
    return plan


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _common_folder(paths: Iterable[str]) -> str:
    folders = {os.path.dirname(path) for path in paths}
    try:
        return os.path.commonpath(folders) if folders else os.getcwd()
    except ValueError:  # several drives of Windows
        return os.getcwd()


class _Names:
    """Names that are free in their folder.

    ``takes_second``: a second name of the source counts as free. It may be what a run has left that was killed between
    two steps of a move, and a move to it loses no file.
    """

    def __init__(self, *, takes_second: bool) -> None:
        self._taken: set[str] = set()
        self._takes_second = takes_second

    def free(self, folder: str, name: str, source: str, sidecars: list[tuple[str, bool]]) -> list[str]:
        """Paths in ``folder`` for a photo and its sidecars, all of them free."""
        stem, end = os.path.splitext(name)
        sources = [source, *(sidecar for sidecar, _ in sidecars)]
        for number in count(1):
            target = os.path.join(folder, name if number == 1 else f"{stem}-{number}{end}")
            stems = target, os.path.splitext(target)[0]
            targets = [target, *(f"{stems[not is_whole]}.xmp" for _, is_whole in sidecars)]
            if any(folded(path) in self._taken for path in targets):
                continue
            if all(
                not os.path.lexists(new) or (self._takes_second and is_second_name(old, new))
                for old, new in zip(sources, targets, strict=True)
            ):
                self._taken |= set(map(folded, targets))
                return targets
        raise AssertionError("count() has no end")


class _Sidecars:
    """The sidecars that belong to a photo: ``NAME.EXT.xmp``, and ``NAME.xmp`` if no other file has that name."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def of(self, path: str) -> list[tuple[str, bool]]:
        """Each sidecar with whether it has the whole name."""
        folder, name = os.path.split(path)
        stem = os.path.splitext(name)[0]
        names = self._by_stem(folder)
        found = [(os.path.join(folder, each), True) for each in names[name] if _is_xmp(each)]
        if all(_is_xmp(each) or each == name for each in names[stem]):
            found += [(os.path.join(folder, each), False) for each in names[stem] if _is_xmp(each) and each != name]
        return found

    def _by_stem(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            by_stem: dict[str, list[str]] = defaultdict(list)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        by_stem[os.path.splitext(entry.name)[0]].append(entry.name)
            self._folders[folder] = by_stem
        return self._folders[folder]


def _is_xmp(name: str) -> bool:
    return os.path.splitext(name)[1].lower() == ".xmp"
