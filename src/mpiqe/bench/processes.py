"""Start-up time and memory of a fresh ``mpiqe score`` process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mpiqe.errors import ConfigError

IMPORT_TORCH = (sys.executable, "-c", "import torch")
# A process counts what its parent held when it was started, so the one that is measured needs a small parent.
_LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
print(usage.ru_maxrss)
sys.exit(abs(child.returncode))
"""


def score_command(photos: Sequence[Path], *, weights: str | None, crops: int | None) -> list[str]:
    """``mpiqe score`` on ``photos``, as one types it."""
    chosen = [] if weights is None else ["--weights", weights]
    chosen += [] if crops is None else ["--crops", str(crops)]
    return [
        *(sys.executable, "-m", "mpiqe", "score", *map(str, photos)),
        *("--format", "csv", *chosen),
    ]


def run(command: Sequence[str]) -> str:
    """Standard output of a command that has to succeed; raises ``ConfigError`` with its last words if it does not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = (done.stderr.strip() or "nothing on stderr").splitlines()[-1]
        raise ConfigError(f"{' '.join(command[1:5])} .. ended with status {done.returncode}: {words}")
    return done.stdout


def can_tell_memory() -> bool:
    """Whether the system tells what a finished process held."""
    return hasattr(os, "wait4")


def peak_memory_mb(command: Sequence[str]) -> float:
    """The most resident memory of the largest process of ``command``, in MB."""
    peak = int(run((sys.executable, "-c", _LAUNCHER, *command)).split()[-1])
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
