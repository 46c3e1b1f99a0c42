"""What crops are cut from: a photo at native resolution, or brought to a common size. Does not import torch."""

from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any, Literal, get_args

from mpiqe.errors import ConfigError

ViewKind = Literal["native", "scaled", "square"]

LARGEST_SIDE = 16_384  # pixels; far over any photo that people have rated


@dataclass(frozen=True)
class View:
    """The image that crops are cut from.

    ``native`` is the photo as it is, the paper's protocol. ``scaled`` is the photo brought down, never up, until it has
    at most ``side * side`` pixels, its shape kept; its short side stays at least a crop's. ``square`` is the whole
    photo resized to ``side`` x ``side`` pixels, up as well as down, whatever its shape. Raises ``ConfigError`` for a
    side that does not belong to the kind.
    """

    kind: ViewKind = "native"
    side: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(ViewKind):
            raise ConfigError(f"view: kind must be one of {', '.join(get_args(ViewKind))}, not {self.kind!r}")
        if self.kind == "native" and self.side is not None:
            raise ConfigError(f"view: a native view has no side, this has {self.side!r}")
        is_whole = isinstance(self.side, int) and not isinstance(self.side, bool)
        if self.kind != "native" and not (is_whole and 1 <= (self.side or 0) <= LARGEST_SIDE):
            raise ConfigError(f"view: side must be a whole number from 1 to {LARGEST_SIDE} pixels, not {self.side!r}")

    @classmethod
    def of_side(cls, side: int, *, square: bool = False) -> "View":
        """The scaled (or square) view of that side; 0 is the native one."""
        return cls() if side == 0 else cls("square" if square else "scaled", side)

    @classmethod
    def from_json(cls, values: Any) -> "View":
        """The view that ``to_json`` has written; raises ``ConfigError`` for anything else."""
        if not isinstance(values, dict) or set(values) != {"kind", "side"}:
            raise ConfigError(f'view: expected {{"kind": .., "side": ..}}, not {values!r}')
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def size(self, width: int, height: int, *, crop: int) -> tuple[int, int]:
        """Width and height that a photo of ``width`` x ``height`` pixels is brought to, for crops of side ``crop``.

        They are those of the photo where nothing is to be resized. A photo on its side gets the same, turned.
        """
        if self.kind == "square" and self.side is not None:
            return self.side, self.side
        if self.side is None or width * height <= self.side**2:
            return width, height
        scaled = isqrt(self.side**2 * width // height), isqrt(self.side**2 * height // width)
        if min(scaled) >= crop:
            return scaled
        short = min(width, height)
        if short <= crop:
            return width, height
        return max(crop, round(width * crop / short)), max(crop, round(height * crop / short))


NATIVE = View()
