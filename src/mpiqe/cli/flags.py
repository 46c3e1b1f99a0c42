"""Command-line flags made from option dataclasses, so that a setting is written down once."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin

import typer


def with_flags(*kinds: type, defaults: Mapping[str, str] | None = None) -> Callable[[Callable[..., None]], Any]:
    """Give a command a ``--flag`` for every field of ``kinds``; it receives those that were given, as ``given``.

    A flag that is not given is absent, so that a config file or a dataset's own default can speak. ``defaults`` are
    words for the help where a default is not the dataclass's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        names: list[str] = []
        made: list[inspect.Parameter] = []
        for kind in kinds:
            hints = typing.get_type_hints(kind)
            for item in fields(kind):
                default = (defaults or {}).get(item.name, item.default)
                names.append(item.name)
                made.append(_parameter(item.name, hints[item.name], item.metadata["help"], default))

        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            command(given={name: value for name, value in given.items() if value not in (None, [])}, **values)

        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *made]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameter(name: str, hint: Any, text: str, default: Any) -> inspect.Parameter:
    if get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(option for option in get_args(hint) if option is not type(None))
    flag = "--" + name.replace("_", "-")
    if get_origin(hint) is tuple:
        hint = list[get_args(hint)[0]]  # type: ignore[misc]
    shown = "" if default in (None, ()) else f" [dim]\\[{default}][/dim]"
    if hint is bool:
        flag = f"{flag}/--no-{flag[2:]}"
        shown = f" [dim]\\[{'on' if default else 'off'}][/dim]"
    annotation = Annotated[hint | None, typer.Option(flag, help=text.replace("[", "\\[") + shown, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
