import errno
import os
import subprocess
import sys

import pytest

from mpiqe.batch.lock import alone, lock_file
from mpiqe.errors import ConfigError

CONTEND = """
import os, sys, time
from pathlib import Path
from mpiqe.errors import ConfigError
from mpiqe.batch.lock import alone

output, until, entered = Path(sys.argv[1]), time.monotonic() + 2, 0
while time.monotonic() < until:
    try:
        with alone(output):
            os.mkdir(f"{output}.inside")  # fails where somebody else is inside
            os.rmdir(f"{output}.inside")
            entered += 1
    except ConfigError as error:
        assert "is being written by another run" in str(error), error
print(entered)
"""


@pytest.mark.slow
def test_nobody_is_inside_with_another_however_often_the_file_is_made_and_removed(tmp_path):
    command = [sys.executable, "-c", CONTEND, tmp_path / "rows.csv"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert int(out) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_a_file_that_was_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    import fcntl

    output, take = tmp_path / "rows.csv", fcntl.flock
    removals = [True, True, False]

    def late(file, how):
        if removals.pop(0):
            lock_file(output).unlink()  # by the run that had it until now
        take(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    with alone(output):
        assert not removals
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="is being written by another run"), alone(output):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_run_is_taken_over(tmp_path):
    lock_file(tmp_path / "rows.csv").write_text("process 1 on a host of a very long name that is no more")
    with alone(tmp_path / "rows.csv"):
        with pytest.raises(ConfigError) as told, alone(tmp_path / "rows.csv"):
            pass
        assert "no more" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_where_the_file_cannot_be_made_the_output_is_named(tmp_path):
    said = r"cannot write to .*no/rows\.csv: No such file or directory"
    with pytest.raises(ConfigError, match=said), alone(tmp_path / "no" / "rows.csv"):
        pass


def test_a_lock_that_a_full_disk_cannot_hold_is_removed_and_the_output_named(tmp_path, monkeypatch):
    def full(file, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    said = r"cannot write to .*rows\.csv: No space left on device .*; name another --output"
    with pytest.raises(ConfigError, match=said), alone(tmp_path / "rows.csv"):
        pass
    assert list(tmp_path.iterdir()) == []
