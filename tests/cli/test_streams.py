"""Standard streams that are closed, and interrupts before there is anything to keep: real processes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = [sys.executable, str(Path(__file__).with_name("conftest.py"))]
CLOSED = ((0,), (1,), (2,), (0, 1), (0, 1, 2))
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell and signals")


def closing(*descriptors):
    """The command of a process with those standard streams closed, as a service or cron may start one."""
    redirections = " ".join(f"{descriptor}>&-" for descriptor in descriptors)
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *PROGRAM]


@pytest.mark.parametrize(
    ("form", "closed"),
    [
        ("csv", (1,)),
        ("csv", CLOSED[-1]),
        *(pytest.param("csv", closed, marks=pytest.mark.slow) for closed in ((0,), (2,), (0, 1))),
        *(pytest.param("parquet", closed, marks=pytest.mark.slow) for closed in CLOSED),
    ],
)
def test_rows_go_to_a_file_whatever_streams_are_closed(folder, tmp_path, closed, form):
    output = tmp_path / f"rows.{form}"
    done = subprocess.run(
        [*closing(*closed), "score", str(folder), "--output", str(output)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 1  # one photo of the four is none
    assert b"Traceback" not in done.stderr
    if form == "csv":
        rows = list(csv.DictReader(output.read_text(encoding="utf-8").splitlines()))
        assert [row["score"] for row in rows] == ["50.0", "100.0", "", "200.0"]
    else:
        assert output.stat().st_size


PRINTS = """
import os, sys, types

def run():
    output = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    for descriptor in (1, 2):
        os.write(descriptor, b"a library speaks")
    os.close(output)

sys.modules["mpiqe.cli.main"] = types.SimpleNamespace(main=run)
from mpiqe.cli.start import main
main()
"""


@pytest.mark.parametrize("closed", [(0, 1), (1,), (2,), (0, 1, 2)], ids=str)
def test_what_a_library_prints_to_a_closed_stream_gets_into_no_file(tmp_path, closed):
    """The next file that is opened would have the number of the stream."""
    command = [*closing(*closed)[:4], sys.executable, "-c", PRINTS, tmp_path / "rows.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, (tmp_path / "rows.csv").read_bytes()) == (0, b""), done.stderr


def test_a_closed_standard_input_is_no_fault_where_it_is_not_read(folder):
    done = subprocess.run(
        [*closing(0), "score", str(folder / "a.png"), "--format", "csv"], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b",50.0," in done.stdout


@pytest.mark.parametrize(
    ("closed", "arguments", "message"),
    [
        (0, ["-"], "mpiqe: standard input is closed"),
        (1, ["a.png"], "mpiqe: standard output is closed"),
    ],
)
def test_a_closed_stream_that_is_needed_ends_with_two_and_one_line(folder, closed, arguments, message):
    done = subprocess.run(
        [*closing(closed), "score", *arguments], cwd=folder, capture_output=True, check=False, timeout=60, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


INTERRUPTED = """
import os, runpy, signal, sys

class AtImport:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):
                    pass
            except KeyboardInterrupt:
                if {converts}:  # as modules in C do
                    raise ImportError("initialization failed")
                raise

sys.meta_path.insert(0, AtImport())
runpy.run_module("mpiqe", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "converts"),
    [
        ("typer", False),
        ("numpy", True),
        *(
            pytest.param(module, converts, marks=pytest.mark.slow)
            for module in ("typer", "mpiqe.cli.score", "numpy", "mpiqe.scoring.loading", "onnxruntime")
            for converts in (False, True)
            if (module, converts) not in (("typer", False), ("numpy", True))
        ),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_with_130_and_one_line(folder, module, converts):
    code = INTERRUPTED.format(module=module, converts=converts)
    done = subprocess.run(
        [sys.executable, "-c", code, "score", str(folder), "--format", "csv"],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stderr) == (130, b"mpiqe: interrupted\n")
    assert done.stdout == b""


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "txt"])
def test_a_disk_that_is_full_is_said_with_the_file_and_a_later_run_goes_on(tmp_path, form):
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.new("RGB", (60, 40), (number, number, number)).save(tmp_path / "photos" / f"{number:03}.png")
    output = tmp_path / f"rows.{form}"
    command = [*PROGRAM, "score", str(tmp_path / "photos"), "--output", str(output)]
    limited = ["sh", "-c", 'ulimit -f 2; exec "$@"', "sh"]  # blocks of a file; the system's word is another than ENOSPC
    full = subprocess.run([*limited, *command], capture_output=True, check=False, timeout=60, text=True)
    then = "" if form == "txt" else "; the rows that are written stay: mend that, and --resume goes on"
    assert (full.returncode, full.stderr) == (2, f"mpiqe: {output}: File too large{then}\n")
    if form != "txt":
        rest = subprocess.run([*command, "--resume"], capture_output=True, check=False, timeout=60, text=True)
        assert (rest.returncode, rest.stderr.partition(" scored")[0]) == (0, "mpiqe: 40 of 40 photos")
    assert not list(tmp_path.glob("*.lock"))
