"""Read label files in a child process with limits on memory and time, since damaged ones can crash their reader."""

import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import mpiqe
from mpiqe.data.label_child import ANSWER, SECONDS
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.extras import lacking
from mpiqe.parse import parse_json

Kind = Literal["mat", "xlsx", "xls"]
READERS: dict[Kind, tuple[str, str]] = {
    "mat": ("a MATLAB file", "scipy"),
    "xlsx": ("an Excel file", "openpyxl"),
    "xls": ("an Excel file", "xlrd"),
}
"""What each kind of file is called, and the package that reads it."""
_MOST_BYTES = 256 << 20  # of a file; the largest official one has under one million
GRACE = 10
"""Seconds to start in, and by which the child's own alarm comes first."""
# As in isolation/process.py: the child has the parent's modules, and none of the working directory's.
BOOT = (
    "import sys; sys.path[:] = [sys.argv[1], *sys.argv[4:]]; import mpiqe; sys.path[:] = sys.argv[4:]; "
    "from mpiqe.data.label_child import main; main(sys.argv[2], sys.argv[3])"
)
"""The code that the child process begins with."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def read_apart(file: Path, kind: Kind) -> dict[str, Any]:
    """The variables or sheets of a label file by their names.

    Raises ``DatasetError`` for a file that cannot be read, whatever it does to the process that reads it, and
    ``ConfigError`` where the package that reads such files is not installed.
    """
    what, package = READERS[kind]
    if find_spec(package) is None:  # it is imported in the process apart alone
        error = ModuleNotFoundError(f"no module named {package}", name=package)
        raise lacking(error, why=f"to read {file.name}") or error
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _unreadable(file, what, str(error)) from error
    if size > _MOST_BYTES or not file.is_file():
        raise _unreadable(file, what, f"it is no file of at most {_MOST_BYTES >> 20} MB")
    command = [sys.executable, "-c", BOOT, str(Path(mpiqe.__file__).parents[1]), kind, os.path.abspath(file)]
    paths = [entry for entry in sys.path if isinstance(entry, str)]
    with tempfile.TemporaryFile() as answers:
        try:
            code = subprocess.run(  # noqa: S603
                [*command, *paths],
                stdin=subprocess.DEVNULL,
                stdout=answers,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
                timeout=SECONDS + GRACE,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise _unreadable(file, what, f"it takes longer than {SECONDS} s") from error
        except OSError as error:
            raise ConfigError(f"cannot start a process that reads {file}: {error}") from error
        answer = _answer(code, answers.seek(0, os.SEEK_END), answers)
    if not isinstance(answer.get("value"), dict):
        raise _unreadable(file, what, str(answer.get("error") or _how_it_ended(code)))
    value: dict[str, Any] = answer["value"]
    return value


def _answer(code: int, length: int, file: Any) -> dict[str, Any]:
    if length > ANSWER:
        return {"error": f"it holds more than {ANSWER >> 20} MB of labels"}
    if code != 0:
        return {}
    file.seek(0)
    try:
        answer = parse_json(file.read())
    except ValueError:  # a full disk, say
        return {}
    return answer if isinstance(answer, dict) else {}


def _how_it_ended(code: int) -> str:
    if -code == getattr(signal, "SIGALRM", None):
        return f"it takes longer than {SECONDS} s"
    if code < 0:
        return f"its reader died of signal {-code}"
    return f"its reader ended with exit status {code}"


def _unreadable(file: Path, what: str, reason: str) -> DatasetError:
    return DatasetError(f"{file}: cannot be read as {what} ({reason}); copy the release again")
