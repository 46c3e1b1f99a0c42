"""Score any number of images into a file that a later run can continue: the job behind ``mpiqe score``."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

from mpiqe import bounds
from mpiqe.batch.figures import FigureFolder
from mpiqe.batch.local import score_here
from mpiqe.batch.lock import alone
from mpiqe.batch.output import Format, Output, refuse_inputs
from mpiqe.batch.progress import OnProgress
from mpiqe.batch.ray.driver import SHARD_SIZE, Cluster
from mpiqe.batch.resume import identity
from mpiqe.batch.selection import Selection
from mpiqe.batch.sinks import Stream
from mpiqe.batch.update import is_there, update_here
from mpiqe.errors import ConfigError
from mpiqe.images import DEFAULT_MAX_PIXELS
from mpiqe.option_types import CropMode, ScoringPrecision
from mpiqe.sources.find import Limits, Reach, find, standard_input

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


def score_to(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | Stream,
    *,
    file_format: Format | None = None,
    resume: bool = False,
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
    allow_scheme: Iterable[str] = (),
    allow_host: Iterable[str] = (),
    address: str | None = None,
    shard_size: int = SHARD_SIZE,
) -> JobResult:
    """Score every image that ``sources`` stand for, and write a row for each to ``output``, in order.

    ``sources`` are what ``mpiqe score`` takes: images, folders, patterns, tar and Parquet files, URLs, ``@FILE`` for a
    list of these, ``-`` for a list on standard input. An image that cannot be read has its reason in its row.

    ``output`` is a file, as csv, jsonl or Parquet by its suffix or ``file_format``, or an open text stream. A file is
    locked while the job runs. With ``resume`` the rows of an earlier run stay and the rest is added; they must be of
    the same images in the same order, and made with the same options. A job that was killed is continued like that.

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
    read it. ``column``: of Parquet tables. ``allow_scheme`` and ``allow_host``: see docs/security.md. All other options
    are those of ``mpiqe.load``.

    Raises ``ConfigError`` for invalid options, for nothing to score, and for an output that another run writes or that
    cannot be continued; ``WeightsError`` for weights that cannot be loaded; ``JobInterrupted``, a
    ``KeyboardInterrupt``, on Ctrl-C.
    """
    paths = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    _check(max_bytes, timeout, engine)
    is_path = isinstance(output, (str, os.PathLike))
    target = Output(
        Path(cast("str", output)) if is_path else None,
        file_format,
        stream=None if is_path else cast("Stream", output),
        resume=resume or update,
        name_figures=name_figures,
        selection=selection,
    )
    if update:
        _check_update(resume=resume, engine=engine, figures=figures is not None)
    if target.path is not None:
        refuse_inputs(target.path, paths)
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
    reach = Reach.of(paths, schemes=allow_scheme, hosts=allow_host)
    limits = Limits(max_bytes=max_bytes, timeout=timeout, reach=reach)
    stdin = standard_input(paths)
    found = find(paths, stdin=stdin, limits=limits, column=column, output=target.path)
    folder = FigureFolder(Path(figures)) if figures is not None else None
    if folder:
        found = folder.photos_outside(found)
    followed = {"allow_scheme": list(reach.schemes) or None, "allow_host": list(reach.hosts) or None}
    settings = _settings(options, max_bytes=max_bytes, column=column, **followed) if target.can_resume else {}
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
            )
        return JobResult(updated.tracker.done, updated.tracker.failed, updated.kept, updated.dropped)
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
                on_progress=on_progress,
                count_total=count_total,
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
            )
    return JobResult(tracker.done, tracker.failed)


def _check_update(*, resume: bool, engine: str, figures: bool) -> None:
    """Raise ``ConfigError`` for what does not go with an update."""
    if resume:
        raise ConfigError("--update does what --resume does, and more: give one of them")
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
