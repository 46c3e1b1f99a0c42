"""An exported model on disk: one graph (pixels of crops -> scores and probabilities) and its card.

A folder holds ``mpiqe.json`` (the card) and ``mpiqe.onnx``, or ``mpiqe.xml`` with ``mpiqe.bin``. The graph takes
``pixels`` (N, S, S, 3) uint8 and answers with those of ``OUTPUTS`` that its model has. Knows no torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from mpiqe.atomic import write_atomic
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.intervals import IntervalModel, interval_from_values
from mpiqe.option_types import GraphPrecision, ModelCropMode
from mpiqe.parse import parse_json
from mpiqe.runtimes.base import Scale
from mpiqe.runtimes.registry import GraphForm
from mpiqe.view import NATIVE, View

CARD = "mpiqe.json"
PACKAGE_FOLDER = Path(str(files("mpiqe") / "weights"))
"""Of the embedded model."""
ONNX = "mpiqe.onnx"
OPENVINO, OPENVINO_WEIGHTS = "mpiqe.xml", "mpiqe.bin"
FORMAT = "mpiqe-graph-1"
FILE_OF: Mapping[GraphForm, str] = {"onnx": ONNX, "openvino": OPENVINO}
INPUT = "pixels"
_MOST_BYTES = 1 << 20  # of a card, which has some thousand
_LONGEST_NAME = 1000  # letters
_STEP = 1 << 20
OUTPUTS = ("score", "scene", "distortion", "similarity", "attention")


@dataclass(frozen=True)
class GraphCard:
    """Metadata of a graph: what the graph file itself does not contain."""

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
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the files that it lies in, by their names; none in cards that mpiqe 0.1 wrote."""
    view: View = NATIVE
    """What its crops are cut from; cards of earlier versions do not name it."""
    crop_mode: ModelCropMode = "seeded"
    """Where they are cut (D12), likewise."""
    version: str = ""
    """Name and version of a released model, as "mpiqe-embedded 3"; empty for a run of one's own."""
    interval: IntervalModel | None = None
    """How wide the interval around a score is; absent where no photos calibrated it."""

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of its scores."""
        return Scale(
            low=self.low,
            high=self.high,
            unit=self.unit,
            model=self.version or name_of_checkpoint(self.source),
            shot_difference=self.interval.shot_difference if self.interval else None,
        )


def name_of_checkpoint(digest: str) -> str:
    """Name of a model without a version, from the digest of its weights."""
    return f"checkpoint {digest[:8]}"


def write_card(folder: Path, card: GraphCard, *, beside: Sequence[str] = (), **more: Any) -> None:
    """Write the card to ``folder``, with the digests of the graph's files there and ``more`` facts for people.

    ``beside``: further files that the graph's weights lie in.
    """
    names = [name for name in (ONNX, OPENVINO, OPENVINO_WEIGHTS) if (folder / name).is_file()]
    digests = {name: _digest(folder / name) for name in (*names, *beside)}
    text = json.dumps({"format": FORMAT, **asdict(card), "digests": digests, **more}, indent=2)
    write_atomic(folder / CARD, (text + "\n").encode())


def read_card(folder: Path) -> GraphCard:
    """The card of a folder; raises ``WeightsError`` for one that is missing, damaged or of another format."""
    path = folder / CARD
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise WeightsError(f"{path} has more than {_MOST_BYTES} bytes, which is no card; export the model anew")
        values = parse_json(content)
        if values["format"] != FORMAT:
            raise WeightsError(f"{path} has the format {values['format']!r}; this mpiqe reads {FORMAT!r}")
        values.setdefault("digests", {})  # mpiqe 0.1 wrote none
        fields = {
            name: values[name]
            for name, entry in GraphCard.__dataclass_fields__.items()
            if name in values or entry.default is MISSING
        }
        if "view" in fields:
            fields["view"] = View.from_json(fields["view"])
        for name in ("scenes", "distortions", "outputs"):
            fields[name] = tuple(fields[name])
        fields["interval"] = interval_from_values(fields.get("interval"))
        card = GraphCard(**fields)
        _check(card)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; mpiqe export writes it beside the graph") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, ConfigError) as error:
        raise WeightsError(f"{path} cannot be used ({type(error).__name__}: {error}); export the model anew") from error
    return card


def check_files(folder: Path, card: GraphCard) -> None:
    """Raise ``WeightsError`` unless the graph's files are those that its card was written for; reads them once."""
    for name, stated in card.digests.items():
        path = folder / name
        try:
            found = _digest(path)
        except OSError as error:
            raise WeightsError(f"cannot read {path}: {error.strerror}, but {CARD} names it; copy it again") from error
        if found != stated:
            raise WeightsError(
                f"{path} is not the file that its card says: damaged, or they do not belong together; its digest is "
                f"{found[:20]} and should be {stated[:20]!r}. Copy the folder again, or export the model anew"
            )


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while step := file.read(_STEP):
            digest.update(step)
    return f"blake2b:{digest.hexdigest()}"


def _check(card: GraphCard) -> None:
    """Raise ``ValueError`` for values that no export can have written."""
    counts = {"crop_size": (card.crop_size, 4096), "crops": (card.crops, 10_000)}
    faults = [
        f"{name} = {value!r}"
        for name, (value, most) in counts.items()
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most
    ]
    numbers = {"low": card.low, "high": card.high, "window_temperature": card.window_temperature}
    unusable = [
        f"{name} = {value!r}"
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
    ]
    faults += unusable
    if not unusable and card.low > card.high:
        faults.append(f"low = {card.low!r} is above high = {card.high!r}")
    if not unusable and card.window_temperature <= 0:
        faults.append(f"window_temperature = {card.window_temperature!r} is not above zero")
    texts = [card.unit, card.source, card.version, *card.scenes, *card.distortions, *card.outputs]
    if not all(isinstance(text, str) for text in texts) or not set(card.outputs) <= set(OUTPUTS):
        faults.append(f"outputs = {card.outputs!r}, or a name that is no text")
    else:
        faults += [
            f"{text[:100]!r} is no name that a terminal can show" for text in texts if not _is_name(text)
        ]  # else a control sequence would be obeyed by it
        faults += [
            f"{name} = {names!r} names something twice"
            for name in ("scenes", "distortions", "outputs")
            if len(set(names := getattr(card, name))) < len(names)
        ]
        if "score" not in card.outputs:
            faults.append(f"outputs = {card.outputs!r} lack the score")
    if card.crop_mode not in get_args(ModelCropMode):
        faults.append(f"crop_mode = {card.crop_mode!r}")
    if card.precision not in get_args(GraphPrecision):
        faults.append(f"precision = {card.precision!r}")
    if not isinstance(card.digests, dict) or not all(_is_digest(*each) for each in card.digests.items()):
        faults.append(f"digests = {card.digests!r}")
    if faults:
        raise ValueError("; ".join(faults))


def _is_name(text: str) -> bool:
    return text.isprintable() and len(text) <= _LONGEST_NAME


def _is_digest(name: object, digest: object) -> bool:
    """Whether this is a file of the folder, or of a folder in it, with its digest."""
    if not isinstance(name, str) or not isinstance(digest, str):
        return False
    parts = PurePosixPath(name).parts
    return bool(parts) and name.isprintable() and not name.startswith("/") and ".." not in parts
