"""Rated images: records, readers, splits and checks. Crops are in ``mpiqe.data.crop_dataset``, the one part with torch.

Importing the package loads none of its modules; each name does that when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpiqe.data.inspection import check
    from mpiqe.data.readers.bid import read_bid
    from mpiqe.data.readers.csiq import read_csiq
    from mpiqe.data.readers.kadid import read_kadid
    from mpiqe.data.readers.koniq import read_koniq
    from mpiqe.data.readers.live import read_live
    from mpiqe.data.readers.livec import read_livec
    from mpiqe.data.readers.table import read_csv
    from mpiqe.data.record import Dataset, Record, Split
    from mpiqe.data.registry import DATASETS, DatasetSpec, read_dataset
    from mpiqe.data.splits import choose_split, describe_split, fraction, liqe_split, own_split, without_val

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "Record",
    "Split",
    "check",
    "choose_split",
    "describe_split",
    "fraction",
    "liqe_split",
    "own_split",
    "read_bid",
    "read_csiq",
    "read_csv",
    "read_dataset",
    "read_kadid",
    "read_koniq",
    "read_live",
    "read_livec",
    "without_val",
]

_HOMES = {
    **dict.fromkeys(("DATASETS", "DatasetSpec", "read_dataset"), "registry"),
    **dict.fromkeys(("Dataset", "Record", "Split"), "record"),
    **dict.fromkeys(("choose_split", "describe_split", "fraction", "liqe_split", "own_split", "without_val"), "splits"),
    **{f"read_{name}": f"readers.{name}" for name in ("bid", "csiq", "kadid", "koniq", "live", "livec")},
    "read_csv": "readers.table",
    "check": "inspection",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(import_module(f"mpiqe.data.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'mpiqe.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
