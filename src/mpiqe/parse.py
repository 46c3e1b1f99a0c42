"""JSON and TOML of any origin: deep nesting is an error like any other, for whatever reads the values later too."""

import json
import re
import sys
from typing import Any

MOST_LEVELS = 64
"""Of lists and objects within each other; nothing that mpiqe or the libraries beneath it write comes near."""
_NAME = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"^[ \t\[]*{_NAME}(?:[ \t]*\.[ \t]*{_NAME}){{{MOST_LEVELS},}}", re.MULTILINE)


def parse_json(text: str | bytes | bytearray) -> Any:
    """The value of a JSON text. Raises ``ValueError`` for what is no JSON, or nested over ``MOST_LEVELS`` deep."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text. Raises ``ValueError`` for what is no TOML, or nested over ``MOST_LEVELS`` deep."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # comes with the extra [train]
    if _LONG_KEY.search(text):  # which tomllib reads in a time that grows with the square of its length
        raise _too_deep()
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(table)
    return table


def _check_depth(value: Any) -> None:
    """Level by level: a recursion would fail at what it is to find."""
    level, depth = [value], 0
    while level := [entry for entry in level if isinstance(entry, (dict, list))]:
        depth += 1
        if depth > MOST_LEVELS:
            raise _too_deep()
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
