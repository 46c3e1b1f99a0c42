"""Types that all sides of a measurement share. Knows nothing of torch."""

from collections.abc import Callable
from typing import Literal

from mpiqe.images import Pixels

Float = Literal["fp32", "bf16"]
Look = Callable[[Pixels], object]
"""An image tower on crops (N, S, S, 3) uint8; what it returns does not matter."""
