"""The paper's settings of one dataset, and which settings of a run are not those."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mpiqe.data.registry import DATASETS, paper_settings
from mpiqe.errors import ConfigError
from mpiqe.model.options import LossOptions, ModelOptions
from mpiqe.training.options import FLAG_NAMES, RunOptions, TrainOptions
from mpiqe.training.schedule import PAPERS_EPOCHS, PAPERS_RATE, PAPERS_WARMUP

PROTOCOL: Mapping[str, Any] = {
    "validation": False,
    "epoch": "last",
    "epochs": PAPERS_EPOCHS,
    "warmup_epochs": PAPERS_WARMUP,
    "learning_rate": PAPERS_RATE,
}
"""Where the paper differs from the defaults of ``mpiqe train``, or these may come to differ."""
_PLACES = frozenset({"data", "root", "image_column", "mos_column", "labels", "split", "splits", "labels_as_published"})
_MACHINE = frozenset(
    {"seed", "precision", "device", "workers", "accumulation", "micro_batch", "photo_cache", "gradient_checkpointing"}
    | {"tensorboard", "test_each_epoch", "scene_labels", "distortion_labels"}
)
"""Settings that say where a run reads and computes, not what; and what its data lack."""


def papers_settings(kind: str) -> dict[str, Any]:
    """Every setting that the paper states or that a reading of it decides, for the dataset ``kind`` (livec, say)."""
    found = {item.name: item.default for part in (RunOptions, ModelOptions, LossOptions) for item in fields(part)}
    found |= {**paper_settings(kind), **PROTOCOL}
    return {key: value for key, value in found.items() if key not in _PLACES | _MACHINE}


def with_papers(given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """``given`` with the paper's settings of its dataset; another backbone is allowed.

    Raises one ``ConfigError`` for a dataset that the paper does not have and for all that contradict it.
    """
    own = {flag: name for name, flag in FLAG_NAMES.items()}
    given = {own.get(key, key): value for key, value in given.items()}
    kind = str(given.get("data", RunOptions().data)).partition(":")[0]
    if not _is_papers(kind):
        known = ", ".join(filter(_is_papers, DATASETS))
        raise ConfigError(f"{where}: the paper has no settings for --data {kind}; its datasets are {known}")
    papers = papers_settings(kind)
    faults = [
        f"{FLAG_NAMES.get(key, key)} = {value!r}, the paper's is {papers[key]!r}"
        for key, value in given.items()
        if key in papers and key != "backbone" and value != papers[key]
    ]
    if faults:
        raise ConfigError(f"{where}: --paper goes with the paper's settings alone, but {'; '.join(faults)}")
    return {**papers, **given}


def not_the_papers(options: TrainOptions) -> str | None:
    """A line that names all settings which are not the paper's, both values; ``None`` where all are."""
    kind = options.run.data.partition(":")[0]
    papers, values = papers_settings(kind), options.to_mapping()
    found = [
        f"{FLAG_NAMES.get(key, key)} = {_shown(values[key])} (the paper's: {_shown(value)})"
        for key, value in papers.items()
        if values[key] != value
    ]
    advice = "; --paper takes its settings" if _is_papers(kind) else ""
    return f"not as in the paper: {'; '.join(found)}{advice}" if found else None


def _is_papers(kind: str) -> bool:
    return kind in DATASETS and DATASETS[kind].column is not None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else repr(value)
