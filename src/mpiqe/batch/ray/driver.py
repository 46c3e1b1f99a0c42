"""The driver's side of a job on a Ray cluster: it hands out shards and makes one file of their rows."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from mpiqe import bounds
from mpiqe.batch.interrupts import Interrupts, JobInterrupted
from mpiqe.batch.output import Output, waits_beside
from mpiqe.batch.parquet_sink import EarlierParquet, parts_folder, remove_parts
from mpiqe.batch.progress import OnProgress, Tracker, counting
from mpiqe.batch.ray.engine import cluster, scored
from mpiqe.batch.ray.parts import Part, common, counted, finished, merge
from mpiqe.batch.ray.worker import Job
from mpiqe.batch.resume import COMPUTES, VERSION, EarlierText, check_settings, write_settings
from mpiqe.batch.sinks import COLUMNS, decode_name
from mpiqe.batch.summary import Scores
from mpiqe.errors import ConfigError
from mpiqe.scoring import loading
from mpiqe.scoring.loading import version_of_folder
from mpiqe.sources.find import Limits, find
from mpiqe.sources.lists import is_image_file
from mpiqe.sources.passed_over import PassedOver, no_image

SHARD_SIZE = 4096
_MOST_OF_A_SHARD = 10_000_000


@dataclass(frozen=True)
class Cluster:
    """Where a job is done that is not done here."""

    address: str | None
    """Of the cluster; ``None`` for that of ``RAY_ADDRESS`` or one that is started for the job."""
    shard_size: int

    def check(self, target: Output, *, figures: bool, device: str) -> None:
        """Raise ``ConfigError`` for what such a job cannot do."""
        if target.is_selection:
            raise ConfigError(
                "--engine ray writes all rows: leave --min-score, --max-score, --worst, --best, --sort away"
            )
        if not target.can_resume:
            raise ConfigError("--engine ray writes a file: give --output FILE, as csv, jsonl or parquet")
        if target.remote:
            raise ConfigError(
                "--engine ray writes to a folder that all nodes share; copy its --output to a store after"
            )
        if figures:
            raise ConfigError("--explain draws on this machine; leave --engine ray away, or --explain")
        if device not in ("auto", "cpu"):
            raise ConfigError(f"--engine ray scores on processors; leave --device {device} away")
        if fault := bounds.whole_number("--shard-size", self.shard_size, most=_MOST_OF_A_SHARD):
            raise ConfigError(fault)

    def is_over(self, target: Output) -> bool:
        """Whether ``--resume`` has rows to look at but none in shards: the job is over, or was none of a cluster."""
        if target.path is None or finished(target.path):
            return False
        return target.resume and any(True for _ in target.earlier() or ())

    def run(
        self,
        paths: list[str],
        stdin: IO[bytes],
        *,
        target: Output,
        settings: Mapping[str, Any],
        options: dict[str, Any],
        limits: Limits,
        column: str | None,
        kept: tuple[str, ...],
        null: bool,
        on_progress: OnProgress | None,
        count_total: bool,
        scores: Scores,
        left_out: PassedOver,
    ) -> Tracker:
        """Score all that is not there yet and write the output; return how many rows it has, and how many failed."""
        output = Path(os.path.abspath(target.path or ""))
        version = version_of_folder(options.get("weights"))
        settings = {**settings, VERSION: version} if version else settings
        # parts of csv have no header that could tell which columns they have
        shard_settings = {**settings, "shard_size": self.shard_size, "columns": len(COLUMNS)}
        if not target.resume:
            target.earlier()  # refuses to throw rows away
            if target.final and waits_beside(target.final, target.form):
                _check_begin(paths, options, limits, column=column, kept=kept, null=null)
        parts = {part.number: part for part in finished(output)} if target.resume else {}
        if parts:
            check_settings(output, shard_settings)
        computes = common(output, parts.values())
        with ExitStack() as until_done:
            processors = until_done.enter_context(cluster(self.address))
            if not parts:
                target.start_anew()
                _begin(output, shard_settings)
            job = Job(
                paths=tuple(_kept(paths, stdin, parts_folder(output))),
                output=output,
                form=target.form,
                directory=os.getcwd(),
                settings=dict(settings),
                options={**options, "device": "cpu", "workers": options.get("workers") or 1, "threads": 1},
                limits=limits,
                column=column,
                kept=kept,
                null=null,
                shard_size=self.shard_size,
                computes=computes,
            )
            _score(job, parts, processors, on_progress, count_total=count_total, left_out=left_out)
        ordered = list(counted(parts[number] for number in sorted(parts)))
        rows = sum(part.rows for part in ordered)
        if rows:
            merge(output, ordered, kept)
            for row in EarlierParquet(output) if target.form == "parquet" else EarlierText(output, target.form, kept):
                scores.add(decode_name(row.path), row.score)
            # as of any run now: without --engine ray, photos can be added
            write_settings(output, {**settings, COMPUTES: ordered[0].computes})
        remove_parts(output)
        if not rows:
            raise ConfigError(no_image(paths, left_out))
        return Tracker(None, done=rows, failed=sum(part.failed for part in ordered))


def _check_begin(
    paths: list[str], options: dict[str, Any], limits: Limits, *, column: str | None, kept: tuple[str, ...], null: bool
) -> None:
    """Find a photo and load the model; raises as this does.

    For a job that removes the rows of an unfinished one when it begins: the nodes would find out only then. Lists that
    can be read only once are not looked at.
    """
    again = [path for path in paths if not _is_read_once(path)]
    with open(os.devnull, "rb") as nothing:
        left_out = PassedOver()
        found = find(again, stdin=nothing, limits=limits, column=column, left_out=left_out, kept=kept, null=null)
        if next(found, None) is None and len(again) == len(paths):
            raise ConfigError(no_image(paths, left_out))
    loading.load(**options)


def _is_read_once(path: str) -> bool:
    """Whether it is standard input or a list that is no file, which only this process can read, and once."""
    return path == "-" or (path.startswith("@") and len(path) > 1 and not Path(path[1:]).is_file())


def _begin(output: Path, settings: Mapping[str, Any]) -> None:
    try:
        output.unlink(missing_ok=True)
        remove_parts(output)
        parts_folder(output).mkdir()
        write_settings(output, settings)
    except OSError as error:
        raise ConfigError(f"cannot write to {output}: {error.strerror}; name another --output") from error


def _kept(paths: list[str], stdin: IO[bytes], folder: Path) -> Iterator[str]:
    """The paths, with lists that only this process can read, standard input say, copied to where all nodes see them."""
    for number, path in enumerate(paths):
        if not _is_read_once(path):
            yield path
            continue
        kept = folder / f"list-{number}"
        with kept.open("wb") as file, ExitStack() as until_copied:
            source = stdin if path == "-" else until_copied.enter_context(open(path[1:], "rb"))
            shutil.copyfileobj(source, file)
        if path == "-" and is_image_file(kept):
            raise ConfigError("--engine ray takes a list on standard input; score one image without it")
        yield f"@{kept}"


def _score(
    job: Job,
    parts: dict[int, Part],
    processors: int,
    on_progress: OnProgress | None,
    *,
    count_total: bool,
    left_out: PassedOver,
) -> None:
    """Add to ``parts`` those that are not there.

    Nodes resolve "auto" each for itself, so what computed a part is in its name: shards that are not all computed with
    the same end the job with a ``ConfigError`` when the first such one comes.
    """
    done, failed = sum(part.rows for part in parts.values()), sum(part.failed for part in parts.values())
    tracker = Tracker(on_progress, done=done, failed=failed)
    with Interrupts() as interrupts:
        try:
            with (
                counting(tracker, job.paths, job.output, wanted=count_total, names=job.limits.names, null=job.null),
                closing(scored(job, list(parts.values()), actors=processors, left_out=left_out)) as coming,
            ):
                tracker.report()
                for part in coming:
                    common(job.output, [*islice(parts.values(), 1), part])
                    with interrupts.held():
                        parts[part.number] = part
                        tracker.add_many(part.rows, failed=part.failed)
        except KeyboardInterrupt as interrupt:
            raise JobInterrupted(tracker.done, can_resume=True) from interrupt
