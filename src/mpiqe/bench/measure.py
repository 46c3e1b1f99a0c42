"""Measure scoring on this machine, from the bare matrix product to rows out of files. Knows torch only if it is there.

What is compared is measured in turns (A B A B), and medians are compared, never best cases.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from mpiqe import bounds, images
from mpiqe.bench import flops, processes
from mpiqe.bench.floor import operations, products
from mpiqe.bench.machine import describe_machine
from mpiqe.bench.photos import QUALITY, SIZES, bits_per_pixel, write_photos
from mpiqe.bench.report import Decoding, Pipelines, Report, RuntimeFigures
from mpiqe.bench.runtimes import Source, Subject, build
from mpiqe.bench.signatures import Look
from mpiqe.bench.timing import Timed, interleaved, seconds
from mpiqe.errors import ConfigError, ImageError
from mpiqe.extras import needing
from mpiqe.scoring.scorer import Scorer

RANDOM = "random:"
PHOTOS = 8
"""Different photos of each size; they are read again and again, so the disk is not measured."""
LARGEST_BATCH = 16
_MOST_REPEATS = 10_000
SECONDS = 0.7
"""About how long one piece of work should take, where the model lets it."""
PIPELINE_SECONDS = 2.0
PLAIN_AT_ONCE = 64
"""Crops that the plain model takes in one call, as torch's predictor does."""
"""The same for files to rows, which come a batch at a time."""
RANDOM_CROPS = 8
"""Of a model with random weights, as in the paper."""
Note = Callable[[str], object]


@dataclass(frozen=True)
class Settings:
    """What to measure. ``backbone`` (``random:vit-b-16``) or ``weights``, or the embedded model."""

    weights: str | None = None
    backbone: str | None = None
    crops: int | None = None
    """Per photo; the model's own number if not given, 8 of a random one."""
    repeats: int = 5
    runtimes: tuple[str, ...] = ()
    """By name; all that are installed, if none is named."""


@dataclass(frozen=True)
class _Subjects:
    """What there is to measure on this installation."""

    scored: Sequence[Subject]
    plain: Look | None
    crops: int
    """Per photo, the model's own."""
    about: dict[str, Any]
    left_out: dict[str, str]


def measure(settings: Settings, note: Note) -> Report:
    """Measure everything that can be measured here; ``note`` is told what is being done.

    Raises ``ConfigError`` for invalid settings, ``WeightsError`` for weights that cannot be read.
    """
    _check(settings)
    with tempfile.TemporaryDirectory(prefix="mpiqe-bench-") as name:
        folder = Path(name)
        weights = _weights(settings, folder, note)
        note("building the model under each runtime")
        subjects = _subjects(settings, weights, folder)
        count = settings.crops or subjects.crops
        photos = {size: write_photos(folder, size=size, number=PHOTOS) for size in SIZES}
        note("decoding")
        decoding = [_decode(size, paths, settings.repeats) for size, paths in photos.items()]
        paths = photos[SIZES[0]]
        crops = _crops(paths, size=subjects.scored[0].predictor.crop_size, count=count)
        batch = _batch(subjects, crops, count)
        note(f"models, {batch} photos of {count} crops at a time")
        by, floor, plain, timed = _models(subjects, crops[: batch * count], batch, settings.repeats)
        note("files to rows")
        pipelines = _pipelines(subjects, timed, photos, crops[: batch * count], count, settings.repeats)
        note("start-up and memory")
        start_up, memory, left_out = _processes(paths, weights, settings)
    return Report(
        machine=describe_machine(),
        model={"name": settings.backbone or settings.weights or "embedded", **subjects.about},
        settings={
            **asdict(settings),
            "crops": count,
            "batch": batch,
            "photos": f"{PHOTOS} made photos of each size, JPEG quality {QUALITY}",
        },
        floor_by=by,
        floor=floor,
        decoding=decoding,
        runtimes=[
            RuntimeFigures(each.name, each.precision, timed[each.name], timed.get(_bare(each)), pipelines[each.name])
            for each in subjects.scored
        ],
        plain=plain,
        start_up=start_up,
        peak_memory_mb=memory,
        left_out={**subjects.left_out, **left_out},
    )


def _check(settings: Settings) -> None:
    checked = (
        None if settings.crops is None else bounds.whole_number("crops", settings.crops, most=bounds.MOST_CROPS),
        bounds.whole_number("repeats", settings.repeats, most=_MOST_REPEATS),
    )
    faults = [fault for fault in checked if fault]
    if settings.weights is not None and settings.backbone is not None:
        faults.append("weights bring their own backbone; give one of --weights and --backbone")
    if settings.backbone is not None and not settings.backbone.startswith(RANDOM):
        faults.append(f"a backbone to measure is {RANDOM}NAME, {RANDOM}vit-b-16 say, not {settings.backbone!r}")
    if faults:
        raise ConfigError("; ".join(faults))


def _weights(settings: Settings, folder: Path, note: Note) -> str | None:
    """What ``mpiqe score --weights`` would be given."""
    if settings.backbone is None:
        return settings.weights
    with needing(f"to make {settings.backbone}, unlike the embedded model,"):
        from mpiqe.model.untrained import create_untrained, shape_named

    shape = shape_named(settings.backbone.removeprefix(RANDOM))
    note(f"making random weights of {settings.backbone}")
    return str(create_untrained(folder / "untrained", shape, crops=settings.crops or RANDOM_CROPS))


def _subjects(settings: Settings, weights: str | None, folder: Path) -> _Subjects:
    source = Source(weights, folder=folder)
    scored, left_out = build(source, settings.runtimes)
    if source.eager is None:
        reason = "it needs a checkpoint, torch and transformers"
        left_out |= dict.fromkeys(("plain eager fp32 model", "share of the matrix product"), reason)
        return _Subjects(scored, None, source.crops, {"operations": None}, left_out)
    shape = source.eager.shape
    about = {
        "shape": asdict(shape),
        "operations": {"tower": flops.tower(shape), "mpiqe": flops.mpiqe(shape), "plain": flops.plain(shape)},
        "formula": flops.__doc__,
    }
    return _Subjects(scored, source.eager.plain(), source.crops, about, left_out)


def _decode(size: tuple[int, int], paths: Sequence[Path], repeats: int) -> Decoding:
    def read() -> None:
        for path in islice(cycle(paths), 4 * len(paths)):
            images.read(path)

    taken = interleaved({"read": read}, repeats=repeats)["read"]
    return Decoding(size, bits_per_pixel(paths, size), Timed(tuple(taken), 4 * len(paths)))


def _crops(paths: Sequence[Path], *, size: int, count: int) -> images.Pixels:
    """``count`` crops of as many photos as the largest batch holds, one photo after another, (N, S, S, 3)."""
    positions = partial(images.crop_positions, size=size, count=count, mode="seeded")
    cut = [images.read_crops(path, size=size, positions=positions)[0] for path in paths]
    return np.concatenate(list(islice(cycle(cut), LARGEST_BATCH)))


def _batch(subjects: _Subjects, crops: images.Pixels, count: int) -> int:
    """Photos at a time: as many as keep the slowest work near ``SECONDS``."""
    slowest = subjects.plain or subjects.scored[0].predictor.predict
    one = crops[:count]
    slowest(one)
    return int(np.clip(SECONDS // seconds(lambda: slowest(one)), 1, LARGEST_BATCH))


def _bare(subject: Subject) -> str:
    return f"{subject.name}, bare tower"


def _models(
    subjects: _Subjects, crops: images.Pixels, photos: int, repeats: int
) -> tuple[str, dict[str, Timed], Timed | None, dict[str, Timed]]:
    """Who computed the matrix products, the products, the plain model, and each predictor and bare tower by name."""
    by, floor = products(bf16=any(each.precision == "bf16" for each in subjects.scored))
    works: dict[str, Callable[[], object]] = {f"product, {name}": work for name, work in floor.items()}
    if subjects.plain:
        works["plain"] = partial(_in_parts, subjects.plain, crops, PLAIN_AT_ONCE)
    for each in subjects.scored:
        most = each.predictor.crops_at_once
        if each.bare is not None:
            works[_bare(each)] = partial(_in_parts, each.bare, crops, most)
        works[each.name] = partial(_in_parts, each.predictor.predict, crops, most)
    taken = interleaved(works, repeats=repeats)
    timed = {name: Timed(tuple(spent), photos) for name, spent in taken.items()}
    peaks = {name: Timed(tuple(taken[f"product, {name}"]), operations()) for name in floor}
    return by, peaks, timed.get("plain"), timed


def _in_parts(work: Callable[[images.Pixels], object], crops: images.Pixels, most: int) -> None:
    """All ``crops``, as many at once as suit the predictor."""
    for first in range(0, len(crops), most):
        work(crops[first : first + most])


def _pipelines(
    subjects: _Subjects,
    models: dict[str, Timed],
    photos: dict[tuple[int, int], list[Path]],
    crops: images.Pixels,
    count: int,
    repeats: int,
) -> dict[str, Pipelines]:
    """Files of each size to rows for each predictor, in turns with its bare tower.

    Each turn starts anew and is timed when it is under way.
    """
    found = {}
    for each in subjects.scored:
        usual = Scorer(predictor=each.predictor, crops=count).batch_size
        size, rate = min(usual, max(2, round(SECONDS * models[each.name].rate))), models[each.name].rate
        scorer = Scorer(predictor=each.predictor, crops=count, batch_size=size)
        skip = size * max(1, round(SECONDS / 2 * rate / size))  # meanwhile the readers start
        amount = size * max(3, round(PIPELINE_SECONDS * rate / size))
        taken: dict[tuple[int, int], list[float]] = {of: [] for of in photos}
        bare: list[float] = []
        for _ in range(repeats):
            if each.bare is not None:
                bare.append(seconds(partial(_in_parts, each.bare, crops, each.predictor.crops_at_once)))
            for of, paths in photos.items():
                taken[of].append(_steady(scorer, paths, skip=skip, photos=amount))
        found[each.name] = Pipelines(
            {of: Timed(tuple(spent), amount) for of, spent in taken.items()},
            Timed(tuple(bare), len(crops) / count) if bare else None,
        )
    return found


def _steady(scorer: Scorer, paths: Sequence[Path], *, skip: int, photos: int) -> float:
    """Seconds for ``photos`` rows after the first ``skip``, in the midst of a stream that goes on behind them."""
    with closing(scorer.rows(cycle(paths))) as rows:

        def draw(number: int) -> None:
            for row in islice(rows, number):
                if row.error is not None:
                    raise ImageError(row.path, row.error)

        draw(skip)
        return seconds(lambda: draw(photos))


def _processes(
    paths: Sequence[Path], weights: str | None, settings: Settings
) -> tuple[dict[str, Timed], float | None, dict[str, str]]:
    """Start-up by what is started, the largest process in MB, and what could not be measured.

    A process that fails costs these figures, not those that took minutes before.
    """
    command = partial(processes.score_command, weights=weights, crops=settings.crops)
    works = {"mpiqe score, one photo": partial(processes.run, command(paths[:1]))}
    left_out = {}
    if find_spec("torch"):
        works["python -c 'import torch'"] = partial(processes.run, processes.IMPORT_TORCH)
    else:
        left_out["import of torch"] = "torch is not installed"
    started: dict[str, Timed] = {}
    memory = None
    try:
        taken = interleaved(works, repeats=settings.repeats, warm_up=0)
        started = {name: Timed(tuple(spent), 1) for name, spent in taken.items()}
        if processes.can_tell_memory():
            memory = processes.peak_memory_mb(command(list(islice(cycle(paths), LARGEST_BATCH))))
        else:
            left_out["peak memory"] = "this system does not tell what a finished process held"
    except ConfigError as error:
        left_out["peak memory" if started else "start-up and peak memory"] = str(error)
    return started, memory, left_out
