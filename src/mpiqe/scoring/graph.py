"""A model as one graph on disk: pixels of crops in, scores and probabilities out, and what they mean beside it.

A folder holds ``mpiqe.json`` (the card) and ``mpiqe.onnx``, or ``mpiqe.xml`` with ``mpiqe.bin``. The graph takes
``pixels`` (N, S, S, 3) uint8 and answers with those of ``OUTPUTS`` that its model has. Knows no torch.
"""

import json
import math
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from mpiqe.choices import GraphPrecision
from mpiqe.errors import WeightsError
from mpiqe.files import write_whole
from mpiqe.intervals import IntervalModel, interval_from_values
from mpiqe.scoring.score import Scale

CARD = "mpiqe.json"
ONNX = "mpiqe.onnx"
OPENVINO = "mpiqe.xml"
FORMAT = "mpiqe-graph-1"
INPUT = "pixels"
OUTPUTS = ("score", "scene", "distortion", "similarity", "attention")


@dataclass(frozen=True)
class GraphCard:
    """What a graph cannot say of itself."""

    crop_size: int
    """Side of the crops it takes, in pixels."""
    crops: int
    """How many of them a photo was given in training."""
    low: float
    """Lowest and highest label of the training set, in the units of a score."""
    high: float
    unit: str
    scenes: tuple[str, ...]
    distortions: tuple[str, ...]
    window_temperature: float
    source: str
    """Digest of the weights that it was made from."""
    outputs: tuple[str, ...]
    """Names of its outputs, in order."""
    precision: GraphPrecision
    """What its products with weights are computed in."""
    version: str = ""
    """Name and version of a released model, as "mpiqe-embedded 3"; empty for a run of one's own."""
    interval: IntervalModel | None = None
    """How wide the interval around a score is; absent where no photos calibrated it."""

    @property
    def scale(self) -> Scale:
        """What its scores mean."""
        return Scale(
            low=self.low, high=self.high, unit=self.unit, model=self.version or name_of_checkpoint(self.source)
        )


def name_of_checkpoint(digest: str) -> str:
    """What a model without a version is called, by the digest of its weights."""
    return f"checkpoint {digest[:8]}"


def write_card(folder: Path, card: GraphCard, **more: Any) -> None:
    """Write the card to ``folder``, with ``more`` facts for people."""
    text = json.dumps({"format": FORMAT, **asdict(card), **more}, indent=2)
    write_whole(folder / CARD, (text + "\n").encode())


def read_card(folder: Path) -> GraphCard:
    """The card of a folder; raises ``WeightsError`` for one that is missing, damaged or of another format."""
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise WeightsError(f"{path} has the format {values['format']!r}; this mpiqe reads {FORMAT!r}")
        known = GraphCard.__dataclass_fields__.items()
        fields = {name: values[name] for name, one in known if name in values or one.default is MISSING}
        for name in ("scenes", "distortions", "outputs"):
            fields[name] = tuple(fields[name])
        fields["interval"] = interval_from_values(fields.get("interval"))
        card = GraphCard(**fields)
        _check(card)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; mpiqe export writes it beside the graph") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} cannot be used ({type(error).__name__}: {error}); export the model anew") from error
    return card


def _check(card: GraphCard) -> None:
    """Raise ``ValueError`` for values that no export can have written."""
    counts = {"crop_size": (card.crop_size, 4096), "crops": (card.crops, 10_000)}
    faults = [
        f"{name} = {value!r}"
        for name, (value, most) in counts.items()
        if not isinstance(value, int) or not 1 <= value <= most
    ]
    numbers = {"low": card.low, "high": card.high, "window_temperature": card.window_temperature}
    faults += [
        f"{name} = {value!r}"
        for name, value in numbers.items()
        if not isinstance(value, (int, float)) or not math.isfinite(value)
    ]
    texts = [card.unit, card.source, card.version, *card.scenes, *card.distortions, *card.outputs]
    if not all(isinstance(text, str) for text in texts) or not set(card.outputs) <= set(OUTPUTS):
        faults.append(f"outputs = {card.outputs!r}, or a name that is no text")
    if card.precision not in get_args(GraphPrecision):
        faults.append(f"precision = {card.precision!r}")
    if faults:
        raise ValueError("; ".join(faults))
