"""All faults of a dataset in one error, so that it can be corrected in one go."""

from collections.abc import Sequence

from mpiqe.errors import DatasetError

_SHOWN = 1000


class FaultsError(DatasetError):
    """What ``refuse`` raises: its message has the first thousand faults, ``faults`` has all of them."""

    def __init__(self, heading: str, faults: Sequence[str]) -> None:
        self.heading = heading
        self.faults = tuple(faults)
        lines = [f"{heading}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", *faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            lines.append(f"... and {len(faults) - _SHOWN} more")
        super().__init__("\n  ".join(lines))


def refuse(heading: str, faults: Sequence[str]) -> None:
    """Raise one ``DatasetError`` with ``heading`` and ``faults``, one a line, if there are any."""
    if faults:
        raise FaultsError(heading, faults)
