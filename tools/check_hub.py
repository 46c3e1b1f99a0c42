"""Run the tests of the hub against the oldest and the newest huggingface_hub that pyproject.toml allows.

    python tools/check_hub.py [VERSION ...]

Each version gets an environment of its own in a temporary folder, without torch: what is uploaded, downloaded and
scored there needs none. The tests themselves run in this environment and start that one's interpreter.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(versions: list[str]) -> int:
    """Return the number of versions that fail."""
    lower = re.search(r'"huggingface_hub>=([\d.]+)"', (ROOT / "pyproject.toml").read_text()).group(1)  # type: ignore[union-attr]
    failures = 0
    for requirement in [f"huggingface_hub=={version}" for version in versions] or [
        f"huggingface_hub=={lower}",
        f"huggingface_hub>={lower}",
    ]:
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = str(Path(folder) / "bin" / "python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", requirement, f"{ROOT}[hub]"], check=True)
            shown = subprocess.run(
                [python, "-c", "import huggingface_hub; print(huggingface_hub.__version__)"],
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"huggingface_hub {shown.stdout.strip()}:", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "tests/publish/test_hub.py"],
                cwd=ROOT,
                check=False,
                env={**os.environ, "MPIQE_HUB_PYTHON": python},
            )
            failures += done.returncode != 0
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
