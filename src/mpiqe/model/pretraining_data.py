"""The datasets that a backbone was pretrained on, as its config.json names them. Does not import torch."""

from collections.abc import Mapping
from typing import Any

from mpiqe.model.options import current_names

PRETRAINING_KEYS = ("mpiqe_pretraining_data", "mpiqe_learnt_from")
"""Keys of config.json: the one that is written, then that of earlier versions."""


def pretraining_data(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The datasets of ``mpiqe pretrain`` by a config.json; anything there that is no list of objects is ignored."""
    for key in PRETRAINING_KEYS:
        if isinstance(entries := config.get(key), list):
            return [current_names(entry) for entry in entries if isinstance(entry, dict)]
    return []
