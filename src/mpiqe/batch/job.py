"""Score any number of images into a file that a later run can continue: the job behind ``mpiqe score``."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

from mpiqe import bounds
from mpiqe.batch.destination import Format
from mpiqe.batch.figures import FigureFolder
from mpiqe.batch.local import score_here
from mpiqe.batch.lock import alone
from mpiqe.batch.output import Output, refuse_inputs
from mpiqe.batch.progress import OnProgress
from mpiqe.batch.ray.driver import SHARD_SIZE, Cluster
from mpiqe.batch.remote import RemoteOutput
from mpiqe.batch.resume import KEEP, identity
from mpiqe.batch.selection import Selection
from mpiqe.batch.sinks import Stream, checked_kept
from mpiqe.batch.summary import Scores, Summary
from mpiqe.batch.update import is_there, update_here
from mpiqe.errors import ConfigError
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.option_types import CropMode, ScoringPrecision
from mpiqe.sources.find import Limits, Reach, find, standard_input
from mpiqe.sources.lists import Incoming
from mpiqe.sources.names import Names
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.urls import scheme

Engine = Literal["local", "ray"]

_NOT_IN_ROWS = frozenset({"batch_size", "workers", "read_timeout"})  # no row depends on them
_KNOWN_OTHERWISE = frozenset({"weights", "runtime", "device", "precision"})  # as what they are: identity, COMPUTES


@dataclass(frozen=True)
class JobResult:
    """What a finished job has written."""

    rows: int
    """All rows of the output, those of an earlier run included; with a ``selection`` those that it left out, too."""
    failed: int
    """Rows among them that have an error in place of a score."""
    kept: int = 0
    """Rows among them that an update has copied, since their images have not changed."""
    dropped: int = 0
    """Rows that an update has left out, since there is no such image any more."""
    summary: Summary | None = field(default=None, compare=False)
    """Median and worst of the scores among them; ``None`` without any."""
    seconds: float = field(default=0.0, compare=False)
    """What the job took."""
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    """What folders and patterns held beside images, by kind: a suffix, or in words."""


def score_to(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | Stream,
    *,
    file_format: Format | None = None,
    resume: bool = False,
    overwrite: bool = False,
    update: bool = False,
    engine: Engine = "local",
    on_progress: OnProgress | None = None,
    count_total: bool = True,
    figures: str | os.PathLike[str] | None = None,
    name_figures: bool = False,
    selection: Selection | None = None,
    weights: str | os.PathLike[str] | None = None,
    crops: int | None = None,
    view_side: int | None = None,
    crop_mode: CropMode | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: str = "auto",
    device: str = "auto",
    precision: ScoringPrecision = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = 256 << 20,
    timeout: float = 60.0,
    column: str | None = None,
    keep: Iterable[str] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    null: bool = False,
    allow_scheme: Iterable[str] = (),
    allow_host: Iterable[str] = (),
    address: str | None = None,
    shard_size: int = SHARD_SIZE,
) -> JobResult:
    """Score every image that ``sources`` stand for, and write a row for each to ``output``, in order.

    ``sources`` are what ``mpiqe score`` takes: images, folders, patterns, tar and zip archives, tables, URLs, ``@FILE``
    for a list of these, ``-`` for a list or an image on standard input. With ``null`` the paths of lists each end with
    a zero byte. An image that cannot be read has its reason in its row. ``include`` and ``exclude`` are patterns of
    names of images that are wanted or not (``'*.target.png'``).

    ``output`` is a file, as csv, jsonl, JSON or Parquet by its suffix or ``file_format``, or an open text stream. A
    file is locked while the job runs. With ``resume`` the rows of an earlier run stay and the rest is added; they must
    be of the same images in the same order, and made with the same options. A job that was killed is continued like
    that. With ``overwrite`` earlier rows are replaced once the new ones are all there. An output that has rows is
    refused without either. The address of an object (``s3://bucket/scores.csv``) is written when all rows are there;
    until then they lie below the user's cache (docs/score.md).

    With ``update`` the rows of an earlier run that was made with the same options are brought up to date: those of
    unchanged files (same path, size and time of change) stay, new and changed images are scored, and those that failed
    again; rows of images that are not there any more are dropped, and all are in the order of the input. The output is
    replaced when all rows are there; a job that was killed is continued by another update.

    ``on_progress`` is called in this thread with a ``Progress``: at the start and after every row, or with Ray after
    every shard. An exception that it raises ends the job; the rows that were written stay, and can be continued.
    Without ``count_total`` the inputs are not counted, so ``Progress.total`` stays ``None``.

    ``figures`` is a folder for a figure of each image, as ``mpiqe explain`` draws them; ``name_figures`` adds their
    names to the rows of a table. ``selection`` limits the rows that are written to some scores; such an output cannot
    be continued. With ``file_format`` ``paths`` or ``paths0`` only the paths of scored images are written.

    ``engine``: ``ray`` scores shards of ``shard_size`` images on the Ray cluster at ``address``, or that of
    ``RAY_ADDRESS``, or one that is started on this machine. Such a run needs a file.

    ``max_bytes``: larger downloads and members of archives are refused. ``timeout``: seconds to fetch an image, and to
    read it. ``column``: of tables, the one with images; ``keep``: others whose values rows have, too. ``allow_scheme``
    and ``allow_host``: see docs/security.md. All other options are those of ``mpiqe.load``.

    Raises ``ConfigError`` for invalid options, for nothing to score, and for an output that another run writes or that
    cannot be continued; ``WeightsError`` for weights that cannot be loaded; ``JobInterrupted``, a
    ``KeyboardInterrupt``, on Ctrl-C.
    """
    paths = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    _check(max_bytes, timeout, engine)
    if engine == "local":
        of_clusters = {"--address": address is not None, "--shard-size": shard_size != SHARD_SIZE}
        if given := " and ".join(name for name, is_given in of_clusters.items() if is_given):
            raise ConfigError(f"{given}: of use only on a Ray cluster; add --engine ray, or leave that away")
    kept = checked_kept(keep)
    began = time.monotonic()
    is_path = isinstance(output, (str, os.PathLike))
    reach = Reach.of(paths, schemes=allow_scheme, hosts=allow_host)
    names = Names(include=tuple(include), exclude=tuple(exclude))
    limits = Limits(max_bytes=max_bytes, timeout=timeout, reach=reach, names=names)
    path = os.fspath(cast("str", output)) if is_path else None
    is_remote = path is not None and scheme(path) is not None and not os.path.lexists(path)
    remote = RemoteOutput(path, limits) if path is not None and is_remote else None
    if path is not None and not remote:
        refuse_inputs(Path(path), paths)
    target = Output(
        remote.local if remote else None if path is None else Path(path),
        file_format,
        stream=None if is_path else cast("Stream", output),
        resume=resume,
        overwrite=overwrite,
        name_figures=name_figures,
        selection=selection,
        keep=kept,
        remote=remote,
    )
    if update:
        _check_update(target, engine=engine, figures=figures is not None)
        target.resume = True  # what is there without rows
    options: dict[str, Any] = {
        "weights": None if weights is None else os.fspath(weights),
        "crops": crops,
        "view_side": view_side,
        "crop_mode": crop_mode,
        "seed": seed,
        "batch_size": batch_size,
        "workers": workers,
        "runtime": runtime,
        "device": device,
        "precision": precision,
        "max_pixels": max_pixels,
        "read_timeout": timeout,
    }
    cluster = Cluster(address, shard_size) if engine == "ray" else None
    if cluster:
        cluster.check(target, figures=figures is not None, device=device)
    stdin, left_out, scores = standard_input(paths), PassedOver(), Scores()
    empty: list[str] = []
    found = find(
        paths,
        stdin=stdin,
        limits=limits,
        column=column,
        output=target.final,
        left_out=left_out,
        kept=kept,
        null=null,
        empty=empty,
    )
    folder = FigureFolder(Path(figures)) if figures is not None else None
    if folder:
        found = folder.photos_outside(found)
    followed = {"allow_scheme": list(reach.schemes) or None, "allow_host": list(reach.hosts) or None}
    followed[KEEP] = list(kept) or None
    settings = _settings(options, max_bytes=max_bytes, column=column, **followed) if target.can_resume else {}
    waits = stdin.waits if isinstance(stdin, Incoming) else None
    if update and target.path is not None and is_there(target.path):
        with alone(target.path):
            updated = update_here(
                paths,
                found,
                output=target.path,
                form=target.form,
                settings=settings,
                options=options,
                on_progress=on_progress,
                count_total=count_total,
                scores=scores,
                names=names,
                null=null,
                empty=empty,
                waits=waits,
            )
        took = time.monotonic() - began
        done, failed = updated.tracker.done, updated.tracker.failed
        return JobResult(
            done, failed, updated.kept, updated.dropped, scores.summary(), seconds=took, left_out=left_out.counts()
        )
    with target.alone():
        if cluster and not cluster.is_over(target):
            tracker = cluster.run(
                paths,
                stdin,
                target=target,
                settings=settings,
                options=options,
                limits=limits,
                column=column,
                kept=kept,
                null=null,
                on_progress=on_progress,
                count_total=count_total,
                scores=scores,
                left_out=left_out,
            )
        else:
            tracker = score_here(
                paths,
                found,
                folder,
                target=target,
                settings=settings,
                options=options,
                on_progress=on_progress,
                count_total=count_total,
                selection=selection,
                after_cluster=cluster is not None,
                scores=scores,
                names=names,
                null=null,
                left_out=left_out,
                waits=waits,
            )
    took = time.monotonic() - began
    return JobResult(tracker.done, tracker.failed, summary=scores.summary(), seconds=took, left_out=left_out.counts())


def _check_update(target: Output, *, engine: str, figures: bool) -> None:
    """Raise ``ConfigError`` for what does not go with an update."""
    if target.is_selection:
        raise ConfigError(
            "--update brings all rows up to date: leave --min-score, --max-score, --worst, --best, --sort away"
        )
    if not target.can_resume or target.made_as.is_made_at_the_end or target.remote or target.keep:
        raise ConfigError(
            "--update needs a file of this machine, as csv, jsonl or parquet, without --keep; use --overwrite"
        )
    if target.resume:
        raise ConfigError("--update does what --resume does, and more: give one of them")
    if target.overwrite:
        raise ConfigError("--update keeps the rows of unchanged photos and --overwrite replaces all: give one of them")
    if engine != "local":
        raise ConfigError("--update compares the files of this machine; leave --engine ray away")
    if figures:
        raise ConfigError("--explain draws every photo; leave --update away, or draw with mpiqe explain")


def _check(max_bytes: int, timeout: float, engine: str) -> None:
    if max_bytes < 1 or not timeout > 0:
        raise ConfigError(f"--max-bytes and --timeout must be above 0, not {max_bytes} and {timeout:g}")
    checked = (
        bounds.whole_number("--max-bytes", max_bytes, most=bounds.MOST_BYTES),
        bounds.seconds("--timeout", timeout),
        None if engine in ("local", "ray") else f"engine must be local or ray, not {engine!r}",
    )
    faults = [fault for fault in checked if fault]
    if faults:
        raise ConfigError("; ".join(faults))


def _settings(options: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Everything that a row depends on, except what computes it: that is known when a model is loaded."""
    named = {name: value for name, value in options.items() if name not in _NOT_IN_ROWS | _KNOWN_OTHERWISE}
    return {"mpiqe": version("mpiqe"), "model": identity(options["weights"]), **named, **others}
