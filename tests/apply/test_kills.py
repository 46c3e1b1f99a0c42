"""``kill -9`` before the calls that ``mpiqe apply`` and its undo make to the system: nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_points.py")
MODES = ("move", "move by copying", "move without links", "copy", "link", "xmp")
CASES = [(what, mode) for what in ("apply", "undo") for mode in MODES]
CASES += [("repeat", mode) for mode in MODES[:3]]
QUICK = (("apply", "move"), ("undo", "move"), ("undo", "xmp"), ("repeat", "move"))


def _kill(folder: Path, what: str, mode: str, stride: int) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, folder, what, mode, str(stride)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 20


@pytest.mark.parametrize(("what", "mode"), QUICK)
def test_a_kill_loses_nothing_and_undo_puts_all_back(tmp_path: Path, what: str, mode: str) -> None:
    _kill(tmp_path, what, mode, 7)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "mode"), CASES)
def test_a_kill_at_any_moment_loses_nothing_and_undo_puts_all_back(tmp_path: Path, what: str, mode: str) -> None:
    _kill(tmp_path, what, mode, 1)
