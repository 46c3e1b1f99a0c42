from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.errors import ConfigError, DatasetError, ImageError, MPIQEError, WeightsError


def test_what_a_terminal_would_obey_is_escaped_in_error_messages(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    folder = tmp_path / "\x1b[31mrun\x9b2J"
    folder.mkdir()
    done = CliRunner().invoke(app, ["score", str(tmp_path / "a.png"), "--weights", str(folder)])
    assert done.exit_code == 2
    assert "no mpiqe.safetensors in" in done.output
    assert r"\x1b[31mrun\x9b2J" in done.output
    assert not {"\x1b", "\x9b"} & set(done.output)


def test_no_error_but_a_photos_holds_what_a_terminal_would_obey() -> None:
    for kind in (MPIQEError, ConfigError, DatasetError, WeightsError):
        assert str(kind("labels.csv: no column 'MOS' but \x1b[2J\udc80\n\tsecond")) == (
            "labels.csv: no column 'MOS' but \\x1b[2J\\udc80\n\tsecond"
        )
    assert str(ImageError("a\x1b.jpg", "empty file")) == "a\x1b.jpg: empty file"  # as the row names it


def test_names_in_a_table_and_in_a_checkpoint_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"\x1b[2Jodd\x9b": [1]}), tmp_path / "table.parquet")
    save_file({"\x1b[2Jodd\x9b": torch.zeros(2)}, tmp_path / "odd.safetensors")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    for asked in (
        [str(tmp_path / "table.parquet")],
        [str(tmp_path / "table.parquet"), "--column", "\x1b[2Jodd\x9b"],
        [str(tmp_path / "a.png"), "--weights", str(tmp_path / "odd.safetensors")],
    ):
        for form in ("table", "csv", "jsonl"):
            done = CliRunner().invoke(app, ["score", *asked, "--format", form])
            assert done.exit_code in (1, 2), done.output
            assert "odd" in done.output
            assert not {"\x1b", "\x9b"} & set(done.output), (asked, form, done.output)
