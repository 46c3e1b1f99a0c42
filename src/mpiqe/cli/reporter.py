"""Progress of a training run on stderr: notes, a bar with the time left, a line per epoch."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TerminalReporter:
    """Report a run's progress; without a terminal the bar is left out and the lines remain."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TerminalReporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def begin(self, *, steps: int, done: int) -> None:
        """Start the bar."""
        self._task = self._progress.add_task("training", total=steps, completed=done, loss="-")
        self._progress.start()

    def step(self, loss: float) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, advance=1, loss=f"{loss:.3f}")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """One line with the epoch's figures."""
        shown = [f"epoch {row['epoch']:>3}"]
        for key, value in row.items():
            if key.startswith(("loss", "val_")) and value is not None:
                shown.append(f"{key} {value:.3f}")
        shown.append(f"{row['images_per_second']:.1f} images/s")
        self._console.print("  ".join(shown), markup=False, soft_wrap=True)


def is_main_process() -> bool:
    """Whether this process prints, of several (torchrun, accelerate launch)."""
    return os.environ.get("RANK", "0") == "0"


def figures(result: Mapping[str, float | None], title: str) -> str:
    """A small aligned table of a report's figures."""
    names = {
        "srcc": "SRCC",
        "plcc": "PLCC",
        "plcc_fitted": "PLCC, after the logistic fit",
        "krcc": "KRCC",
        "rmse": "RMSE, in MOS units",
        "rmse_fitted": "RMSE, after the logistic fit",
    }
    lines = [f"{result.get('count')} {title}"]
    for key, name in names.items():
        value = result.get(key)
        if key == "rmse" and value is None and result.get("rmse_fitted") is not None:
            continue  # left out: the MOS are on another scale
        lines.append(f"  {name:<30}{'not defined' if value is None else f'{value:.4f}'}")
    if "interval_coverage" in result:
        lines.append(f"  {'90 % interval, coverage':<30}{result['interval_coverage']:.4f}")
        lines.append(f"  {'90 % interval, mean width':<30}{result['interval_width']:.4f}")
    return "\n".join(lines)
