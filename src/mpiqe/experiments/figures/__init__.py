"""Figures 3 and 4 of the paper."""

from dataclasses import dataclass
from pathlib import Path

from mpiqe.errors import ConfigError
from mpiqe.plotting import check_libraries


@dataclass(frozen=True)
class FigureFile:
    """One figure of a report."""

    path: Path
    caption: str
    """Plain text: what is shown, how it was made and what it does not say."""


def check_ready(path: Path, *modules: str) -> None:
    """Raise ``ConfigError`` where a library is not installed or the figure's folder cannot be: before any work."""
    check_libraries(f"to draw {path.stem}", *modules)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; name another folder") from error
