"""A program that kills ``mpiqe apply`` and its undo before each call to the system, and looks at what is there then.

A small process: it is forked for each kill. ``kill_points.py FOLDER WHAT MODE STRIDE``; a stride of 1 is every call.
"""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpiqe.apply.choice import chosen
from mpiqe.apply.decisions import read_decisions
from mpiqe.apply.execute import move_files, write_sidecars
from mpiqe.apply.journal import started
from mpiqe.apply.places import plan_files
from mpiqe.apply.sidecars import SidecarPlan, Thresholds
from mpiqe.apply.undo import undo

CALLS = (
    "open",
    "fdopen",
    "write",
    "fsync",
    "mkdir",
    "link",
    "unlink",
    "replace",
    "symlink",
    "rmdir",
    "ftruncate",
    "chmod",
)
_RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
_SIDECAR = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + _RDF + b"</x:xmpmeta>"


def make_tree(root: Path) -> None:
    """Three photos, of which two have the same name and one has a sidecar, and a table that rejects them all."""
    folder = root / "photos"
    for name in ("a/one.jpg", "a/two.jpg", "b/one.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "a/one.jpg.xmp").write_bytes(_SIDECAR)
    (root / "decisions.csv").write_text("path,decision\n" + "".join(f"{path},reject\n" for path in _photos(folder)))


def _photos(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.jpg"))


def _content(root: Path) -> dict[str, bytes]:
    """Every file below the two folders by its path; of a link, where it leads."""
    return {
        str(path.relative_to(root)): os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        for name in ("photos", "out")
        for path in (root / name).rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _apply(root: Path, mode: str) -> None:
    action = mode.split()[0]
    table = read_decisions(str(root / "decisions.csv"))
    entries, _ = chosen(table, action=action, act_on="reject", selection=None)
    with started(root / "journal.jsonl", {"action": action}) as journal:
        if action == "xmp":
            plan = SidecarPlan(table, entries, str(root), "darktable", Thresholds(), False)
            assert write_sidecars(plan.edits(), journal, on_step=lambda: None) == []
        else:
            how: Any = action
            files = plan_files(table, entries, action=how, folder=str(root / "out"), root=None, flat=False)
            assert move_files(files, how, journal, on_step=lambda: None) == []


def _undo(root: Path, _mode: str) -> None:
    assert undo(root / "journal.jsonl", on_step=lambda _: None).left == []


def _run(work: Callable[[Path, str], None], root: Path, mode: str, *, die_at: int | None, torn: bool = False) -> bool:
    """Do it in a process of its own that is killed before its ``die_at``-th call; whether it got to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _mine(mode, die_at, torn)
            work(root, mode)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0, f"{work.__name__} of {mode} failed"
    return True


def _mine(mode: str, die_at: int | None, torn: bool) -> None:
    calls = 0

    def mined(name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == die_at:
                if torn and name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "link" and (mode == "move without links" or (mode == "move by copying" and _is_move(arguments))):
                raise OSError(errno.EXDEV, "another file system")
            return real(*arguments, **options)

        return call

    os.fsync = lambda _: None  # type: ignore[assignment] # a kill takes nothing from the system's memory
    for name in CALLS:
        setattr(os, name, mined(name, getattr(os, name)))


def _is_move(arguments: tuple[Any, ...]) -> bool:
    return not str(arguments[0]).endswith(".part")


def _originals_are_whole(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    photos = [content for name, content in before.items() if name.endswith(".jpg")]
    return all(content in after.values() for content in photos)


def kill_apply(tree: Path, mode: str, stride: int) -> None:
    before = _content(tree)
    for moment in range(1, 1000, stride):
        over = _run(_apply, tree, mode, die_at=moment, torn=bool(moment % 2))
        after = _content(tree)
        assert _originals_are_whole(before, after), moment
        journal = tree / "journal.jsonl"
        if journal.exists() and b"\n" in journal.read_bytes():
            assert _run(_undo, tree, mode, die_at=None)
        assert _content(tree) == before, moment
        journal.unlink(missing_ok=True)
        if over:
            print(moment, "calls")
            return
    raise AssertionError("it does not end")


def kill_undo(tree: Path, mode: str, stride: int) -> None:
    before = _content(tree)
    for moment in range(1, 1000, stride):
        assert _run(_apply, tree, mode, die_at=None)
        assert _content(tree) != before
        over = _run(_undo, tree, mode, die_at=moment, torn=bool(moment % 2))
        assert _originals_are_whole(before, _content(tree)), moment
        assert _run(_undo, tree, mode, die_at=None)
        assert _content(tree) == before, moment
        (tree / "journal.jsonl").unlink()
        if over:
            print(moment, "calls")
            return
    raise AssertionError("it does not end")


def kill_and_repeat(tree: Path, mode: str, stride: int) -> None:
    before = _content(tree)
    for moment in range(1, 1000, stride):
        over = _run(_apply, tree, mode, die_at=moment)
        for photo in _photos(tree / "photos"):
            assert photo.read_bytes() == before[str(photo.relative_to(tree))]
        (tree / "journal.jsonl").unlink(missing_ok=True)
        assert _run(_apply, tree, mode, die_at=None)
        moved = _content(tree)
        assert _photos(tree / "photos") == []
        assert _originals_are_whole(before, moved)
        if mode == "move":  # nothing was copied, so nothing is there twice
            assert moved == {name.replace("photos", "out"): content for name, content in before.items()}, moment
        shutil.rmtree(tree / "out")
        for name, content in before.items():
            (tree / name).write_bytes(content)
        (tree / "journal.jsonl").unlink()
        if over:
            print(moment, "calls")
            return
    raise AssertionError("it does not end")


if __name__ == "__main__":
    root, what, mode, stride = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    make_tree(root)
    {"apply": kill_apply, "undo": kill_undo, "repeat": kill_and_repeat}[what](root, mode, stride)
