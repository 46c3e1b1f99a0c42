"""Rated images: records, readers, splits and checks. Crops are in ``mpiqe.data.loading``, the one part with torch."""

from mpiqe.data.check import check
from mpiqe.data.livec import read_livec
from mpiqe.data.record import Dataset, Record, Split
from mpiqe.data.sources import read_dataset
from mpiqe.data.splits import choose_split, describe_split, fraction, liqe_split, own_split, without_val
from mpiqe.data.table import read_csv

__all__ = [
    "Dataset",
    "Record",
    "Split",
    "check",
    "choose_split",
    "describe_split",
    "fraction",
    "liqe_split",
    "own_split",
    "read_csv",
    "read_dataset",
    "read_livec",
    "without_val",
]
