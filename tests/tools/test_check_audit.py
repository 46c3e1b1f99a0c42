"""A report of pip-audit that says nothing of a package is no pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools.check_audit import ROOT, faults, wanted

FOUND = {"name": "pillow", "version": "13.0.0", "vulns": []}
SKIPPED = {"name": "huggingface-hub", "skip_reason": "Dependency not found on PyPI and could not be audited"}
HOLE = {"name": "ray", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}


def test_packages_that_were_asked_about_and_have_no_hole_pass():
    assert faults(["Pillow"], {"dependencies": [FOUND]}) == []


def test_a_package_that_was_not_found_or_is_not_named_at_all_fails():
    lines = faults(["pillow", "huggingface_hub", "torch"], {"dependencies": [FOUND, SKIPPED]})
    assert [line.partition(":")[0] for line in lines] == ["huggingface_hub", "torch"]
    assert "not found on PyPI" in lines[0]


def test_one_that_was_looked_up_by_hand_passes_but_not_with_a_hole():
    report = {"dependencies": [SKIPPED, HOLE]}
    lines = faults(["huggingface_hub", "ray"], report, by_hand=["huggingface-hub", "ray"])
    assert lines == ["ray 2.0: PYSEC-1, mended in 2.1"]


def test_only_the_lines_for_this_python_are_wanted():
    assert wanted("# why\na==1  # so\nb==2; python_version >= '3.0'\nc==3; python_version < '3.0'\n") == ["a", "b"]
    assert "pillow" in wanted((ROOT / "constraints.txt").read_text())


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for pip-audit")
def test_the_command_fails_where_pip_audit_passes_without_having_asked(tmp_path: Path):
    """As it does for a package that the index does not have: status 0, "No known vulnerabilities found"."""
    said = json.dumps({"dependencies": [SKIPPED], "fixes": []})
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\necho 'No known vulnerabilities found' >&2\necho '{said}'\n")
    (tmp_path / "pip-audit").chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_audit.py"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "huggingface_hub: not asked about (Dependency not found" in done.stdout
    (tmp_path / "pip-audit").write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    done = subprocess.run(done.args, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"pip-audit says nothing: no network" in done.stderr
