import json
from pathlib import Path

import pytest

from mpiqe.batch.resume import EarlierText, check_settings, settings_file
from mpiqe.errors import ConfigError
from mpiqe.parse import MOST_LEVELS, parse_json, parse_toml
from mpiqe.training.options import read_toml
from mpiqe.training.run_folder import RunFolder

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
    quoted = ".".join(['"a b"'] * levels)
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        parse_toml(f"[a]\n  {quoted} = 1")


def test_what_is_not_too_deep_is_read_as_ever() -> None:
    value = {"a": [1, 2.5, None, {"b": [[]]}], "c": "d"}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json("[" * MOST_LEVELS + "]" * MOST_LEVELS)
    assert parse_toml('a = [1, "b"]\n[c]\nd = 2.5') == {"a": [1, "b"], "c": {"d": 2.5}}
    for text in ("", "{", "nan.", '{"a" 1}'):
        with pytest.raises(ValueError, match="Expecting"):
            parse_json(text)


def test_settings_in_toml_that_are_nested_too_deeply_are_told(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for levels in (100, 100_000):
        file.write_text("seed = " + "[" * levels + "]" * levels)
        with pytest.raises(ConfigError, match=r"run\.toml is no TOML: it is nested more than 64 levels deep"):
            read_toml(file)


def test_a_run_with_a_config_that_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"a":' * 100 + "1" + "}" * 100, "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match="the run cannot be resumed"):
            RunFolder(tmp_path).config()


def test_rows_and_settings_that_are_nested_too_deeply_are_not_continued(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[" * 100_000 + "\n")
    with pytest.raises(ConfigError, match="row 1 is none that mpiqe score writes"):
        list(EarlierText(rows, "jsonl"))
    settings_file(rows).write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="start anew with --overwrite"):
        check_settings(rows, {})
