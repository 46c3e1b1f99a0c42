"""In the process for tables: which column of a table holds images, and what of its other columns is handed on."""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from mpiqe.decoding import begins_image
from mpiqe.parse import parse_json

COLUMNS = ("image", "path", "url")
_FEATURES = b"huggingface"  # the key of the metadata in which datasets describes its columns
_MOST_KEPT = 1 << 18  # bytes of a row's other columns as JSON
_LONGEST_VALUE = 1000  # letters that are left of each value where they are more
_ADDRESS = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]+://")

First = Callable[[str], bytes]
"""Returns how the first value of a column begins that is not null, among a few; nothing where there is none."""


class UnsuitableError(Exception):
    """A table without photos in it, or without a column that was asked for."""


def chosen(schema: Any, asked: str | None, first: First) -> tuple[str, list[str]]:
    """The column of photos, and which parts of it matter if it has parts; raises ``UnsuitableError``.

    Without ``asked`` it is one that holds the photos themselves, if there is one: ``image``, one that datasets calls an
    image, another struct of bytes and path, or one of bytes that begin as an image does. Else it is ``image``, ``path``
    or ``url``. A column of paths is taken before bytes that nothing but their beginning tells from others.
    """
    column = asked or _with_bytes(schema) or _named(schema, first)
    if column is None or column not in schema.names:
        wanted = repr(asked) if asked else " or ".join(map(repr, COLUMNS))
        there = ", ".join(schema.names)[:1000]
        raise UnsuitableError(f"no column {wanted} among {there}; choose one with --column")
    kind = _kind(schema, column)
    if pa.types.is_struct(kind):
        parts = [part for part in ("bytes", "path") if kind.get_field_index(part) >= 0]
        if parts:
            return column, parts
    elif is_text(kind) or is_binary(kind):
        return column, []
    held = str(kind)[:1000]
    raise UnsuitableError(f"column {column!r} holds {held}, neither paths nor bytes; choose one with --column")


def _with_bytes(schema: Any) -> str | None:
    """The first column that is known to hold images as bytes."""
    structs = [name for name in schema.names if _has_bytes(_kind(schema, name))]
    if "image" in schema.names and ("image" in structs or is_binary(_kind(schema, "image"))):
        return "image"
    typed = _typed_as_image(schema)
    candidates = [name for name in structs if name in typed]
    candidates += [name for name in structs if _kind(schema, name).get_field_index("path") >= 0]
    return candidates[0] if candidates else None


def _named(schema: Any, first: First) -> str | None:
    """A column of bytes that begin as an image does, or one of paths or addresses by its name; paths come first."""
    names = [name for name in COLUMNS if name in schema.names]
    if names and is_text(_kind(schema, names[0])) and not _ADDRESS.match(first(names[0])):
        return names[0]
    for name in schema.names:
        if is_binary(_kind(schema, name)) and begins_image(first(name)):
            return str(name)
    return names[0] if names else None


def _typed_as_image(schema: Any) -> set[str]:
    """The columns that datasets' own description calls images."""
    try:
        features = parse_json((schema.metadata or {})[_FEATURES])["info"]["features"]
        return {name for name, feature in features.items() if feature.get("_type") == "Image"}
    except (KeyError, TypeError, ValueError, AttributeError):  # there is none, or not one of theirs
        return set()


def _kind(schema: Any, name: str) -> Any:
    kind = schema.field(schema.names.index(name)).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _has_bytes(kind: Any) -> bool:
    return bool(
        pa.types.is_struct(kind)
        and kind.get_field_index("bytes") >= 0
        and is_binary(kind.field(kind.get_field_index("bytes")).type)
    )


def check_kept(schema: Any, kept: Sequence[str]) -> None:
    """Raise ``UnsuitableError`` unless the table has all columns that are to be handed on, and they hold no files."""
    there = ", ".join(schema.names)[:1000]
    for name in kept:
        if name not in schema.names:
            raise UnsuitableError(f"no column {name!r} among {there}; --keep names columns of the table")
        if is_binary(_kind(schema, name)) or _has_bytes(_kind(schema, name)):
            raise UnsuitableError(f"column {name!r} holds bytes, which --keep does not hand on")


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """A row's values of other columns as what JSON has; what is neither text nor number as its text in JSON."""
    made = {name: _plain(value) for name, value in values.items()}
    if len(json.dumps(made)) <= _MOST_KEPT:
        return made
    return {
        name: f"{value[:_LONGEST_VALUE]}…" if isinstance(value, str) and len(value) > _LONGEST_VALUE else value
        for name, value in made.items()
    }


def value_of(cell: Any) -> Any:
    """A cell as Python has it; text that is not UTF-8 with such bytes as escapes."""
    if is_text(cell.type) and cell.is_valid:
        return cell.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    return cell.as_py()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(value, default=str)
    return str(value)


def is_text(kind: Any) -> bool:
    """Whether cells of that type are text; views too, which polars writes (pyarrow knows them by name since 16)."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind)) or str(kind) == "string_view"


def is_binary(kind: Any) -> bool:
    """Whether cells of that type are bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) or str(kind) == "binary_view"
