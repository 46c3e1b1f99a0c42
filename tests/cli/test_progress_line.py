import io

from rich.console import Console

from mpiqe.cli.progress_line import ProgressLine


def line(*, total, count=5, shared=False, terminal=True):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, _environ={"TERM": "xterm"})
    made = ProgressLine(console=console, unit="photos", total=total, shared=shared)
    made.count = count
    return made


def test_count_rate_and_time_left_are_shown():
    text = line(total=20).text(10.0).plain
    assert text.startswith("━" * 30)
    assert text[30:] == "  5 of 20 photos  0.5 a second  0:30 left"
    assert line(total=100_000).text(100.0).plain.endswith("  5 of 100,000 photos  0.1 a second  555:31:40 left")


def test_without_a_total_nothing_is_promised():
    assert line(total=None).text(10.0).plain == "5 photos  0.5 a second"
    assert line(total=None, count=0).text(0.0).plain == "0 photos  0.0 a second"


def test_the_line_is_gone_afterwards():
    progress = line(total=20)
    with progress:
        pass
    shown = progress.console.file.getvalue()
    assert "5 of 20 photos" in shown
    assert shown.endswith("\r\x1b[2K")


def test_what_shares_the_terminal_is_written_on_an_empty_line():
    progress = line(total=20, shared=True)
    with progress, progress.aside():
        progress.console.file.write("a row\n")
    before, after = progress.console.file.getvalue().split("a row\n")
    assert before.endswith("\r\x1b[2K")
    assert "5 of 20 photos" in after


def test_nothing_is_written_where_there_is_no_terminal():
    progress = line(total=20, shared=True, terminal=False)
    with progress, progress.aside():
        progress.advance()
    assert progress.console.file.getvalue() == ""
    assert progress.count == 6
