"""Scores of many photos in columns, as a page holds them. Axes: N photos, C classes."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mpiqe.errors import ConfigError
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.score import Score, likeliest

NO_CLASS = 255
"""The number of the class of a photo that has none."""
_SHARES = 255  # a probability is kept in so many steps


@dataclass(frozen=True)
class Classes:
    """The scenes, or the distortions, of N photos."""

    names: tuple[str, ...]
    likeliest: NDArray[np.uint8]
    """(N,) the number of the most probable name, ``NO_CLASS`` without one."""
    shares: NDArray[np.uint8] | None
    """(N, C) probabilities in 255ths; ``None`` where only the most probable names are known."""

    def take(self, rows: NDArray[np.intp]) -> "Classes":
        """The classes of some rows, in that order."""
        return replace(self, likeliest=self.likeliest[rows], shares=None if self.shares is None else self.shares[rows])


@dataclass(frozen=True)
class Table:
    """Scores of N photos; those that could not be read stand apart."""

    name: str
    """What the page calls the table."""
    scale: Scale | None
    """``None`` where it is not known."""
    paths: list[str]
    """As rows hold them (``mpiqe.batch.sinks.encode_name``)."""
    score: NDArray[np.float32]
    """(N,), as all that follow; in the units of the scale."""
    spread: NDArray[np.float32]
    low: NDArray[np.float32]
    """The interval's ends; NaN for a model without one."""
    high: NDArray[np.float32]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]
    scene: Classes
    distortion: Classes
    failures: list[tuple[str, str]]
    """Path and reason of each photo that could not be read."""

    def take(self, rows: NDArray[np.intp]) -> "Table":
        """Some rows, in that order; the failures stay."""
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            score=self.score[rows],
            spread=self.spread[rows],
            low=self.low[rows],
            high=self.high[rows],
            width=self.width[rows],
            height=self.height[rows],
            scene=self.scene.take(rows),
            distortion=self.distortion.take(rows),
        )


class TableBuilder:
    """Takes scores one by one, a hundred bytes each."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self._numbers = [array("f") for _ in range(4)]
        self._sizes = [array("I") for _ in range(2)]
        self._scene = _ClassesBuilder()
        self._distortion = _ClassesBuilder()

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, path: str, score: Score) -> int:
        """Add a photo; returns its number. Raises ``ConfigError`` for classes that earlier photos did not have."""
        self._add(path, score)
        self._scene.add(score.scene)
        self._distortion.add(score.distortion)
        return len(self.paths) - 1

    def add_named(self, path: str, score: Score, *, scene: str | None, distortion: str | None) -> int:
        """The same where only the names of the most probable classes are known."""
        self._add(path, score)
        self._scene.add_name(scene)
        self._distortion.add_name(distortion)
        return len(self.paths) - 1

    def _add(self, path: str, score: Score) -> None:
        self.paths.append(path)
        low, high = score.interval or (float("nan"), float("nan"))
        for column, value in zip(self._numbers, (score.score, score.spread, low, high), strict=True):
            column.append(value)
        for sizes, side in zip(self._sizes, score.size, strict=True):
            sizes.append(side)

    def fail(self, path: str, reason: str) -> None:
        """Add a photo that could not be read."""
        self.failures.append((path, reason))

    def table(self, *, name: str, scale: Scale | None) -> Table:
        """What was added."""
        score, spread, low, high = (np.array(column, dtype=np.float32) for column in self._numbers)
        width, height = (np.array(column, dtype=np.uint32) for column in self._sizes)
        return Table(
            name=name,
            scale=scale,
            paths=self.paths,
            score=score,
            spread=spread,
            low=low,
            high=high,
            width=width,
            height=height,
            scene=self._scene.classes(),
            distortion=self._distortion.classes(),
            failures=self.failures,
        )


class _ClassesBuilder:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._likeliest = bytearray()
        self._shares: bytearray | None = None

    def add(self, probabilities: Mapping[str, float]) -> None:
        if self._shares is None:
            self._shares = bytearray()
            self._numbers = {name: number for number, name in enumerate(probabilities)}
            if len(self._numbers) >= NO_CLASS:
                raise ConfigError(f"{len(self._numbers)} classes; a page holds {NO_CLASS - 1} at most")
        if self._numbers.keys() != probabilities.keys():
            raise ConfigError(
                f"rows of different models: one has the classes {_listed(self._numbers)}, another has "
                f"{_listed(probabilities)}"
            )
        best = likeliest(dict(probabilities))
        self._likeliest.append(NO_CLASS if best is None else self._numbers[best])
        self._shares.extend(_share(probabilities[name]) for name in self._numbers)

    def add_name(self, name: str | None) -> None:
        if name is not None and name not in self._numbers:
            if len(self._numbers) == NO_CLASS - 1:
                raise ConfigError(f"over {NO_CLASS - 1} classes, {name!r} among them; a page holds no more")
            self._numbers[name] = len(self._numbers)
        self._likeliest.append(NO_CLASS if name is None else self._numbers[name])

    def classes(self) -> Classes:
        names = tuple(self._numbers)
        best = np.frombuffer(bytes(self._likeliest), dtype=np.uint8)
        if not self._shares:
            return Classes(names, best, None)
        return Classes(names, best, np.frombuffer(bytes(self._shares), dtype=np.uint8).reshape(len(best), len(names)))


def split_path(path: str) -> tuple[str, str]:
    """What stands before a photo's name, with the separator at its end, and the name."""
    at = max(path.rfind("/"), path.rfind("\\") if "/" not in path else -1)
    inside = path.rfind("::")
    at = max(at, inside + 1 if inside >= 0 else -1)
    return path[: at + 1], path[at + 1 :]


def _share(probability: float) -> int:
    return min(_SHARES, max(0, round(probability * _SHARES)))


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "(none)"
