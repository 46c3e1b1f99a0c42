from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from mpiqe.cli.main import app


def test_what_a_terminal_would_obey_is_escaped_in_error_messages(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    folder = tmp_path / "\x1b[31mrun\x9b2J"
    folder.mkdir()
    done = CliRunner().invoke(app, ["score", str(tmp_path / "a.png"), "--weights", str(folder)])
    assert done.exit_code == 2
    assert "no mpiqe.safetensors in" in done.output
    assert r"\x1b[31mrun\x9b2J" in done.output
    assert not {"\x1b", "\x9b"} & set(done.output)
