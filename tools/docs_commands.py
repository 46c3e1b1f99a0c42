"""A hook of MkDocs: the page ``reference/commands.md``, written from the commands' own help."""

import re
from collections.abc import Iterator
from typing import Any

PAGE = "reference/commands.md"


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content="\n".join(lines())))
    return files


def lines() -> Iterator[str]:
    """The page: every command with its arguments, options and defaults."""
    from typer.main import get_command

    from mpiqe.cli.main import app

    yield "# Command line"
    yield ""
    yield "Exit status of all commands: 0 done, 1 done in part, 2 a usage error or an error, 130 interrupted."
    yield ""
    yield from _commands(get_command(app), "mpiqe")


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield from _one(command, f"{prefix} {name}")


def _one(command: Any, name: str) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield re.sub(r"(?m)^[ \t]+", "", command.help or "").replace("\b", "")
    yield ""
    yield "| option | meaning |"
    yield "|---|---|"
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        text, default = _plain(getattr(parameter, "help", "") or ""), ""
        if found := re.search(r" ?\[([^][]*)\]$", text):  # flags made from options end their help with the default
            text, default = text[: found.start()], found[1]
        elif parameter.param_type_name == "option" and parameter.default not in (None, False, ()):
            default = str(parameter.default)
        yield f"| {_names(parameter)} | {_cell(text)}{f' (default: {_cell(default)})' if default else ''} |"
    yield ""


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    choices = None if parameter.metavar else getattr(parameter.type, "choices", None)
    metavar = parameter.metavar or {"integer": "N", "float": "X"}.get(parameter.type.name, "TEXT")
    value = "" if parameter.is_flag or choices else f" {metavar}"
    names = ", ".join([f"`{parameter.opts[0]}{value}`", *(f"`{name}`" for name in parameter.secondary_opts)])
    among = f" {', '.join(str(choice) for choice in choices)}" if choices else ""
    return names + among + (" (required)" if parameter.required else "")


def _plain(text: str) -> str:
    """Without the marks that the terminal turns into colours."""
    return re.sub(r"\[/?dim\]", "", text).replace("\\[", "[").strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
