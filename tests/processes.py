"""The reader processes of a process, as Linux tells of them."""

import os
from pathlib import Path


def readers_of(pid=None):
    """Those that a process, by default this one, has started and not yet waited for, without the ended ones."""
    return children_of("image_child", pid)


def children_of(module, pid=None):
    """The same of processes that run a module of ``mpiqe.scoring``."""
    found = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        found |= {int(child) for child in _told(f"{pid or os.getpid()}/task/{task.name}", "children").split()}
    return {child for child in found if module in _told(child, "cmdline") and lives(child)}


def lives(pid):
    return _told(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


def seconds_of(pid):
    """The time that processors have spent on a process so far."""
    fields = _told(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def most_memory(pid):
    """The most that was resident of a process so far, in MiB; 0 for one that has ended."""
    lines = dict(line.split(":", 1) for line in _told(pid, "status").splitlines())
    return int(lines.get("VmHWM", "0 kB").split()[0]) >> 10


def _told(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
