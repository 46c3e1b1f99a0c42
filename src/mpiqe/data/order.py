"""Random orders that are the same on every machine, in every process and with every version of every library."""

import hashlib
from collections.abc import Iterable


def shuffled(names: Iterable[str], key: str) -> list[str]:
    """``names`` (unique) in an order that depends on ``key`` and on the names themselves, not on how they came."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{key}:{name}".encode()).digest(), name))
