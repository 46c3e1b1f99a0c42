"""Results of a benchmark: every repeat, and the figures derived from them."""

import statistics
from dataclasses import dataclass, field
from typing import Any

from mpiqe.bench.timing import Timed


@dataclass(frozen=True)
class Decoding:
    """Files of one size, read to pixels on one thread."""

    size: tuple[int, int]
    bits_per_pixel: float
    read: Timed


@dataclass(frozen=True)
class Pipelines:
    """Files on disk to rows, and the bare tower that was measured between them; amounts are photos."""

    rows: dict[tuple[int, int], Timed]
    """By the photos' size."""
    bare: Timed | None

    def share_of_bare(self, size: tuple[int, int]) -> float | None:
        """How much of the bare tower's rate the rows reach: the median over the turns."""
        if self.bare is None:
            return None
        return statistics.median(a / b for a, b in zip(self.rows[size].rates, self.bare.rates, strict=True))


@dataclass(frozen=True)
class RuntimeFigures:
    """One runtime in one precision; all amounts are photos."""

    name: str
    precision: str
    model: Timed
    """Crops in, scores out."""
    bare: Timed | None
    """The bare image tower on the same crops."""
    pipelines: Pipelines

    @property
    def share_of_bare(self) -> float | None:
        """How much of the bare tower's rate the model reaches: the median over the turns."""
        if self.bare is None:
            return None
        return statistics.median(a / b for a, b in zip(self.model.rates, self.bare.rates, strict=True))


@dataclass(frozen=True)
class Report:
    """One run of ``mpiqe bench``."""

    machine: dict[str, Any]
    model: dict[str, Any]
    """Name, shape, and with them the operations of a crop: ``tower``, ``mpiqe``, ``plain``; ``None`` if unknown."""
    settings: dict[str, Any]
    floor_by: str
    floor: dict[str, Timed]
    """A large matrix product by precision; amounts are operations."""
    decoding: list[Decoding]
    runtimes: list[RuntimeFigures]
    plain: Timed | None
    """The plain eager fp32 model on the same crops."""
    start_up: dict[str, Timed]
    """A fresh process each time, by what it did; the amount is one."""
    peak_memory_mb: float | None
    """Of the largest process of one ``mpiqe score``."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""

    def share_of_peak(self, figures: RuntimeFigures) -> float | None:
        """How much of the matrix product's rate in its precision the model reaches."""
        operations, floor = self.model.get("operations"), self.floor.get(figures.precision)
        if operations is None or floor is None:
            return None
        return float(figures.model.rate * self.settings["crops"] * operations["mpiqe"] / floor.rate)

    def times_plain(self, part: Timed) -> float | None:
        """How many times as quick as the plain eager fp32 model ``part`` is."""
        return None if self.plain is None else part.rate / self.plain.rate

    def to_json(self) -> dict[str, Any]:
        """Everything, with all repeats."""
        return {
            "machine": self.machine,
            "model": self.model,
            "settings": self.settings,
            "floor": {
                "by": self.floor_by,
                "operations_per_second": {name: _timed(timed) for name, timed in self.floor.items()},
            },
            "decoding": [
                {"size": list(each.size), "bits_per_pixel": each.bits_per_pixel, "images_per_second": _timed(each.read)}
                for each in self.decoding
            ],
            "plain": None if self.plain is None else _timed(self.plain),
            "runtimes": {
                each.name: {
                    "precision": each.precision,
                    "bare_tower": None if each.bare is None else _timed(each.bare),
                    "model": _timed(each.model),
                    "model_share_of_bare_tower": each.share_of_bare,
                    "model_share_of_peak": self.share_of_peak(each),
                    "model_times_plain": self.times_plain(each.model),
                    "pipelines": {
                        f"{size[0]}x{size[1]}": {
                            **_timed(rows),
                            "share_of_bare_tower": each.pipelines.share_of_bare(size),
                            "times_plain": self.times_plain(rows),
                        }
                        for size, rows in each.pipelines.rows.items()
                    },
                }
                for each in self.runtimes
            },
            "start_up_seconds": {
                name: {"median": timed.median, "repeats": list(timed.seconds)} for name, timed in self.start_up.items()
            },
            "peak_memory_mb": self.peak_memory_mb,
            "left_out": self.left_out,
        }


def _timed(timed: Timed) -> dict[str, Any]:
    rates = timed.rates
    return {"median": timed.rate, "lowest": min(rates), "highest": max(rates), "repeats": rates}
