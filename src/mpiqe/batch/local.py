"""A job that this process does: rows come from a ``Scorer`` and go to the output one by one."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

from mpiqe.batch.figures import FigureFolder
from mpiqe.batch.interrupts import Interrupts, JobInterrupted
from mpiqe.batch.kept import paired
from mpiqe.batch.output import Output
from mpiqe.batch.progress import OnProgress, Tracker, counting
from mpiqe.batch.resume import Earlier, check_order, check_settings
from mpiqe.batch.selection import Selection, selected
from mpiqe.batch.signatures import SignatureFile
from mpiqe.batch.sinks import decode_name
from mpiqe.batch.summary import Scores
from mpiqe.errors import ConfigError, ImageError
from mpiqe.scoring import loading
from mpiqe.scoring.explanation import explain
from mpiqe.scoring.score import Row
from mpiqe.scoring.scorer import Scorer
from mpiqe.sources.find import Photo
from mpiqe.sources.names import Names
from mpiqe.sources.passed_over import PassedOver, no_image


def score_here(
    paths: list[str],
    found: Iterator[Photo],
    folder: FigureFolder | None,
    *,
    target: Output,
    settings: dict[str, Any],
    options: dict[str, Any],
    on_progress: OnProgress | None,
    count_total: bool,
    after_cluster: bool,
    selection: Selection | None,
    scores: Scores,
    names: Names,
    null: bool,
    left_out: PassedOver,
    waits: Callable[[], bool] | None,
) -> Tracker:
    """Write the rows of what is ``found`` in ``paths``; return how many there are.

    ``options`` are those of ``mpiqe.load``, ``settings`` those that rows depend on. ``after_cluster`` if Ray was asked
    for and has nothing left to do: then there must be no image without a row.
    """
    tracker = Tracker(on_progress, scores=scores)
    earlier = _pass_over(target, found, folder, settings, tracker)
    first = next(found, None)
    if first is None:
        if not tracker.done:
            raise ConfigError(no_image(paths, left_out))
        target.finish()
        return tracker
    if after_cluster:
        raise ConfigError(
            f"{target.path} has {tracker.done} rows and no shards, and there are more photos; the same command without "
            "--engine ray scores them, and with --overwrite all are scored anew"
        )
    scorer = loading.load(**options)
    scores.higher_is_better = scorer.scale.higher_is_better
    if folder:
        folder.make()
    with Interrupts() as interrupts:
        try:
            with (
                target.opened(scorer.predictor, earlier=earlier, settings=settings, crops=scorer.crops) as opened,
                selected(opened, selection, scorer.scale) as sink,
                SignatureFile(target.signed, goes_on=earlier is not None) as signatures,
                counting(tracker, paths, target.final, wanted=count_total, names=names, null=null),
                closing(_rows(scorer, signatures.noted(chain([first], found)), folder, waits)) as rows,
            ):
                tracker.report()
                for row in rows:
                    with interrupts.held():
                        sink.write(row)
                        signatures.add_row(row)
                        tracker.add(row)
        except KeyboardInterrupt as interrupt:
            raise JobInterrupted(tracker.done, can_resume=target.can_resume) from interrupt
    return tracker


def _pass_over(
    target: Output, found: Iterator[Photo], folder: FigureFolder | None, settings: dict[str, Any], tracker: Tracker
) -> Earlier | None:
    """Pass over the images whose rows are there already; ``None`` where there are none to continue."""
    earlier = target.earlier()
    if earlier is None or target.path is None:
        return None
    for row in earlier:
        if not tracker.done:
            check_settings(target.path, settings)
        photo = next(found, None)
        check_order(target.path, tracker.done + 1, row.path, None if photo is None else earlier.written(photo.name))
        tracker.done += 1
        tracker.failed += row.failed
        tracker.scores.add(decode_name(row.path), row.score)
        if photo:
            photo.discard()
        if photo and folder and not row.failed:
            folder.place(photo)  # so that the figures of later images have the names they would have had
    return earlier if tracker.done else None


def _rows(
    scorer: Scorer, found: Iterator[Photo], folder: FigureFolder | None, waits: Callable[[], bool] | None
) -> Generator[Row, None, None]:
    """The scorer's rows; with a ``folder`` each one after its figure was written, which it names."""
    with closing(paired(scorer, found, waits=waits)) as rows:
        for photo, row in rows:
            if folder is None or row.score is None:
                yield row
                continue
            try:
                figure = folder.write(photo, explain(scorer, photo.source(), score=row.score))
            except ImageError as error:  # it was there a moment ago
                yield replace(row, score=None, error=error.reason)
            else:
                yield replace(row, figure=str(figure))
