"""The container's file, as far as it can be checked without a container runtime; docs/serve.md has a run with one."""

import json
import re
from pathlib import Path

from typer.main import get_command

from mpiqe.cli.main import app

ROOT = Path(__file__).parents[2]
FILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def lines(word):
    return [line.removeprefix(f"{word} ") for line in FILE.splitlines() if line.startswith(f"{word} ")]


def test_it_starts_a_command_that_exists_with_options_that_exist():
    program, name, *options = json.loads(lines("ENTRYPOINT")[0])
    assert program == "mpiqe"
    command = get_command(app).commands[name]
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {option for option in options if option.startswith("-")} <= known


def test_it_serves_as_no_administrator_on_the_port_that_it_names():
    assert FILE.index("\nUSER mpiqe\n") < FILE.index("\nENTRYPOINT")
    command = get_command(app).commands["serve"]
    (port,) = (parameter.default for parameter in command.params if "--port" in parameter.opts)
    assert lines("EXPOSE") == [str(port)]
    assert f"127.0.0.1:{port}/health" in lines("HEALTHCHECK")[0]


def test_it_installs_an_extra_that_exists_and_takes_no_build_or_history_along():
    (extra,) = re.findall(r"/source\[(\w+)\]", FILE)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {".git", ".venv"} <= set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
