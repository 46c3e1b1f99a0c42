"""The process in which ``benchmarks.fuzz`` reads mutations of one kind; it says on stdout which one it is at.

python -m benchmarks.fuzz_child KIND FIRST LAST SEED FOLDER
"""

import ctypes
import errno
import gc
import ipaddress
import json
import os
import random
import resource
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.fuzz_forks import forked
from benchmarks.fuzz_kinds import CANARY, KINDS, Files, Kind, Refused

from benchmarks import fuzz_mutate
from mpiqe.errors import MPIQEError

HARD_MEGABYTES = 3000
"""Bound on the address space on top of what a kind needs, to protect the machine."""
SLOW_SHARE = 0.05
_NOTED = 200
_ATTEMPTS = 5
_CODE = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn", "subprocess.Popen"}
_CODE |= {"pickle.find_class", "ctypes.dlopen"}
_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    name, first, last, seed, folder = sys.argv[1:]
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not get among the answers
    with ExitStack() as until_done:
        _read(KINDS[name], range(int(first), int(last)), int(seed), Path(folder), answers.write, until_done)


def _read(
    kind: Kind, numbers: range, seed: int, folder: Path, answer: Callable[[str], object], until_done: ExitStack
) -> None:
    work = folder / "files"
    work.mkdir(exist_ok=True)
    (folder / CANARY).write_text("what no input may read")
    until_done.callback(os.chdir, Path.cwd())
    os.chdir(work)  # where a relative path or pattern of a list leads
    whole = kind.make(folder)
    if kind.apart:
        until_done.enter_context(forked())
    use = until_done.enter_context(kind.use(folder))
    for _attempt in range(_ATTEMPTS):  # on a busy machine a server of ours may not answer in time
        if (reason := _used(use, kind, work, whole, next(iter(whole)))) is None:
            break
    if reason is not None:
        sys.exit(f"the sound file is refused: {reason}")
    watch = _Watch(kind, folder / CANARY)
    sys.addaudithook(watch)
    allowed = _statm() + (HARD_MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.collect()
    gc.freeze()  # what is loaded by now stays: collecting before each mutation need not walk through it
    until_done.callback(gc.unfreeze)
    for number in numbers:
        generator = random.Random(f"{seed}/{kind.name}/{number}")  # noqa: S311
        name = _chosen(kind, whole, generator)
        changed = fuzz_mutate.mutate(name, whole[name], generator, others=whole, canary=folder / CANARY)
        answer(json.dumps({"begin": number, "file": name}) + "\n")
        before, started, clock = _start_measuring(), time.process_time(), time.monotonic()
        watch.seen.clear()
        findings: list[tuple[str, str]] = []
        shown: str | None = None
        watch.on = True
        try:
            shown = _used(use, kind, work, {**whole, name: changed}, name)
        except MemoryError as error:
            findings.append(("memory", _place(error)))
        except BaseException as error:
            findings.append(("traceback", _place(error)))
        finally:
            watch.on = False
        findings += [("code", each) for each in watch.seen]
        if shown is not None and not all(letter.isprintable() or letter == "\n" for letter in shown):
            findings.append(("message", repr(shown)[:_NOTED]))
        event = {
            "end": number,
            "file": name,
            "reason": shown and " ".join(shown.split())[:_NOTED],
            "findings": findings,
            "seconds": round(time.process_time() - started, 3),
            "clock": round(time.monotonic() - clock, 3),
            "megabytes": round((_peak() - before) / 2**20, 1),
        }
        answer(json.dumps(event) + "\n")


def _chosen(kind: Kind, whole: Files, draw: random.Random) -> str:
    """The file that a mutation changes; seldom one that takes long to read."""
    if not kind.slow:
        return draw.choice(sorted(whole))
    slow = draw.random() < SLOW_SHARE
    return draw.choice([name for name in sorted(whole) if name.startswith(kind.slow) == slow])


def _used(use: Callable[[Path], None], kind: Kind, work: Path, files: dict[str, bytes], name: str) -> str | None:
    """Write the files that are not there as they should be, and read them; why they are refused, if they are."""
    for each, content in files.items():
        path = work / each
        if not path.is_file() or each == name or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    try:
        use(work / name if kind.one_file else work)
    except (Refused, MPIQEError) as error:
        return str(error)
    finally:
        (work / name).unlink(missing_ok=True)  # written whole for the next one that changes another
    return None


class _Watch:
    """An audit hook that notes what nothing out of a file may cause; it cannot be removed, only turned off.

    It also keeps the reading process off the network: connections but to this machine fail as they do where there is
    none, and names are not looked up.
    """

    def __init__(self, kind: Kind, canary: Path) -> None:
        self.on = False
        self.seen: list[str] = []
        self.kind = kind
        self.canary = str(canary)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if self._is_bad(event, arguments):
            self.seen.append(f"{event} {arguments[:2]!r}"[:_NOTED])
        if event in {"socket.connect", "socket.sendto"} and _is_internet(arguments[1]):
            if not (self.kind.hosts == "loopback" and _is(arguments[1], "is_loopback")):
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        elif event == "socket.getaddrinfo" and not _is_number(arguments[0]):
            raise socket.gaierror(socket.EAI_NONAME, "no name server is asked here")

    def _is_bad(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event in _CODE:
            return True
        if event == "open" and not self.kind.may_name_files:
            return isinstance(arguments[0], (str, bytes)) and os.fsdecode(arguments[0]) == self.canary
        if event in {"socket.connect", "socket.sendto"} and _is_internet(arguments[1]):
            return {
                "none": True,
                "public": not _is(arguments[1], "is_global"),
                "loopback": not _is(arguments[1], "is_loopback"),
                "any": False,
            }[self.kind.hosts]
        return False


def _is_internet(address: Any) -> bool:
    return isinstance(address, tuple) and isinstance(address[0], str)


def _is(address: tuple[Any, ...], what: str) -> bool:
    """Whether ``ipaddress`` says so; a name that is still to be looked up is nothing in particular."""
    try:
        return bool(getattr(ipaddress.ip_address(address[0].partition("%")[0]), what))
    except ValueError:
        return False


def _is_number(host: str | bytes | None) -> bool:
    """Whether a host is an address in one of the forms that are known without asking."""
    if host is None or host in ("", b"", "localhost", b"localhost"):
        return True
    text = os.fsdecode(host)
    try:
        socket.inet_aton(text)  # 127.1 and 0x7f000001, too
    except (OSError, ValueError):
        try:
            ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
    return True


def _place(error: BaseException) -> str:
    """The error, and the last line of our own code that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "mpiqe" in frame.filename and "benchmarks" not in frame.filename]
    last = (ours or frames)[-1]
    named = Path(last.filename)
    where = named.relative_to(_ROOT) if named.is_relative_to(_ROOT) else named.name
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return f"{where}:{last.lineno} {type(error).__name__}: {text[:100]}"


def _start_measuring() -> int:
    """Bytes that this process has now; the peak is counted from here on.

    Free memory that malloc keeps, and garbage, go first. What is read would else be given those bytes again, or they
    would be freed while it is read, and it would seem to take less than it does, or nothing.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


def _statm() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
