"""Options and progress display that ``mpiqe score`` and ``mpiqe explain`` share."""

import io
import os
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe.errors import ConfigError
from mpiqe.printable import printable
from mpiqe.runtimes import registry
from mpiqe.sources import kinds

if TYPE_CHECKING:
    from typing import TypeAlias

    from mpiqe.batch.job import JobResult
    from mpiqe.batch.progress import Progress
    from mpiqe.batch.sinks import Stream
    from mpiqe.cli.progress_line import ProgressLine

    _RuntimeName: TypeAlias = str
else:
    _RuntimeName = Literal[registry.choices()]

Format = Literal["table", "csv", "jsonl", "json", "parquet", "paths", "paths0"]
SHARD_SIZE = 4096

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help=f"Images, folders, patterns ('a/**/*.jpg'), {kinds.listed()} files, URLs; @FILE or - for a list of these; "
        "- also for one image.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(help="Run folder, .safetensors file or hub id; else the embedded model.", metavar="W"),
]
Crops = Annotated[int | None, typer.Option(help="Crops per photo; as in training if not given.", metavar="N")]
ViewSide = Annotated[
    int | None,
    typer.Option(
        help="Downscale photos to at most N x N pixels first (for a model that sees squares: to N x N); 0: not. "
        "Default: the model's own.",
        metavar="N",
    ),
]
CropMode = Annotated[
    Literal["seeded", "grid", "random"] | None,
    typer.Option(help="Where crops are cut: seeded, grid, random. Default: the model's own.", metavar="M"),
]
Seed = Annotated[int, typer.Option(help="Another seed cuts the crops elsewhere.", metavar="S")]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Photos per batch of the model.", metavar="N"),
]
Workers = Annotated[
    int | None, typer.Option(help="Photos that are read at once; one per processor if not given.", metavar="N")
]
Runtime = Annotated[
    _RuntimeName,
    typer.Option(help=registry.runtime_help(), metavar="R"),
]
Device = Annotated[str, typer.Option(help=registry.device_help(), metavar="D")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(help="fp32, bf16, or auto: by the runtime.", metavar="P"),
]
MaxPixels = Annotated[int, typer.Option(help="Refuse photos with more pixels.", metavar="N")]
Column = Annotated[str | None, typer.Option(help="Column of tables with paths or bytes.", metavar="NAME")]
Null = Annotated[
    bool, typer.Option("--null", "-0", help="Paths of lists end with zero bytes, as find -print0 writes them.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Only images whose names match a pattern ('*.jpg'); may be repeated.", metavar="GLOB"),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="No images whose names match a pattern ('*.target.png', 'thumbs/*'); may be repeated.", metavar="GLOB"
    ),
]
MaxBytes = Annotated[int, typer.Option(help="Refuse larger downloads and members.", metavar="N")]
AllowScheme = Annotated[
    list[str] | None,
    typer.Option(help="Follow NAME:// addresses, too, in lists and tables as well; may be repeated.", metavar="NAME"),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        help="Let tables and redirects lead to a host or network that is not public; may be repeated.", metavar="HOST"
    ),
]
Engine = Annotated[Literal["local", "ray"], typer.Option(help="local, or ray: on a Ray cluster.", metavar="E")]
ShardSize = Annotated[int, typer.Option(help="Ray: photos per shard, what a kill costs at most.", metavar="N")]
Address = Annotated[
    str | None,
    typer.Option(help="Ray: the cluster; else RAY_ADDRESS, or this machine.", metavar="A"),
]
Timeout = Annotated[
    float, typer.Option(help="Seconds to fetch a photo from a server or store, and to read it.", metavar="S")
]


def refuse_missing(paths: Iterable[str]) -> None:
    """Raise ``ConfigError`` where nothing of what was named is there, as after a typing error."""
    named = list(paths)
    missing = [path for path in named if _is_plain(path) and not os.path.lexists(path)]
    if missing and len(missing) == len(named):
        raise ConfigError(f"{printable(missing[0])}: there is no such file or folder")


def _is_plain(path: str) -> bool:
    """Whether it names a file or folder, and no list, address, archive's member or pattern."""
    return path != "-" and not path.startswith("@") and not any(mark in path for mark in ("::", "://", "*", "?", "["))


def sum_up(
    result: "JobResult", *, verb: Literal["scored", "explained"], to_file: bool, update: bool, rows_left_out: bool
) -> None:
    """Say on stderr what a job has done, and end with exit status 1 where an image failed, in an earlier run too.

    ``rows_left_out``: failed images have no rows in the output.
    """
    from mpiqe.sources.passed_over import described

    if result.left_out:
        typer.echo(f"mpiqe: passed over: {described(result.left_out)}", err=True)
    if update:
        scored = result.rows - result.kept
        typer.echo(f"mpiqe: {result.kept} rows kept, {scored} scored, {result.dropped} dropped", err=True)
    elif to_file:
        typer.echo(f"mpiqe: {_median_and_worst(result)}", err=True)
    if result.failed:
        why = "they are left out, as photos without a score are" if rows_left_out else "their rows say why"
        typer.echo(f"mpiqe: {result.failed} of {result.rows} photos could not be {verb}; {why}", err=True)
        raise typer.Exit(1)


def _median_and_worst(result: "JobResult") -> str:
    """How many photos an output has, and their median and worst score."""
    said = f"{result.rows - result.failed:,} of {result.rows:,} photos scored in {_duration(result.seconds)}"
    if result.summary is None:
        return said
    worst = printable(result.summary.worst_name)
    return f"{said}; median {result.summary.median:.4g}, worst {result.summary.worst:.4g} ({worst})"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


class Display:
    """The progress line of a job, from its first ``Progress`` to the end of this context.

    A ``JobInterrupted`` in it ends the command with exit status 130, and says how to continue. ``overwrite``: the job
    replaces rows. ``shares_terminal``: rows go to the same terminal.
    """

    def __init__(self, *, shares_terminal: bool = False, overwrite: bool = False) -> None:
        from rich.console import Console

        # What Pillow finds odd about a file; what matters is in its row, or on the page.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._console = Console(stderr=True)
        self._overwrite = overwrite
        self._shares_terminal = shares_terminal
        self.line: ProgressLine | None = None

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return self._console.is_terminal

    def __call__(self, progress: "Progress") -> None:
        """Show how far the job is."""
        from mpiqe.cli.progress_line import ProgressLine

        if self.line is None:
            self.line = ProgressLine(
                console=self._console,
                unit="photos",
                total=progress.total,
                shared=self._shares_terminal,
                done=progress.done,
            )
            self.line.__enter__()
        self.line.total, self.line.count = progress.total, progress.done

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        from mpiqe.batch.interrupts import JobInterrupted

        if self.line is not None:
            self.line.__exit__()
        if isinstance(error, JobInterrupted):
            how = "--resume in place of --overwrite" if self._overwrite else "--resume"
            go_on = f"; the same command with {how} goes on from there" if error.can_resume else ""
            typer.echo(f"mpiqe: interrupted, {error}{go_on}", err=True)
            raise typer.Exit(130) from None


def writes_to_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


class _AboveLine:
    """Standard output, written to above the progress line: what was written is handed on when it is flushed."""

    def __init__(self, stream: Any, display: Display) -> None:
        self._stream = stream
        self._display = display
        self._waiting: list[str] = []

    def write(self, text: str, /) -> int:
        self._waiting.append(text)
        return len(text)

    def flush(self) -> None:
        text, self._waiting = "".join(self._waiting), []
        if self._display.line is None:
            self._put(text)
        else:
            with self._display.line.aside():
                self._put(text)

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def standard_output(display: Display, form: Format | None) -> "Stream":
    """Standard output for rows, above the line of ``display``: UTF-8 where scripts read it, any path's bytes."""
    if sys.stdout is None:
        raise ConfigError("standard output is closed, so the rows cannot go there: give --output FILE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        if form in (None, "table"):
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    return _AboveLine(sys.stdout, display)
