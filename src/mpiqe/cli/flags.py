"""Command-line flags made from option dataclasses, so that a setting is written down once."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin

import typer

_OLD = "old_name_"


def with_flags(
    *kinds: type,
    defaults: Mapping[str, str] | None = None,
    renamed: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Any]:
    """Give a command a ``--flag`` for every field of ``kinds``; it receives those that were given, as ``given``.

    A flag that is not given is absent, so that a config file or a dataset's own default can speak. ``defaults`` are
    words for the help where a default is not the dataclass's. ``renamed`` has old names of fields and the names of now:
    a flag of the old name still works in this version, hidden from the help, and warns. ``flags`` names those of fields
    that cannot be called so in Python.
    """
    old_names = {new: old for old, new in (renamed or {}).items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        names: list[str] = []
        made: list[inspect.Parameter] = []
        for kind in kinds:
            hints = typing.get_type_hints(kind)
            for item in fields(kind):
                default = (defaults or {}).get(item.name, item.default)
                names.append(item.name)
                what = hints[item.name], item.metadata["help"], default
                made.append(_parameter(item.name, (flags or {}).get(item.name, item.name), *what))
                if item.name in old_names:
                    made.append(_parameter(f"{_OLD}{item.name}", old_names[item.name], *what, hidden=True))

        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            for name, old in old_names.items():
                value = values.pop(f"{_OLD}{name}")
                if value not in (None, []):
                    typer.echo(
                        f"mpiqe: {_flag(old)} is now {_flag(name)}; the old name goes away in the next version",
                        err=True,
                    )
                    given[name] = [*given[name], *value] if isinstance(value, list) and given[name] else value
            command(given={name: value for name, value in given.items() if value not in (None, [])}, **values)

        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *made]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parameter(
    name: str, flag_name: str, hint: Any, text: str, default: Any, *, hidden: bool = False
) -> inspect.Parameter:
    """The parameter ``name`` of a command, set by a flag made of ``flag_name``."""
    if get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(option for option in get_args(hint) if option is not type(None))
    flag = _flag(flag_name)
    if get_origin(hint) is tuple:
        hint = list[get_args(hint)[0]]  # type: ignore[misc]
    shown = "" if default in (None, ()) else f" [{default}]"
    if hint is bool:
        flag = f"{flag}/--no-{flag[2:]}"
        shown = f" [{'on' if default else 'off'}]"
    option = typer.Option(flag, help=text + shown, show_default=False, hidden=hidden)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint | None, option]
    )
