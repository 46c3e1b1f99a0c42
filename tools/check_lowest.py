"""Run a part of the tests against the lower end of every range in pyproject.toml.

    python tools/check_lowest.py [--torch REQUIREMENT] [PYTEST ARGUMENT ...]

uv, which has to be installed, resolves the extra ``test`` with ``--resolution lowest-direct``: our own requirements at
their lowest, those of theirs as they come today. torch is the exception: the version of constraints.txt, or
``--torch`` (``torch @ file:///wheels/torch-2.13.0+cpu.whl``), since older ones, and PyPI's own with CUDA, are downloads
of gigabytes. Deprecation warnings of old packages are no failures.
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
        named = set(_direct())
        print(
            *(line for line in lowest.read_text().splitlines() if re.split(r"[=@ ]", line)[0] in named),
            sep="\n",
            flush=True,
        )
        command = [python, "-m", "pytest", "-q", "-o", "filterwarnings=default", *(tests or TESTS)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def _direct() -> list[str]:
    """The names of the packages that pyproject.toml requires."""
    return re.findall(r'"([A-Za-z0-9_-]+)(?:\[[a-z,]+\])?>=', (ROOT / "pyproject.toml").read_text())


if __name__ == "__main__":
    sys.exit(main())
