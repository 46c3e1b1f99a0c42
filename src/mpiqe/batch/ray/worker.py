"""The nodes' side of a job: one task cuts the sources into shards, workers score them.

Does not import Ray: both take and return plain values. What a user can mend goes back to the driver as text, since an
exception that is raised here would come wrapped in Ray's.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from mpiqe.atomic import write_atomic
from mpiqe.batch.kept import paired
from mpiqe.batch.parquet_sink import encoded, parts_folder, schema
from mpiqe.batch.ray.parts import Part, part_of
from mpiqe.batch.ray.shards import Shard, cut
from mpiqe.batch.resume import VERSION, identity
from mpiqe.batch.sinks import CsvSink, JsonLinesSink
from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.scoring.loading import load
from mpiqe.scoring.score import Row
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.archive import Shared
from mpiqe.sources.find import find_closed
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.photo import Limits


@dataclass(frozen=True)
class Job:
    """The description of a job for the nodes; plain data."""

    paths: tuple[str, ...]
    """As the command line had them; lists are files that all nodes see."""
    output: Path
    """Absolute."""
    form: str
    """csv, jsonl or parquet."""
    directory: str
    """The driver's working directory, in which relative paths are meant."""
    settings: dict[str, Any]
    """Those that an output's rows depend on."""
    options: dict[str, Any] = field(repr=False)
    """Those of ``mpiqe.load``."""
    limits: Limits
    column: str | None
    shard_size: int
    computes: str | None = None
    """What the shards that are there were computed with, if there are any."""
    kept: tuple[str, ...] = ()
    """Columns of tables that rows have too."""
    null: bool = False
    """Whether zero bytes end the paths of lists."""

    def enter(self) -> None:
        """Go where relative paths mean what they mean to the driver; raises ``ConfigError`` on a node without it."""
        try:
            os.chdir(self.directory)
        except OSError as error:
            raise ConfigError(
                f"the node {socket.gethostname()} cannot enter {self.directory} ({error.strerror}); paths must mean "
                "the same on all nodes: start from a folder that they share"
            ) from error
        if not parts_folder(self.output).is_dir():
            raise ConfigError(
                f"the node {socket.gethostname()} does not see {parts_folder(self.output)}; --output must lie in a "
                "folder that all nodes share"
            )


def planned(job: Job, finished: dict[int, str]) -> Iterator[dict[str, str]]:
    """The shards that are still to be scored, as ``shard``, found while they are used.

    ``finished`` are the digests of those that are there, by number. One that is now another ends it with an ``error``,
    and so does anything else that a user can mend. The last one without a shard says what was ``left_out``.
    """
    left_out = PassedOver()
    try:
        job.enter()
        with open(os.devnull, "rb") as nothing:
            found = find_closed(
                job.paths,
                stdin=nothing,
                limits=job.limits,
                column=job.column,
                output=job.output,
                left_out=left_out,
                null=job.null,
            )
            number = -1
            for shard in cut(found, size=job.shard_size):
                number = shard.number
                if number not in finished:
                    yield {"shard": shard.to_json(), "error": "", "left_out": ""}
                elif finished[number] != shard.digest:
                    raise ConfigError(
                        f"{job.output}: shard {number}, which begins with {shard.begins!r}, had other photos; --resume "
                        "needs the same photos in the same order: name those, or remove "
                        f"{parts_folder(job.output)} and start anew"
                    )
        if any(other > number for other in finished):
            raise ConfigError(
                f"{job.output}: there are rows of {max(finished) + 1} shards, but now photos for {number + 1}; "
                "--resume needs the same photos in the same order: name those, or remove "
                f"{parts_folder(job.output)} and start anew"
            )
    except (MPIQEError, OSError) as error:
        yield {"shard": "", "error": str(error), "left_out": ""}
    else:
        if left_out.counts():
            yield {"shard": "", "error": "", "left_out": json.dumps(left_out.counts())}


class ShardScorer:
    """Scores shards one after the other and writes their rows; the scorer is loaded once, with the first shard.

    Not in the constructor: an error in the weights could not be reported from there.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """A batch of one ``shard``, or of an ``error`` from before -> the name of its ``part``, or an ``error``."""
        text, error = str(batch["shard"][0]), str(batch["error"][0])
        if error or not text:
            return {"part": [""], "error": [error], "left_out": [str(batch["left_out"][0])]}
        try:
            if self._scorer is None:
                self._scorer = _loaded(self.job)
            part = score_shard(self._scorer, text, self.job)
        except (MPIQEError, OSError) as problem:
            return {"part": [""], "error": [str(problem)], "left_out": [""]}
        return {"part": [part.name], "error": [""], "left_out": [""]}


def score_shard(scorer: Scorer, text: str, job: Job) -> Part:
    """Write the rows of the shard in ``text``, whole or not at all; raises ``OSError`` where that fails."""
    with Shared(job.limits, job.column, kept=job.kept) as shared:
        shard = Shard.from_json(text, shared)
        with closing(paired(scorer, shard.photos())) as scored:
            rows = [row for _, row in scored]
    part = part_of(
        shard,
        rows=len(rows),
        failed=sum(row.score is None for row in rows),
        computes=scorer.predictor.computes,
        last=rows[-1].path if rows else None,
        form=job.form,
    )
    write_atomic(parts_folder(job.output) / part.name, _content(rows, scorer, job))
    return part


def _loaded(job: Job) -> Scorer:
    job.enter()
    for what, here in (("mpiqe", version("mpiqe")), ("model", identity(job.options.get("weights")))):
        if here != job.settings[what]:
            raise ConfigError(
                f"the node {socket.gethostname()} has another {what} ({here}) than the driver ({job.settings[what]}); "
                "install the same on all nodes"
            )
    scorer = load(**job.options)
    if job.settings.get(VERSION) not in (None, scorer.scale.model):
        raise ConfigError(
            f"the node {socket.gethostname()} has the model {scorer.scale.model!r}, and the driver "
            f"{job.settings[VERSION]!r}; install the same on all nodes"
        )
    computes = scorer.predictor.computes
    if job.computes not in (None, computes):
        raise ConfigError(
            f"the node {socket.gethostname()} computes with {computes!r}, and the shards that are there were computed "
            f"with {job.computes!r}; choose that with --runtime and --precision, on nodes that have it, or remove "
            f"{parts_folder(job.output)} and start anew"
        )
    return scorer


def _content(rows: list[Row], scorer: Scorer, job: Job) -> bytes:
    if job.form == "parquet":
        return encoded(rows, schema(scorer.predictor, job.settings, kept=job.kept))
    text = StringIO(newline="\n")
    sink = CsvSink(text, header=False, kept=job.kept) if job.form == "csv" else JsonLinesSink(text, kept=job.kept)
    for row in rows:
        sink.write(row)
    return text.getvalue().encode()
