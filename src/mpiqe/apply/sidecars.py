"""XMP sidecars of photos: which file, which rating, what is written."""

import base64
import contextlib
import errno
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from mpiqe.apply import transfer, xmp
from mpiqe.apply.decisions import Entry, Table
from mpiqe.apply.places import files_of
from mpiqe.errors import ConfigError
from mpiqe.printable import printable
from mpiqe.regular_files import read_regular

Style = Literal["darktable", "adobe"]
"""``NAME.EXT.xmp``, as darktable and digiKam have it, or ``NAME.xmp``, as Adobe's programs have it."""

REJECTED = -1
UNRATED = 0
STARS = (0.2, 0.4, 0.6, 0.8)
"""Qualities from which on a photo has 2, 3, 4 and 5 stars; below the first it has one."""


@dataclass(frozen=True)
class Thresholds:
    """Which quality gives which rating."""

    stars: tuple[float, ...] = STARS
    reject_below: float | None = None
    """Photos of a lower quality are rejected; ``None``: none are."""

    @classmethod
    def parse(cls, stars: str | None, reject_below: float | None) -> "Thresholds":
        """Read ``0.2,0.4,0.6,0.8``; raises ``ConfigError`` for anything but four rising qualities from 0 to 1."""
        try:
            values = STARS if stars is None else tuple(float(part) for part in stars.split(","))
        except ValueError:
            values = ()
        are_rising = all(low < high for low, high in pairwise(values))  # as written, NaN is refused too
        if len(values) != 4 or not are_rising or not values[0] >= 0 or not values[-1] <= 1:
            raise ConfigError(f"--stars {stars!r}: give four rising qualities from 0 to 1, as 0.2,0.4,0.6,0.8")
        if reject_below is not None and not 0 <= reject_below <= 1:
            raise ConfigError(f"--reject-below must be a quality from 0 to 1, not {reject_below:g}")
        return cls(values, reject_below)

    def rating(self, quality: float, *, may_reject: bool = True) -> int:
        """-1, or 1 to 5; without ``may_reject`` 1 to 5."""
        if may_reject and self.reject_below is not None and quality < self.reject_below:
            return REJECTED
        return 1 + sum(quality >= threshold for threshold in self.stars)

    def __str__(self) -> str:
        said = f"1 star for a quality below {self.stars[0]:g}, and " + ", ".join(
            f"{number} from {value:g}" for number, value in enumerate(self.stars, 2)
        )
        return said if self.reject_below is None else f"rejected below {self.reject_below:g}; {said}"


@dataclass(frozen=True)
class SidecarEdit:
    """A sidecar that is going to be written."""

    path: str
    photo: str
    before: bytes | None
    """What the file holds; ``None`` where there is none."""
    content: bytes
    rating: int | None
    """``xmp:Rating`` in ``content``."""
    kept_rating: bool = False
    """Whether the rating is one that somebody else gave, and ours was not written."""

    def to_json(self) -> dict[str, Any]:
        """What the journal says of it."""
        before = None if self.before is None else base64.b64encode(self.before).decode()
        return {"to": self.path, "before": before, "after": hashlib.sha256(self.content).hexdigest()}

    def write(self, temporary: str) -> None:
        """Write the file atomically. Raises ``OSError``, also where it has changed since it was read."""
        try:
            with open(temporary, "xb") as file:
                file.write(self.content)
                file.flush()
                os.fsync(file.fileno())
            if self.before is None:
                transfer.publish(temporary, self.path)
                return
            if read_regular(self.path, xmp.MOST_BYTES) != self.before:
                raise OSError(errno.EAGAIN, "another program has changed it meanwhile")
            shutil.copymode(self.path, temporary)
            os.replace(temporary, self.path)
            transfer.sync_folder(os.path.dirname(self.path))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


@dataclass
class SidecarPlan:
    """The sidecars of a table's photos: ``edits`` reads and makes them one by one, and fills in the rest."""

    table: Table
    entries: Sequence[Entry]
    root: str
    style: Style
    thresholds: Thresholds
    replace_ratings: bool
    left: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason."""
    ratings: Counter[int | None] = field(default_factory=Counter)
    """How many sidecars have which rating, those that need no change included."""
    kept: int = 0
    """Ratings of others that stay, and ours was not written."""
    unchanged: int = 0
    other_style: int = 0
    """Photos that have a sidecar of the other style."""

    def __post_init__(self) -> None:
        if self.table.kind == "paths":
            raise ConfigError(f"{self.table.name} has paths alone: --xmp needs decisions, ratings or scores")
        if any(entry.score is not None and entry.quality is None for entry in self.entries):
            raise ConfigError(
                f"{self.table.name} has scores without the column quality, as an earlier mpiqe wrote them: score again"
            )

    def edits(self) -> Iterator[SidecarEdit]:
        """Yield what has to be written. A sidecar that cannot be read or changed is left, with the reason."""
        found, left = files_of(self.entries, self.root)
        self.left += left
        taken: dict[str, str] = {}
        for entry, photo in found:
            if _rating(entry, self.thresholds)[0] is None and not _values(entry):
                self.left.append((entry.path, "has no score and no decision"))
                continue
            path = _sidecar_of(photo, self.style)
            if (other := taken.setdefault(os.path.normcase(path), photo)) != photo:
                self.left.append((entry.path, f"would share its sidecar with {os.path.basename(other)}"))
                continue
            other_style: Style = "adobe" if self.style == "darktable" else "darktable"
            self.other_style += os.path.lexists(_sidecar_of(photo, other_style))
            try:
                edit = self._edit(entry, photo, os.path.realpath(path))
            except OSError as error:
                self.left.append((entry.path, f"{os.path.basename(path)} cannot be read ({error.strerror})"))
            except xmp.XMPError as error:
                self.left.append((entry.path, f"{os.path.basename(path)}: {error}"))
            else:
                self.ratings[edit.rating] += 1
                self.kept += edit.kept_rating
                if edit.content == edit.before:
                    self.unchanged += 1
                else:
                    yield edit

    def _edit(self, entry: Entry, photo: str, path: str) -> SidecarEdit:
        before = read_regular(path, xmp.MOST_BYTES) if os.path.lexists(path) else None
        packet = None if before is None else xmp.read_packet(before)
        rating, is_decided = _rating(entry, self.thresholds)
        old = packet.rating if packet else None
        is_from_score, is_from_reject = _origin(packet)
        is_pick = entry.decision == "pick"
        if is_pick and rating is None and old == REJECTED:
            rating = UNRATED
        may_replace = is_decided or is_from_score or (is_pick and is_from_reject) or self.replace_ratings
        kept = rating is not None and bool(old) and not may_replace
        if kept:
            rating = None
        shown = old if rating is None else rating
        is_ours = is_from_score if rating is None else not is_decided
        # an earlier decision to reject stays with its rating, so that a later pick knows that both are ours
        decision = "reject" if rating is None and is_from_reject else ""
        values = _values(entry, model=self.table.model, rating=(shown or None) if is_ours else None, decision=decision)
        content = xmp.changed(packet, rating=rating, ours=values)
        return SidecarEdit(path, photo, before, content, shown, kept)


def _sidecar_of(photo: str, style: Style) -> str:
    return f"{photo}.xmp" if style == "darktable" else f"{os.path.splitext(photo)[0]}.xmp"


def _rating(entry: Entry, thresholds: Thresholds) -> tuple[int | None, bool]:
    """The rating of an entry, and whether a person decided it; otherwise it follows from the score."""
    if entry.decision == "reject":
        return REJECTED, True
    if entry.rating is not None:
        return entry.rating, True
    if entry.quality is not None:
        return thresholds.rating(entry.quality, may_reject=entry.decision != "pick"), False
    return None, False


def _origin(packet: xmp.Packet | None) -> tuple[bool, bool]:
    """Whether an earlier run wrote the packet's rating: for a score, and for a decision to reject."""
    if packet is None or packet.rating is None:
        return False, False
    is_from_score = packet.ours.get("Rating") == str(packet.rating)
    return is_from_score, packet.rating == REJECTED and packet.ours.get("Decision") == "reject"


def _values(entry: Entry, *, model: str = "", rating: int | None = None, decision: str = "") -> dict[str, str]:
    """Our properties, ``NAME`` to text.

    ``rating``: one that follows from a score, so that later runs know it as ours. ``decision``: that of an earlier run,
    for an entry that has none.
    """
    values: dict[str, object] = {
        "Score": entry.score,
        "Quality": entry.quality,
        "IntervalLow": entry.interval and entry.interval[0],
        "IntervalHigh": entry.interval and entry.interval[1],
        "Distortion": entry.distortion,
        "Model": model,
        "Decision": entry.decision or decision,
        "Rating": rating,
    }
    return {name: printable(str(value)) for name, value in values.items() if value not in (None, "")}
