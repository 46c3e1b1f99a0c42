"""ONNX Runtime tells nobody anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# With one of these ONNX Runtime is silent by itself, as in CI; so no test would notice.
SILENT = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}


def test_scoring_keeps_no_identifier_and_no_events_in_the_home_folder(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in SILENT} | {"HOME": str(tmp_path)}
    code = "import sys, mpiqe; print(mpiqe.load(runtime='onnx')(sys.argv[1]).score)"
    command = [sys.executable, "-c", code, ROOT / "examples" / "coffee.jpg"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0
    assert done.stderr == ""
    assert list(tmp_path.rglob("*")) == []


def test_it_is_imported_in_one_place():
    importing = {
        path.name
        for path in (ROOT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s+(import onnxruntime\b|from onnxruntime\b)|(import|from) onnxruntime\b", line)
    }
    assert importing == {"onnx_runtime.py", "quantize.py"}  # the latter a part of it, after the former
