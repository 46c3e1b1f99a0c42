import pytest

from mpiqe.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 夜", "café 夜"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x9b31m", r"\x9b31m"),  # the one-character form of ESC [
        ("\ud800", r"\ud800"),
        ("\u202egpj", r"\u202egpj"),  # turns the direction of writing
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_what_is_to_be_kept_stays() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
