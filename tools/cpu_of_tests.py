"""Where the CPU time of the tests goes: a plugin for pytest, and the table of what it wrote.

    python -m pytest -p tools.cpu_of_tests          writes a file for each process of pytest to build/cpu_of_tests/
    python tools/cpu_of_tests.py [--by test]        prints the files of tests, or the tests, that took most

CPU time is user and system time of pytest's process and of those that it started and waited for. Unlike seconds on the
clock it depends little on what else the machine does. What starts before the collection is not in it.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path("build/cpu_of_tests")


def _spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _write(name: str, seconds: float) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.jsonl").open("a") as file:
        file.write(json.dumps([name, round(seconds, 3)]) + "\n")


def pytest_configure() -> None:
    """Begin anew; workers have not been started yet."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for file in FOLDER.glob("*.jsonl"):
            file.unlink()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Measure the collection, for which every process imports all test files."""
    before = _spent()
    result = yield
    _write("collection", _spent() - before)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Measure a test with its fixtures: the first that asks for a shared one pays for it."""
    before = _spent()
    result = yield
    _write(item.nodeid, _spent() - before)
    return result


def main() -> None:
    """Print the most expensive ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--by", choices=("file", "test"), default="file")
    parser.add_argument("--number", type=int, default=40)
    asked = parser.parse_args()
    spent: Counter[str] = Counter()
    for file in FOLDER.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            name, seconds = json.loads(line)
            spent[name if asked.by == "test" else name.partition("::")[0]] += seconds
    if not spent:
        sys.exit(f"nothing in {FOLDER}: run python -m pytest -p tools.cpu_of_tests first")
    print(f"{sum(spent.values()):8.1f} s in all")
    for name, seconds in spent.most_common(asked.number):
        print(f"{seconds:8.1f} s  {name}")


if __name__ == "__main__":
    main()
