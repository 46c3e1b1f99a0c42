import json

import pytest

from mpiqe.parse import MOST_LEVELS, parse_json, parse_toml

DEEP = (MOST_LEVELS + 1, 900, 100_000)


@pytest.mark.parametrize("levels", DEEP)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_too_deeply_is_no_json(levels: int, opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        parse_json(opening * levels + "1" + closing * levels)


@pytest.mark.parametrize("levels", DEEP)
def test_toml_that_is_nested_too_deeply_is_no_toml(levels: int) -> None:
    for text in ("a = " + "[" * levels + "]" * levels, "[" + ".".join("a" * levels) + "]"):
        with pytest.raises(ValueError, match="nested more than 64 levels deep"):
            parse_toml(text)


def test_what_is_not_too_deep_is_read_as_ever() -> None:
    value = {"a": [1, 2.5, None, {"b": [[]]}], "c": "d"}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json("[" * MOST_LEVELS + "]" * MOST_LEVELS)
    assert parse_toml('a = [1, "b"]\n[c]\nd = 2.5') == {"a": [1, "b"], "c": {"d": 2.5}}
    for text in ("", "{", "nan.", '{"a" 1}'):
        with pytest.raises(ValueError, match="Expecting"):
            parse_json(text)
