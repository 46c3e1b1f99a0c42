"""What a scan of folders leaves out, counted by kind, so that it can be said once."""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping

TABLES = "tables (name one to score what it holds)"
ARCHIVES = "archives (unpack them first)"
HIDDEN = "hidden"
LINKS = "links to folders"
OUTPUTS = "outputs of mpiqe score"
FIGURES = "figures of mpiqe"
FILTERED = "left out by --include or --exclude"

_MOST_KINDS = 8
_LONGEST_SUFFIX = 12


class PassedOver:
    """Counts of what was left out, by kind. Safe to use from several threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, kind: str, number: int = 1) -> None:
        """Count so many more of a kind."""
        with self._lock:
            self._counts[kind] += number

    def add_all(self, counts: Mapping[str, int]) -> None:
        """Count what another has counted."""
        for kind, number in counts.items():
            self.add(str(kind), int(number))

    def add_file(self, name: str) -> None:
        """Count a file that is no image, by its suffix."""
        suffix = os.path.splitext(name)[1].lower()
        self.add(suffix if 1 < len(suffix) <= _LONGEST_SUFFIX and suffix.isprintable() else "other files")

    def counts(self) -> dict[str, int]:
        """Return how many of each kind, the most frequent first."""
        with self._lock:
            return dict(self._counts.most_common())


def described(counts: Mapping[str, int]) -> str:
    """``3 .txt, 1 hidden``: the kinds in their order, and only how many more there are where they are many."""
    kinds = [f"{number:,} {kind}" for kind, number in counts.items()]
    if len(kinds) > _MOST_KINDS:
        rest = sum(list(counts.values())[_MOST_KINDS:])
        kinds = [*kinds[:_MOST_KINDS], f"{rest:,} of {len(counts) - _MOST_KINDS} other kinds"]
    return ", ".join(kinds)


def no_image(paths: Iterable[str], left_out: PassedOver) -> str:
    """Return the message for sources without an image, with what was passed over in them."""
    there = left_out.counts()
    return f"there is no image in {' '.join(paths)}" + (f"; passed over: {described(there)}" if there else "")
