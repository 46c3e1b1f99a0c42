"""Many faults, one message: a dataset is mended in one go, not fault by fault."""

from collections.abc import Sequence

from mpiqe.errors import DatasetError

_SHOWN = 1000


def refuse(heading: str, faults: Sequence[str]) -> None:
    """Raise one ``DatasetError`` with ``heading`` and ``faults`` (the first thousand), one a line, if there are any."""
    if not faults:
        return
    lines = [f"{heading}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", *faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"... and {len(faults) - _SHOWN} more")
    raise DatasetError("\n  ".join(lines))
