"""``mpiqe score --engine ray``: the driver's side of a run on a cluster."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mpiqe import bounds
from mpiqe.cli.interrupts import Interrupts
from mpiqe.cli.output import Output
from mpiqe.errors import ConfigError

if TYPE_CHECKING:
    from mpiqe.scoring.cluster.parts import Part
    from mpiqe.scoring.cluster.worker import Job
    from mpiqe.scoring.paths import Limits

SHARD_SIZE = 4096
_MOST_OF_A_SHARD = 10_000_000


@dataclass(frozen=True)
class Cluster:
    """Where a run is done that is not done here."""

    address: str | None
    """Of the cluster; ``None`` for that of ``RAY_ADDRESS`` or one that is started for the run."""
    shard_size: int

    def check(self, target: Output, *, pictures: bool, device: str) -> None:
        """Raise ``ConfigError`` for what such a run cannot do."""
        if not target.can_resume:
            raise ConfigError("--engine ray writes a file: give --output FILE, as csv, jsonl or parquet")
        if pictures:
            raise ConfigError("--explain draws on this machine; leave --engine ray away, or --explain")
        if device not in ("auto", "cpu"):
            raise ConfigError(f"--engine ray scores on processors; leave --device {device} away")
        if fault := bounds.whole_number("--shard-size", self.shard_size, most=_MOST_OF_A_SHARD):
            raise ConfigError(fault)

    def is_over(self, target: Output) -> bool:
        """Whether ``--resume`` has rows to look at but none in shards: the run is over, or was none of a cluster."""
        from mpiqe.scoring.cluster.parts import finished

        if target.path is None or finished(target.path):
            return False
        return target.resume and any(True for _ in target.earlier() or ())

    def run(
        self,
        paths: list[str],
        *,
        target: Output,
        settings: Mapping[str, Any],
        options: dict[str, Any],
        limits: "Limits",
        column: str | None,
    ) -> tuple[int, int]:
        """Score all that is not there yet and write the output; how many rows it has, and how many that failed."""
        from mpiqe.scoring.cluster.engine import cluster
        from mpiqe.scoring.cluster.parts import common, counted, finished, merge
        from mpiqe.scoring.cluster.worker import Job
        from mpiqe.scoring.loading import version_of_folder
        from mpiqe.scoring.parquet_sink import parts_folder, remove_parts
        from mpiqe.scoring.resume import COMPUTES, VERSION, check_settings, write_settings

        output = Path(os.path.abspath(target.path or ""))
        version = version_of_folder(options.get("weights"))
        settings = {**settings, VERSION: version} if version else settings
        told = {**settings, "shard_size": self.shard_size}
        if not target.resume:
            target.earlier()  # refuses to throw rows away
        parts = {part.number: part for part in finished(output)}
        if parts:
            check_settings(output, told)
        computes = common(output, parts.values())
        with ExitStack() as until_done:
            processors = until_done.enter_context(cluster(self.address))
            if not parts:
                _begin(output, told)
            job = Job(
                paths=tuple(_kept(paths, parts_folder(output))),
                output=output,
                form=target.form,
                directory=os.getcwd(),
                settings=dict(settings),
                options={**options, "device": "cpu", "workers": options.get("workers") or 1, "threads": 1},
                limits=limits,
                column=column,
                shard_size=self.shard_size,
                computes=computes,
            )
            _score(job, parts, processors)
        ordered = list(counted(parts[number] for number in sorted(parts)))
        rows = sum(part.rows for part in ordered)
        if rows:
            merge(output, ordered)
            # as of any run now: without --engine ray, photos can be added
            write_settings(output, {**settings, COMPUTES: ordered[0].computes})
        remove_parts(output)
        if not rows:
            raise ConfigError(f"there is no image to score in {' '.join(paths)}")
        return rows, sum(part.failed for part in ordered)


def _begin(output: Path, settings: Mapping[str, Any]) -> None:
    from mpiqe.scoring.parquet_sink import parts_folder, remove_parts
    from mpiqe.scoring.resume import write_settings

    try:
        output.unlink(missing_ok=True)
        remove_parts(output)
        parts_folder(output).mkdir()
        write_settings(output, settings)
    except OSError as error:
        raise ConfigError(f"cannot write to {output}: {error.strerror}; name another --output") from error


def _kept(paths: list[str], folder: Path) -> Iterator[str]:
    """The paths, with lists that only this process can read, standard input say, copied to where all nodes see them."""
    from mpiqe.cli.photos import standard_input

    for number, path in enumerate(paths):
        if path != "-" and not (path.startswith("@") and len(path) > 1 and not Path(path[1:]).is_file()):
            yield path
            continue
        kept = folder / f"list-{number}"
        with kept.open("wb") as file, ExitStack() as until_copied:
            source = standard_input(paths) if path == "-" else until_copied.enter_context(open(path[1:], "rb"))
            shutil.copyfileobj(source, file)
        yield f"@{kept}"


def _score(job: "Job", parts: "dict[int, Part]", processors: int) -> None:
    """Add to ``parts`` those that are not there.

    Nodes resolve "auto" each for itself, so what computed a part is in its name: shards that are not all computed with
    the same end the run with a ``ConfigError`` when the first such one comes.
    """
    from rich.console import Console

    from mpiqe.cli.photos import counting
    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.scoring.cluster.engine import scored
    from mpiqe.scoring.cluster.parts import common

    console = Console(stderr=True)
    done = sum(part.rows for part in parts.values())
    progress = ProgressLine(console=console, unit="photos", total=None, shared=False, done=done)
    with Interrupts() as interrupts:
        try:
            with (
                counting(progress, job.paths, job.output) if console.is_terminal else nullcontext(),
                progress,
                closing(scored(job, list(parts.values()), actors=processors)) as coming,
            ):
                for part in coming:
                    common(job.output, [*islice(parts.values(), 1), part])
                    with interrupts.held():
                        parts[part.number] = part
                        progress.advance(part.rows)
        except KeyboardInterrupt:
            rows = sum(part.rows for part in parts.values())
            typer.echo(
                f"mpiqe: interrupted, {rows} rows are written; the same command with --resume goes on from there",
                err=True,
            )
            raise typer.Exit(130) from None
