"""Tests replace what a module offers, never what it keeps to itself: a rename inside a module breaks no test."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
_PRIVATE = re.compile(r"(?:^|\.)_(?!_)\w+$")


def _patched(path: Path) -> list[str]:
    """The names that a file's ``monkeypatch.setattr`` calls replace."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            names += [text for text in texts if isinstance(text, str)]
    return names


def test_no_private_name_is_replaced() -> None:
    found = {str(path.relative_to(TESTS)): _patched(path) for path in sorted(TESTS.rglob("*.py"))}
    assert sum(map(len, found.values())) > 100  # it finds the calls
    assert {
        path: private for path, names in found.items() if (private := [n for n in names if _PRIVATE.search(n)])
    } == {}
