"""What ``mpiqe score`` and ``mpiqe explain`` share: their options, and the way from paths to rows and pictures."""

import contextlib
import io
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe import bounds
from mpiqe.cli.interrupts import Interrupts
from mpiqe.cli.output import Format, Output, refuse_inputs
from mpiqe.errors import ConfigError, ImageError, MPIQEError

if TYPE_CHECKING:
    from mpiqe.cli.cluster import Cluster
    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.scoring.paths import Photo
    from mpiqe.scoring.pictures import PictureFolder
    from mpiqe.scoring.resume import Earlier
    from mpiqe.scoring.score import Row
    from mpiqe.scoring.scorer import Scorer

_NO_MATTER = frozenset({"batch_size", "workers", "read_timeout"})  # to what a row says
_TOLD_ELSEWHERE = frozenset({"weights", "runtime", "device", "precision"})  # as what they are: identity, COMPUTES

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Images, folders, patterns ('a/**/*.jpg'), .tar and .parquet files, URLs; @FILE or - for a list of these.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(help="Run folder, .safetensors file or hub id; else the embedded model.", metavar="W"),
]
Crops = Annotated[int | None, typer.Option(help="Crops per photo; as in training if not given.", metavar="N")]
ViewSide = Annotated[
    int | None,
    typer.Option(help="Bring photos down to at most N x N pixels first; 0: not. The model's own else.", metavar="N"),
]
CropMode = Annotated[
    Literal["seeded", "grid", "random"] | None,
    typer.Option(help="Where crops are cut: seeded, grid, random; the model's own else.", metavar="M"),
]
Seed = Annotated[int, typer.Option(help="Another seed cuts the crops elsewhere.", metavar="S")]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Photos that the model sees at once.", metavar="N"),
]
Workers = Annotated[
    int | None, typer.Option(help="Photos that are read at once; one per processor if not given.", metavar="N")
]
Runtime = Annotated[
    Literal["auto", "onnx", "openvino", "torch"],
    typer.Option(help="onnx, openvino, torch or auto, what suits the weights.", metavar="R"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="D")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(help="fp32, bf16 or auto, what suits the runtime.", metavar="P"),
]
MaxPixels = Annotated[int, typer.Option(help="Refuse photos with more pixels.", metavar="N")]
Column = Annotated[str | None, typer.Option(help="Column of .parquet files with paths or bytes.", metavar="NAME")]
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
    form: Format | None = None,
    output: Path | None = None,
    resume: bool = False,
    pictures: Path | None = None,
    column: str | None = None,
    max_bytes: int = 256 << 20,
    timeout: float = 60.0,
    allow_scheme: list[str] | None = None,
    allow_host: list[str] | None = None,
    cluster: "Cluster | None" = None,
    **options: Any,
) -> None:
    """Write a row for each photo and, where there is a folder for ``pictures``, the picture of its explanation.

    ``options`` are those of ``mpiqe.load``. With a ``cluster`` photos are scored there. Rows name their pictures if
    ``verb`` is ``explain``. Ends with exit status 1 where a photo failed, in this run or the one that is resumed.
    """
    from mpiqe.scoring.paths import Limits, Reach, find

    options["read_timeout"] = timeout
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow finds odd about a file; what matters is in its row
    _check(max_bytes, timeout)
    target = Output(output, form, resume=resume)
    if target.path is not None:
        refuse_inputs(target.path, paths)
    if cluster:
        cluster.check(target, pictures=pictures is not None, device=options["device"])
    reach = Reach.of(paths, schemes=allow_scheme or (), hosts=allow_host or ())
    limits = Limits(max_bytes=max_bytes, timeout=timeout, reach=reach)
    found = find(paths, stdin=standard_input(paths), limits=limits, column=column, output=target.path)
    folder = None
    if pictures is not None:
        from mpiqe.scoring.pictures import PictureFolder

        folder = PictureFolder(pictures)
        found = folder.photos_outside(found)
    followed = {"allow_scheme": list(reach.schemes) or None, "allow_host": list(reach.hosts) or None}
    settings = _settings(options, max_bytes=max_bytes, column=column, **followed) if target.can_resume else {}
    with target.alone():
        if cluster and not cluster.is_over(target):
            told = cluster.run(paths, target=target, settings=settings, options=options, limits=limits, column=column)
            tally = _Tally(*told)
        else:
            tally = _here(
                paths,
                found,
                folder,
                target=target,
                settings=settings,
                options=options,
                verb=verb,
                clustered=cluster is not None,
            )
    if tally.failed:
        typer.echo(
            f"mpiqe: {tally.failed} of {tally.done} photos could not be {verb.removesuffix('e')}ed; their rows say why",
            err=True,
        )
        raise typer.Exit(1)


def _here(
    paths: list[str],
    found: "Iterator[Photo]",
    folder: "PictureFolder | None",
    *,
    target: Output,
    settings: dict[str, Any],
    options: dict[str, Any],
    verb: str,
    clustered: bool,
) -> "_Tally":
    """Write the rows of what is ``found`` from this process; ``clustered`` if they were to come from a cluster."""
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.scoring.loading import load

    output = target.path
    earlier, tally = _earlier(target, found, folder, settings)
    first = next(found, None)
    if first is None and not tally.done:
        raise ConfigError(f"there is no image to {verb} in {' '.join(paths)}")
    if first is None:
        target.finish()
    elif clustered:
        raise ConfigError(
            f"{output} has {tally.done} rows and no shards, and there are more photos; the same command without "
            "--engine ray scores them, and without --resume all are scored anew"
        )
    else:
        scorer = load(**options)
        if folder:
            folder.make()
        console = Console(stderr=True)
        shared = output is None and sys.stdout is not None and sys.stdout.isatty()
        progress = ProgressLine(console=console, unit="photos", total=None, shared=shared, done=tally.done)
        with Interrupts() as interrupts:
            try:
                with (
                    target.opened(scorer.predictor, earlier=earlier, settings=settings) as sink,
                    counting(progress, paths, output) if console.is_terminal else contextlib.nullcontext(),
                    progress,
                    contextlib.closing(_rows(scorer, chain([first], found), folder, named=verb == "explain")) as rows,
                ):
                    for row in rows:
                        with interrupts.held(), progress.aside():
                            sink.write(row)
                            progress.advance()
                            tally.add(failed=row.score is None)
            except KeyboardInterrupt:
                go_on = "; the same command with --resume goes on from there" if target.can_resume else ""
                typer.echo(f"mpiqe: interrupted, {tally.done} rows are written{go_on}", err=True)
                raise typer.Exit(130) from None
    return tally


@dataclass
class _Tally:
    done: int = 0
    failed: int = 0

    def add(self, *, failed: bool) -> None:
        self.done += 1
        self.failed += failed


def _earlier(
    target: Output, found: "Iterator[Photo]", folder: "PictureFolder | None", settings: dict[str, Any]
) -> "tuple[Earlier | None, _Tally]":
    """Pass over the photos whose rows are there already; ``None`` where there are none to continue."""
    from mpiqe.scoring.resume import check_order, check_settings

    earlier, tally = target.earlier(), _Tally()
    if earlier is None or target.path is None:
        return None, tally
    for row in earlier:
        if not tally.done:
            check_settings(target.path, settings)
        photo = next(found, None)
        check_order(target.path, tally.done + 1, row.path, None if photo is None else earlier.written(photo.name))
        tally.add(failed=row.failed)
        if photo:
            photo.discard()
        if photo and folder and not row.failed:
            folder.place(photo)  # so that the pictures of later photos have the names they would have had
    return earlier if tally.done else None, tally


def _settings(options: dict[str, Any], **others: Any) -> dict[str, Any]:
    """All that makes a row what it is, but what computes it: that is known when a model is loaded."""
    from mpiqe.scoring.resume import identity

    told = {name: value for name, value in options.items() if name not in _NO_MATTER | _TOLD_ELSEWHERE}
    return {"mpiqe": version("mpiqe"), "model": identity(options.get("weights")), **told, **others}


def standard_input(paths: Sequence[str]) -> IO[bytes]:
    """Standard input; where it is closed, nothing, or a ``ConfigError`` if ``paths`` name it."""
    if sys.stdin is not None:
        return sys.stdin.buffer
    if "-" in paths:
        raise ConfigError("standard input is closed, so no paths can come from there: give a list as @FILE")
    return io.BytesIO()


def _check(max_bytes: int, timeout: float) -> None:
    if max_bytes < 1 or not timeout > 0:
        raise ConfigError(f"--max-bytes and --timeout must be above 0, not {max_bytes} and {timeout:g}")
    checked = (
        bounds.whole_number("--max-bytes", max_bytes, most=bounds.MOST_BYTES),
        bounds.seconds("--timeout", timeout),
    )
    faults = [fault for fault in checked if fault]
    if faults:
        raise ConfigError("; ".join(faults))


@contextlib.contextmanager
def counting(progress: "ProgressLine", paths: Sequence[str], output: Path | None) -> Iterator[None]:
    """Find out in the background how many photos there are; only who watches wants to know."""
    from mpiqe.scoring.paths import count

    stopped = threading.Event()

    def counting() -> None:
        with contextlib.suppress(MPIQEError, OSError):  # it will be told where it happens to the run
            progress.total = count(paths, output=output, stopped=stopped)

    thread = threading.Thread(target=counting, name="mpiqe-count", daemon=True)
    thread.start()
    thread.join(timeout=0.2)  # a small number is there when the line is first drawn
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=5)


def _rows(
    scorer: "Scorer", found: "Iterator[Photo]", folder: "PictureFolder | None", *, named: bool
) -> "Generator[Row, None, None]":
    """The scorer's rows; with a ``folder`` each one after its picture was written, which it names if ``named``."""
    if folder is None:
        with contextlib.closing(scorer.rows(found)) as rows:
            yield from rows
        return
    from mpiqe.scoring.explanation import explain
    from mpiqe.scoring.score import Row

    waiting: deque[Photo] = deque()

    def remembered() -> "Iterator[Photo]":
        for photo in found:
            waiting.append(photo)
            yield photo

    with contextlib.closing(scorer.rows(remembered())) as rows:
        for row in rows:
            photo = waiting.popleft()
            if row.score is None:
                yield row
                continue
            try:
                picture = folder.write(photo, explain(scorer, photo.source(), score=row.score))
            except ImageError as error:  # it was there a moment ago
                yield Row(row.path, None, error.reason)
            else:
                yield Row(f"{row.path} -> {picture}", row.score, None) if named else row
