"""Ask for known holes in the versions of constraints.txt, and fail where nobody has answered.

    python tools/check_audit.py [--by-hand NAME ...]

pip-audit, which has to be installed, ends with status 0 and "No known vulnerabilities found" for packages, too, that it
has not found and so not asked about. Here such a package is a failure, until it is looked up elsewhere and named after
``--by-hand``. Exit status 0: every package was asked about and has no known hole.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print what is wrong with each package; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--by-hand", nargs="+", default=[], metavar="NAME", help="packages that were looked up")
    asked = parser.parse_args()
    constraints = ROOT / "constraints.txt"
    found = faults(wanted(constraints.read_text(encoding="utf-8")), _audited(constraints), by_hand=asked.by_hand)
    print(*found or ["every package was asked about, and none has a known hole"], sep="\n")
    return 1 if found else 0


def wanted(constraints: str) -> list[str]:
    """The names of the packages that a file of constraints pins for this Python."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    requirements = (Requirement(line) for line in lines if line)
    return [each.name for each in requirements if each.marker is None or each.marker.evaluate()]


def faults(names: Iterable[str], report: dict[str, Any], *, by_hand: Iterable[str] = ()) -> list[str]:
    """One line for each package that has a hole, or of which ``report``, as pip-audit writes it, does not say."""
    told = {_plain(each["name"]): each for each in report["dependencies"]}
    looked_up = set(map(_plain, by_hand))
    lines = []
    for name in names:
        about = told.get(_plain(name), {"skip_reason": "pip-audit does not name it"})
        for hole in about.get("vulns", ()):
            mended = ", ".join(hole["fix_versions"]) or "no version yet"
            lines.append(f"{name} {about['version']}: {hole['id']}, mended in {mended}")
        if "vulns" not in about and _plain(name) not in looked_up:
            lines.append(f"{name}: not asked about ({about.get('skip_reason', 'for no reason')})")
    return lines


def _plain(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _audited(constraints: Path) -> dict[str, Any]:
    program = shutil.which("pip-audit") or sys.exit("pip-audit is not installed: pip install pip-audit")
    command = [program, "--requirement", constraints, "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"pip-audit says nothing: {done.stderr.strip()[-2000:]}")
    return report


if __name__ == "__main__":
    sys.exit(main())
