"""What ``mpiqe score`` and ``mpiqe explain`` share: their options, and the way from paths to rows and pictures."""

import contextlib
import io
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from mpiqe.scoring.paths import Found
    from mpiqe.scoring.pictures import PictureFolder
    from mpiqe.scoring.predictor import Predictor
    from mpiqe.scoring.score import Row
    from mpiqe.scoring.scorer import Scorer
    from mpiqe.scoring.sinks import Sink

Format = Literal["table", "csv", "jsonl"]

Paths = Annotated[
    list[str], typer.Argument(metavar="PATH", help="Images, folders (searched to any depth), or - for paths on stdin.")
]
Weights = Annotated[
    str | None,
    typer.Option(help="A run folder, a .safetensors file or a hub id; the embedded model if not given.", metavar="W"),
]
Crops = Annotated[int | None, typer.Option(help="Crops per photo; as in training if not given.", metavar="N")]
Seed = Annotated[int, typer.Option(help="Another seed cuts the crops elsewhere.", metavar="S")]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Photos that the model sees at once; what suits the runtime if not given.", metavar="N"),
]
Workers = Annotated[
    int | None, typer.Option(help="Threads that read photos; one per processor if not given.", metavar="N")
]
Runtime = Annotated[
    Literal["auto", "onnx", "openvino", "torch"],
    typer.Option(help="What runs the model; auto is onnx for the embedded and exported models, else torch."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="D")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], typer.Option(help="auto is the runtime's own: fp32 but for OpenVINO and CUDA.")
]
MaxPixels = Annotated[int, typer.Option(help="Refuse photos with more pixels than this.", metavar="N")]


def run(
    paths: list[str],
    *,
    verb: Literal["score", "explain"],
    form: Format = "table",
    output: Path | None = None,
    pictures: Path | None = None,
    **options: Any,
) -> None:
    """Write a row for each photo and, where there is a folder for ``pictures``, the picture of its explanation.

    ``options`` are those of ``mpiqe.load``. Rows name their pictures if ``verb`` is ``explain``. Ends with exit status
    1 where a photo failed.
    """
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.scoring.loading import load
    from mpiqe.scoring.paths import find
    from mpiqe.scoring.pictures import PictureFolder

    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow finds odd about a file; what matters is in its row
    console = Console(stderr=True)
    folder = None if pictures is None else PictureFolder(pictures)
    found = find(paths, stdin=sys.stdin.buffer)
    if folder:
        found = folder.photos_outside(found)
    total = None
    if console.is_terminal and "-" not in paths:  # only who watches wants to know how many there are
        listed = list(found)
        found, total = iter(listed), len(listed)
    first = next(found, None)
    if first is None:
        raise ConfigError(f"there is no image to {verb} in {' '.join(paths)}")
    scorer = load(**options)
    if folder:
        folder.make()
    done = failed = 0
    with _opened(output, form) as stream:
        sink = _sink(form, stream, scorer.predictor)
        shared = output is None and stream.isatty()
        with (
            ProgressLine(console=console, unit="photos", total=total, shared=shared) as progress,
            contextlib.closing(_rows(scorer, chain([first], found), folder, named=verb == "explain")) as rows,
        ):
            for row in rows:
                with progress.aside():
                    sink.write(row)
                    progress.advance()
                done += 1
                failed += row.score is None
    if failed:
        typer.echo(
            f"mpiqe: {failed} of {done} photos could not be {verb.removesuffix('e')}ed; their rows say why", err=True
        )
        raise typer.Exit(1)


def _rows(
    scorer: "Scorer", found: "Iterator[Found]", folder: "PictureFolder | None", *, named: bool
) -> "Generator[Row, None, None]":
    """The scorer's rows; with a ``folder`` each one after its picture was written, which it names if ``named``."""
    from mpiqe.scoring.explanation import explain
    from mpiqe.scoring.score import Row

    waiting: deque[Found] = deque()

    def paths() -> Iterator[str]:
        for photo in found:
            waiting.append(photo)
            yield photo.path

    with contextlib.closing(scorer.rows(paths())) as rows:
        for row in rows:
            photo = waiting.popleft()
            if folder is None or row.score is None:
                yield row
                continue
            try:
                picture = folder.write(photo, explain(scorer, photo.path, score=row.score))
            except ImageError as error:  # it was there a moment ago
                yield Row(row.path, None, str(error).removeprefix(f"{photo.path}: "))
            else:
                yield Row(f"{row.path} -> {picture}", row.score, None) if named else row


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
