"""The options that choose photos by their scores, for ``mpiqe score`` and ``mpiqe apply``."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpiqe.errors import ConfigError

if TYPE_CHECKING:
    from mpiqe.batch.selection import Selection
    from mpiqe.cli.photos import Format

MinScore = Annotated[float | None, typer.Option(help="Only photos that score S or more.", metavar="S")]
MaxScore = Annotated[float | None, typer.Option(help="Only photos that score S or less.", metavar="S")]
Worst = Annotated[str | None, typer.Option(help="Only the worst N photos, or P% of them, worst first.", metavar="N|P%")]
Best = Annotated[str | None, typer.Option(help="Only the best N photos, or P% of them, best first.", metavar="N|P%")]
Sorting = Annotated[
    Literal["score", "-score"] | None,
    typer.Option("--sort", help="score: the lowest first; -score: the highest. Rows come at the end.", metavar="S"),
]


def of(
    *,
    min_score: float | None,
    max_score: float | None,
    worst: str | None,
    best: str | None,
    sort: Literal["score", "-score"] | None = None,
) -> "Selection | None":
    """What the options choose; ``None`` if none of them was given. Raises ``ConfigError``."""
    from mpiqe.batch.selection import Selection

    chosen = Selection(min_score, max_score, worst, best, sort)
    return None if chosen.is_all else chosen


def form(asked: "Format | None", *, print0: bool) -> "Format | None":
    """The format of rows; raises ``ConfigError`` if ``--print0`` does not go with it."""
    if not print0:
        return asked
    if asked not in (None, "paths", "paths0"):
        raise ConfigError(f"--print0 writes paths alone: leave --format {asked} away")
    return "paths0"
