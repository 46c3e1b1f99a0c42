"""A run's folder: what was asked for, what happened, and the state from which a killed run continues.

::

    RUN/
      config.json               every setting, seed, versions, data digest
      metrics.jsonl             one line an epoch
      shifts.json               only of a run that goes on from a model with a stem head, see SHIFTS
      state.safetensors         weights, optimiser and epoch: what --resume reads
      predictions.csv           the test images, once training is done
      test.json                 their figures
"""

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from mpiqe.atomic import why_not_writable
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.model.backbone_digest import same_backbone, what_differs
from mpiqe.model.options import current_names
from mpiqe.model.tensor_files import check_safetensors, write_atomic, write_safetensors
from mpiqe.parse import parse_json

CONFIG, METRICS, STATE = "config.json", "metrics.jsonl", "state.safetensors"
PREDICTIONS, TEST = "predictions.csv", "test.json"
SHIFTS = "shifts.json"
"""What is added to each MOS for the decoder of a run that goes on from a model with a stem head."""


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run; every write is whole or not there."""

    path: Path

    def refuse_taken(self) -> None:
        """Raise ``ConfigError`` where no new run can begin: before anything is computed that would be lost."""
        if (self.path / CONFIG).exists():
            raise ConfigError(f"{self.path} already holds a run; continue it with --resume, or name another --out")
        fault = f"{self.path} is no folder" if self.path.is_file() else why_not_writable(self.path)
        if fault:
            raise ConfigError(f"--out {self.path}: {fault}; name another --out")

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin a new run. Raises ``ConfigError`` if the folder already holds one."""
        self.refuse_taken()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.path}: {error.strerror}") from error
        self.write_json(CONFIG, config)

    def config(self) -> dict[str, Any]:
        """The settings that the run began with."""
        path = self.path / CONFIG
        try:
            values: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"no run to resume: {path} does not exist") from None
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON ({error}); the run cannot be resumed") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path} holds no object; the run cannot be resumed")
        return values

    def settings(self) -> dict[str, Any]:
        """The options that the run began with."""
        settings = self.config().get("settings")
        if not isinstance(settings, dict):
            raise ConfigError(f"{self.path / CONFIG} holds no settings of a run; the run cannot be resumed")
        return current_names(settings)

    def refuse_other_settings(self, settings: Mapping[str, Any], *, but: Collection[str] = ()) -> None:
        """Raise ``ConfigError`` with both values of all that differs and changes what is computed; not of ``but``."""
        before = {**BEFORE_THEY_WERE, **PRETRAINING_BEFORE, **self.settings()}
        faults = [
            f"{key} was {before.get(key)!r} and is {value!r} now"
            for key, value in parse_json(json.dumps(dict(settings))).items()
            if key not in FREE_ON_RESUME and key not in but and before.get(key) != value
            if LEFT_TO_THE_RUN.get(key, _NOTHING) != value
        ]
        if faults:
            raise ConfigError(f"{self.path} cannot be continued: {'; '.join(faults)}")

    def refuse_fewer_epochs(self, epochs: int, *, done: int) -> None:
        """Raise ``ConfigError`` where the run has ``done`` more epochs than it is to have."""
        if epochs < done:
            raise ConfigError(f"{self.path} has {done} epochs already; epochs = {epochs} cannot take any back")

    def change_epochs(self, epochs: int) -> None:
        """Note that the run goes on to another last epoch than it began with; ``epochs_before`` keeps the earlier."""
        config = self.config()
        before = config["settings"].get("epochs")
        if before != epochs:
            config["settings"]["epochs"] = epochs
            config["epochs_before"] = [*config.get("epochs_before", []), before]
            self.write_json(CONFIG, config)

    def how_to_go_on(self, command: str) -> str:
        """What to say when the run was interrupted."""
        if not (self.path / CONFIG).exists():
            return "stopped before the first step: nothing is written, and the same command begins again"
        if not (self.path / STATE).exists():
            return f"stopped in its first epoch; `mpiqe {command} --resume --out {self.path}` begins again"
        return f"stopped; {self.path} holds the last whole epoch: `mpiqe {command} --resume --out {self.path}` goes on"

    def write_json(self, name: str, values: Any) -> None:
        """Write one JSON file atomically."""
        self.write_text(name, json.dumps(values, indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """What one JSON file holds, ``None`` where it is not there. Raises ``ConfigError`` for a damaged one."""
        path = self.path / name
        try:
            return parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON ({error}); delete it to have it made anew") from error

    def write_text(self, name: str, text: str) -> None:
        """Write one text file atomically."""
        write_atomic(self.path / name, text.encode("utf-8"))

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs so far; a line that a kill has torn is left out."""
        path = self.path / METRICS
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                row = parse_json(line)
                rows.append({**row, "epoch": int(row["epoch"])})
            except (ValueError, KeyError, TypeError):
                break
        return rows

    def keep_metrics(self, epochs: int) -> None:
        """Drop the lines of epochs after ``epochs``: they will be run again."""
        rows = [row for row in self.metrics() if row["epoch"] <= epochs]
        self.write_text(METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one epoch's line."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finite(self, loss: Tensor, epoch: int) -> float:
        """The value of a step's loss. Raises ``ConfigError`` where it is none: nothing good would follow."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the loss of a step in epoch {epoch} is {value}: take a lower learning_rate, or precision fp32; "
                f"{self.path} keeps the epoch before"
            )
        return value

    def save_state(
        self, model: nn.Module, optimiser: Optimizer, progress: Mapping[str, Any], *, lines: nn.Module | None = None
    ) -> None:
        """Write weights, running statistics, optimiser moments and ``progress`` (JSON values) to one file.

        ``lines``: what is trained beside the model and is no part of it.
        """
        tensors = {f"model.{key}": tensor for key, tensor in _tensors(model, lines).items()}
        for name, parameter in _parameters(model, lines).items():
            for key, value in optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value
        write_safetensors(self.path / STATE, tensors, {"progress": json.dumps(progress)})

    def load_state(self, model: nn.Module, optimiser: Optimizer, *, lines: nn.Module | None = None) -> dict[str, Any]:
        """Put the state back in place and return ``progress``; ``lines`` as for ``save_state``."""
        path = self.path / STATE
        if not path.exists():
            raise ConfigError(f"no run to resume: {path} does not exist")
        own, by_name = _tensors(model, lines), _parameters(model, lines)
        try:
            check_safetensors(path)
            with safe_open(path, framework="pt") as file, torch.no_grad():
                for key in file.keys():  # noqa: SIM118
                    kind, _, rest = key.partition(".")
                    if kind == "model":
                        own[rest].copy_(file.get_tensor(key))
                    else:
                        moment, _, name = rest.partition(".")
                        parameter, tensor = by_name[name], file.get_tensor(key)
                        optimiser.state[parameter][moment] = tensor if moment == "step" else tensor.to(parameter.device)
                progress: dict[str, Any] = parse_json((file.metadata() or {})["progress"])
            progress["epoch"] = int(progress["epoch"])
        except (SafetensorError, WeightsError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise WeightsError(f"{path} cannot be resumed from: damaged, or of another run ({error})") from error
        return progress


FREE_ON_RESUME = frozenset(
    {"device", "workers", "root", "labels", "accumulation", "micro_batch", "gradient_checkpointing", "photo_cache"}
    | {"tensorboard"}
)
"""Settings that may differ when a run is continued: where it computes and reads and in how many parts, not what.
(Another device, or other parts, round otherwise, as any other machine does; the precision stays.)"""


_NOTHING = object()
LEFT_TO_THE_RUN: Mapping[str, Any] = {
    "learning_rate": None,
    "scene_labels": True,
    "distortion_labels": True,
    "image_size": None,
}
"""Settings and the value with which a run decides for itself, by its length and its labels, and writes that down."""


BEFORE_THEY_WERE: Mapping[str, Any] = {
    "view_side": 0,
    "view_shape": "photo",
    "crop_mode": "seeded",
    "distortion_scale": "clip",
    "mix_crops": False,
    "cache_stem": False,
    "ranked_data": [],
    "linear_head": False,
    "stem_head": False,
    "stem_head_width": 0,
    "stem_head_layers": 1,
    "stem_head_members": 1,
    "class_heads": False,
    "start": None,
    "scene_labels": True,
    "distortion_labels": True,
    "sampling": "images",
    "set_lines": "fixed",
    "ranking_weight": 0.0,
    "plcc_weight": 0.0,
    "lora_rank": 8,
    "lora_alpha": 16.0,
}
"""Settings that runs of earlier versions do not name, and what those did."""


PRETRAINING_BEFORE: Mapping[str, Any] = {"square_photos": False, "mirrored_pooling": False}
"""The same of ``mpiqe pretrain``."""


def start_or_check(run: RunFolder, settings: Mapping[str, Any], *, digests: Mapping[str, str], resume: bool) -> None:
    """Begin the run, or make sure that ``--resume`` continues the same one, on the same data and backbone.

    ``digests`` by what they are of; those of several sets are joined by plus signs.
    """
    if not resume:
        from mpiqe.model.checkpoint import versions  # with transformers, which whoever only reads a folder needs not

        named = {f"{name}_digest": digest for name, digest in digests.items()}
        run.start({"settings": dict(settings), **named, "versions": versions()})
        return
    run.refuse_other_settings(settings, but=("epochs",))
    for part in run.path.glob("*.part"):  # of a write that a kill cut short
        part.unlink()
    for name, digest in digests.items():
        before = str(run.config().get(f"{name}_digest"))
        for was, now in zip_longest(before.split("+"), digest.split("+"), fillvalue="none"):  # a set each
            if not same_backbone(was, now):  # of data, whether they are the same
                what, was, now = what_differs(was, now)
                other = "; the weights are the same, config.json or the tokenizer is not" if what == "settings" else ""
                raise ConfigError(
                    f"{run.path} cannot be continued: the {name}'s digest was {was} and is {now} now{other}"
                )


def as_path(text: str | None) -> Path | None:
    """A folder named in the settings."""
    return None if text is None else Path(text)


def _parameters(model: nn.Module, lines: nn.Module | None) -> dict[str, nn.Parameter]:
    beside = {} if lines is None else {f"set_lines.{name}": value for name, value in lines.named_parameters()}
    return {**dict(model.named_parameters()), **beside}


def _tensors(model: nn.Module, lines: nn.Module | None) -> dict[str, Tensor]:
    """Everything that training changes: parameters, and running statistics where a backbone is being taught."""
    running = {key: tensor for key, tensor in model.named_buffers() if ".running_" in key or "num_batches" in key}
    return {**_parameters(model, lines), **running}
