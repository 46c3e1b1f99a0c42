"""``mpiqe score``: photos in, a row for each out."""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from mpiqe.errors import ConfigError

if TYPE_CHECKING:
    from mpiqe.scoring.predictor import Predictor
    from mpiqe.scoring.sinks import Sink


Format = Literal["table", "csv", "jsonl"]
Precision = Literal["auto", "fp32", "bf16"]


def score(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Images, folders (searched to any depth), or - for paths on stdin."),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a .safetensors file or a hub id; the embedded model if not given.", metavar="W"
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="A table to look at; csv or jsonl for scripts.")] = "table",
    output: Annotated[
        Path | None, typer.Option(help="Write the rows to this file, as they come.", metavar="FILE")
    ] = None,
    crops: Annotated[
        int | None, typer.Option(help="Crops per photo; as in training if not given.", metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed cuts the crops elsewhere.", metavar="S")] = 0,
    batch_size: Annotated[int, typer.Option(help="Photos that the model sees at once.", metavar="N")] = 16,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read photos; one per processor if not given.", metavar="N")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="D")] = "auto",
    precision: Annotated[Precision, typer.Option(help="auto is bf16 on CUDA and fp32 elsewhere.")] = "auto",
    max_pixels: Annotated[
        int, typer.Option(help="Refuse photos with more pixels than this.", metavar="N")
    ] = 200_000_000,
) -> None:
    """Score photos: how good do they look?

    A photo that cannot be read gets its row too, with the reason.

    Exit status: 0 all were scored, 1 some were not, 2 nothing to score or wrong usage.
    """
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.scoring.loading import load
    from mpiqe.scoring.paths import expand

    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow finds odd about a file; what matters is in its row
    console = Console(stderr=True)
    found = expand(paths, stdin=sys.stdin.buffer)
    total = None
    if console.is_terminal and "-" not in paths:  # only who watches wants to know how many there are
        listed = list(found)
        found, total = iter(listed), len(listed)
    first = next(found, None)
    if first is None:
        raise ConfigError(f"there is no image to score in {' '.join(paths)}")
    scorer = load(
        weights,
        crops=crops,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        max_pixels=max_pixels,
    )
    done = failed = 0
    with _opened(output, form) as stream:
        sink = _sink(form, stream, scorer.predictor)
        shared = output is None and stream.isatty()
        with (
            ProgressLine(console=console, unit="photos", total=total, shared=shared) as progress,
            contextlib.closing(scorer.rows(chain([first], found))) as rows,
        ):
            for row in rows:
                with progress.aside():
                    sink.write(row)
                    progress.advance()
                done += 1
                failed += row.score is None
    if failed:
        typer.echo(f"mpiqe: {failed} of {done} photos could not be scored; their rows say why", err=True)
        raise typer.Exit(1)


def _sink(form: Format, stream: IO[str], predictor: "Predictor") -> "Sink":
    from rich.console import Console

    from mpiqe.scoring.sinks import CsvSink, JsonLinesSink, TableSink

    if form == "csv":
        return CsvSink(stream)
    if form == "jsonl":
        return JsonLinesSink(stream)
    return TableSink(Console(file=stream, highlight=False), predictor)


@contextlib.contextmanager
def _opened(output: Path | None, form: Format) -> Iterator[IO[str]]:
    """Standard output or a file, in UTF-8 where scripts read it, with whatever bytes a path may hold."""
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            if form == "table":
                sys.stdout.reconfigure(errors="replace")
            else:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
        yield sys.stdout
        return
    try:
        file = output.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")
    except OSError as error:
        raise ConfigError(f"cannot write to {output}: {error.strerror}; name another --output") from error
    with file:
        yield file
