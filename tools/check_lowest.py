"""Run a part of the tests against the lower end of every range in pyproject.toml.

    python tools/check_lowest.py [--torch REQUIREMENT] [PYTEST ARGUMENT ...]

uv, which has to be installed, resolves the extra ``test`` with ``--resolution lowest-direct``: our own requirements at
their lowest, those of theirs as they come today. torch is the exception: the version of constraints.txt, or
``--torch`` (``torch @ file:///wheels/torch-2.13.0%2Bcpu.whl``, where %2B is a +), since older ones, and PyPI's own
with CUDA, are downloads of gigabytes. uv does not read pip's settings; other indexes and folders of wheels are named by
its own, ``UV_INDEX`` and ``UV_FIND_LINKS``. Deprecation warnings of old packages are no failures.

Printed are the versions of what pyproject.toml names, first those above their lower end, since another package asks for
more: a range that such a line stands for is not tested to its end, and should begin there.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests/scoring",
    "tests/sources",
    "tests/runtimes",
    "tests/isolation",
    "tests/batch",
    "tests/data",
    "tests/model",
    "tests/test_decoding.py",
    "tests/test_images.py",
    "tests/test_metrics.py",
]


def main() -> int:
    """Return pytest's exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", metavar="REQUIREMENT")
    asked, tests = parser.parse_known_args()
    torch = asked.torch or re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group()  # type: ignore[union-attr]
    uv = shutil.which("uv") or sys.exit("uv is not installed: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "torch.txt").write_text(f"{torch}\n")
        lowest, python = place / "lowest.txt", place / "environment" / "bin" / "python"
        resolve = [uv, "pip", "compile", ROOT / "pyproject.toml", "--extra", "test", "--resolution", "lowest-direct"]
        overridden = ["--override", place / "torch.txt", "--quiet", "--output-file", lowest]
        subprocess.run([*resolve, "--python-version", f"3.{sys.version_info.minor}", *overridden], check=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place / "environment"], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", python]
        subprocess.run([*install, "--requirement", lowest], check=True)
        subprocess.run([*install, "--no-deps", ROOT], check=True)
        bounds, found = lowest_of((ROOT / "pyproject.toml").read_text()), resolved(lowest.read_text())
        for name in above(bounds, found):
            print(f"{name}=={found[name]} is above the lower end, {bounds[name]}")
        print(*(f"{name}=={found[name]}" for name in bounds if name in found), sep="\n", flush=True)
        command = [python, "-m", "pytest", "-q", "-o", "filterwarnings=default", *(tests or TESTS)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def lowest_of(pyproject: str) -> dict[str, str]:
    """The lower ends of the ranges in pyproject.toml by the package's name; the highest of several."""
    found = re.findall(r'"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?>=([0-9.]+)', pyproject)
    bounds: dict[str, str] = {}
    for name, bound in sorted(found, key=lambda each: [int(part) for part in each[1].split(".")]):
        bounds[_canonical(name)] = bound
    return dict(sorted(bounds.items()))


def resolved(requirements: str) -> dict[str, str]:
    """The versions in what uv has resolved, by name."""
    lines = re.findall(r"^([A-Za-z0-9_.-]+)(?:==| @ )(\S+)", requirements, re.MULTILINE)
    return {_canonical(name): version for name, version in lines}


def above(bounds: dict[str, str], found: dict[str, str]) -> list[str]:
    """The names of those that are not at the lower end of their range; 1.11.1 is, of 1.11."""
    return [
        name
        for name, bound in bounds.items()
        if name in found and name != "torch" and not f"{found[name]}.".startswith(f"{bound}.")
    ]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
