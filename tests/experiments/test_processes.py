import subprocess
import sys
from pathlib import Path

import pytest

from mpiqe.errors import ConfigError
from mpiqe.experiments.processes import folder_lock, in_processes

HOLD = """
import sys
from pathlib import Path
from mpiqe.experiments.processes import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_folder_is_held_by_one_process_and_free_when_it_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another process is at work in"), folder_lock(tmp_path / "out"):
        pass
    holder.kill()
    holder.communicate()
    with folder_lock(tmp_path / "out"):
        pass


@pytest.mark.slow
def test_every_item_is_done_once_whatever_the_number_of_processes() -> None:
    assert sorted(in_processes(abs, range(-7, 0), jobs=2)) == [1, 2, 3, 4, 5, 6, 7]
    assert list(in_processes(abs, [], jobs=2)) == []
