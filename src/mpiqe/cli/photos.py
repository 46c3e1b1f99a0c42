"""Options and progress display that ``mpiqe score`` and ``mpiqe explain`` share."""

import io
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe.errors import ConfigError
from mpiqe.printable import printable
from mpiqe.runtimes import registry

if TYPE_CHECKING:
    from typing import TypeAlias

    from mpiqe.batch.job import JobResult
    from mpiqe.batch.progress import Progress
    from mpiqe.batch.selection import Selection
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
        help="Images, folders, patterns ('a/**/*.jpg'), .tar, .zip, .parquet and .arrow files, URLs; @FILE or - for a "
        "list of these; - also for one image.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(help="Run folder, .safetensors file or hub id; else the embedded model.", metavar="W"),
]
Crops = Annotated[int | None, typer.Option(help="Crops per photo; as in training if not given.", metavar="N")]
ViewSide = Annotated[
    int | None,
    typer.Option(help="Downscale photos to at most N x N pixels first; 0: not. Default: the model's own.", metavar="N"),
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


def run(
    paths: list[str],
    *,
    verb: Literal["score", "explain"],
    output: str | None = None,
    selection: "Selection | None" = None,
    **options: Any,
) -> None:
    """Run ``mpiqe.score_to`` with ``options``, to standard output where there is no ``output``, and show how it goes.

    Ends with exit status 1 where an image failed, in this run or the one that is resumed.
    """
    from mpiqe.batch.interrupts import JobInterrupted
    from mpiqe.batch.job import score_to
    from mpiqe.sources.passed_over import described

    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow finds odd about a file; what matters is in its row
    display = Display(shares_terminal=output is None and sys.stdout is not None and sys.stdout.isatty())
    target = _standard_output(display, options.get("file_format")) if output is None else output
    try:
        with display:
            result = score_to(
                paths, target, on_progress=display, count_total=display.is_shown, selection=selection, **options
            )
    except JobInterrupted as stopped:
        how = "--resume in place of --overwrite" if options.get("overwrite") else "--resume"
        go_on = f"; the same command with {how} goes on from there" if stopped.can_resume else ""
        typer.echo(f"mpiqe: interrupted, {stopped}{go_on}", err=True)
        raise typer.Exit(130) from None
    if result.left_out:
        typer.echo(f"mpiqe: passed over: {described(result.left_out)}", err=True)
    if options.get("update"):
        scored = result.rows - result.kept
        typer.echo(f"mpiqe: {result.kept} rows kept, {scored} scored, {result.dropped} dropped", err=True)
    elif output is not None:
        typer.echo(f"mpiqe: {_summed_up(result)}", err=True)
    if result.failed:
        failed = f"{result.failed} of {result.rows} photos could not be {verb.removesuffix('e')}ed"
        is_part = selection is not None or options.get("file_format") in ("paths", "paths0")
        why = "they are left out, as photos without a score are" if is_part else "their rows say why"
        typer.echo(f"mpiqe: {failed}; {why}", err=True)
        raise typer.Exit(1)


def _summed_up(result: "JobResult") -> str:
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
    """The progress line of a job, from its first ``Progress`` to the end of this context."""

    def __init__(self, *, shares_terminal: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
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

    def __exit__(self, *_: object) -> None:
        if self.line is not None:
            self.line.__exit__()


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


def _standard_output(display: Display, form: Format | None) -> "Stream":
    """Standard output for rows: in UTF-8 where scripts read it, with whatever bytes a path may hold."""
    if sys.stdout is None:
        raise ConfigError("standard output is closed, so the rows cannot go there: give --output FILE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        if form in (None, "table"):
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    return _AboveLine(sys.stdout, display)
