"""Run the model's tests against the oldest and the newest transformers that pyproject.toml allows.

    python tools/check_transformers.py [VERSION ...]

Each version gets an environment of its own in a temporary folder. Without arguments: the lower end of the range, and
whatever pip finds newest within it.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(versions: list[str]) -> int:
    """Return the number of versions that fail."""
    text = (ROOT / "pyproject.toml").read_text()
    lower, upper = re.search(r'"transformers>=([\d.]+),<([\d.]+)"', text).groups()  # type: ignore[union-attr]
    wanted = [f"transformers=={version}" for version in versions]
    failures = 0
    for requirement in wanted or [f"transformers=={lower}", f"transformers>={lower},<{upper}"]:
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = str(Path(folder) / "bin" / "python")
            torch = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group()  # type: ignore[union-attr]
            for packages in ([torch], [requirement, f"{ROOT}[test]"]):
                subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
            shown = subprocess.run(
                [python, "-c", "import transformers; print(transformers.__version__)"],
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"transformers {shown.stdout.strip()}:", flush=True)
            done = subprocess.run([python, "-m", "pytest", "-q", "tests/model", "tests/scoring"], cwd=ROOT, check=False)
            failures += done.returncode != 0
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
