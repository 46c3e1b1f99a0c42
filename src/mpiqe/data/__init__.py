"""Rated images: records, readers, splits and checks. Crops are in ``mpiqe.data.loading``, the one part with torch."""

from mpiqe.data.bid import read_bid
from mpiqe.data.check import check
from mpiqe.data.csiq import read_csiq
from mpiqe.data.kadid import read_kadid
from mpiqe.data.koniq import read_koniq
from mpiqe.data.live import read_live
from mpiqe.data.livec import read_livec
from mpiqe.data.record import Dataset, Record, Split
from mpiqe.data.releases import RELEASES, Release
from mpiqe.data.sources import read_dataset
from mpiqe.data.splits import choose_split, describe_split, fraction, liqe_split, own_split, without_val
from mpiqe.data.table import read_csv

__all__ = [
    "RELEASES",
    "Dataset",
    "Record",
    "Release",
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
