"""Seconds of work that is done again and again, one kind after another, so that a slow minute falls on all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PAUSE = 0.02
"""Seconds between two pieces of work: threads of the last one may still be spinning."""


@dataclass(frozen=True)
class Timed:
    """What the repeats of one piece of work took."""

    seconds: tuple[float, ...]
    """Of each repeat, in order."""
    amount: float
    """How much is done in one repeat: photos, or operations."""

    @property
    def rates(self) -> list[float]:
        """Amount per second of each repeat."""
        return [self.amount / seconds for seconds in self.seconds]

    @property
    def rate(self) -> float:
        """The median of them."""
        return statistics.median(self.rates)

    @property
    def median(self) -> float:
        """Median seconds for the whole amount."""
        return statistics.median(self.seconds)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(works: Mapping[str, Callable[[], object]], *, repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each piece of work, measured in turns: A B A B. The ``warm_up`` first turns are not kept."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warm_up, repeats):
        for name, work in works.items():
            time.sleep(PAUSE)
            spent = seconds(work)
            if turn >= 0:
                taken[name].append(spent)
    return taken


def line(name: str, rates: Sequence[float], unit: str) -> str:
    """One line to read: median, lowest and highest."""
    return f"{name:<32}{statistics.median(rates):7.1f} {unit}  ({min(rates):.1f} to {max(rates):.1f})"
