"""The runtimes, one row each. Options, help, checks, errors, ``mpiqe bench``'s list and the docs' table derive from it.

Imports no runtime: each is loaded when a model is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from mpiqe.extras import needing
from mpiqe.option_types import GraphPrecision, ScoringPrecision

if TYPE_CHECKING:
    from mpiqe.runtimes.base import Loaded, Request

AUTO = "auto"
GraphForm: TypeAlias = Literal["onnx", "openvino"]


@dataclass(frozen=True)
class RuntimeSpec:
    """A runtime: its name, what it can run, and its loader."""

    name: str
    """The word that ``--runtime`` takes, of lower-case letters and digits."""
    title: str
    """The name that its authors gave it."""
    help: str
    """What it computes on and how, in few words, for ``--runtime``'s help and the docs."""
    loader: str
    """``module:function`` of a function ``(Request) -> Loaded``, imported when a model is loaded."""
    precisions: tuple[ScoringPrecision, ...]
    """That ``--precision`` may ask for, besides ``auto``, which is the runtime's own choice."""
    devices: tuple[str, ...] = ("cpu",)
    """Kinds of device, as torch calls them. The loader refuses those that this machine lacks."""
    checkpoints: bool = False
    """Whether it runs run folders, checkpoint files and hub ids."""
    graphs: tuple[GraphForm, ...] = ()
    """The formats of exported graphs that it reads; none for a runtime that does not run graphs."""
    graph_precisions: tuple[GraphPrecision, ...] = ()
    """The precisions of exported graphs that it runs."""
    packages: tuple[str, ...] = ()
    """Modules that it imports and that may be missing."""
    extra: str | None = None
    """The extra of this package that brings them; ``None`` for what every install has."""

    def load(self, request: "Request") -> "Loaded":
        """Load a model. Raises ``WeightsError``, and ``ConfigError`` for packages or devices that are not there."""
        module, _, function = self.loader.partition(":")
        why = f"to run a model with {self.title}" if self.graphs else "to run a checkpoint"
        with needing(why, brought={self.extra: self.packages} if self.extra else {}):
            load = getattr(import_module(module), function)
        loaded: Loaded = load(request)
        return loaded

    def takes(self, device: str) -> bool:
        """Whether it computes on ``device``: ``auto``, ``cpu``, or another by torch's name, ``cuda:1`` say.

        A kind that no runtime names is left to those with more than the CPU, whose loader says what there is.
        """
        if device in (AUTO, "cpu"):
            return device == AUTO or device in self.devices
        others = {*self.devices} - {"cpu"}
        known = {other for spec in RUNTIMES.values() for other in spec.devices} - {"cpu"}
        kind = device.partition(":")[0]
        return kind in others or (bool(others) and kind not in known)


_ROWS = (
    RuntimeSpec(
        "onnx",
        "ONNX Runtime",
        "the CPU, in fp32",
        loader="mpiqe.runtimes.onnx:load",
        precisions=("fp32",),
        graphs=("onnx",),
        graph_precisions=("fp32", "int8"),
        packages=("onnxruntime",),
    ),
    RuntimeSpec(
        "openvino",
        "OpenVINO",
        "the CPU, in bf16 where it has it",
        loader="mpiqe.runtimes.openvino:load",
        precisions=("fp32", "bf16"),
        graphs=("openvino", "onnx"),
        graph_precisions=("fp32",),
        packages=("openvino",),
        extra="openvino",
    ),
    RuntimeSpec(
        "torch",
        "PyTorch",
        "every device, in bf16 on CUDA",
        loader="mpiqe.runtimes.torch:load",
        precisions=("fp32", "bf16"),
        devices=("cpu", "cuda", "mps"),
        checkpoints=True,
        packages=("torch", "transformers"),
        extra="train",
    ),
)

RUNTIMES: Mapping[str, RuntimeSpec] = MappingProxyType({spec.name: spec for spec in _ROWS})
"""By the word that ``--runtime`` takes; ``auto`` takes the first that can do what is asked."""


def choices() -> tuple[str, ...]:
    """Valid values of ``--runtime``."""
    return (AUTO, *RUNTIMES)


def runtime_help() -> str:
    """Help text of ``--runtime``."""
    return f"{', '.join(f'{spec.name} ({spec.help})' for spec in RUNTIMES.values())}, or auto: by the weights."


def device_help() -> str:
    """Help text of ``--device``."""
    kinds = list(dict.fromkeys(kind for spec in RUNTIMES.values() for kind in spec.devices))
    return f"{', '.join((AUTO, *kinds[:-1]))} or {kinds[-1]}."


def measured() -> dict[str, RuntimeSpec]:
    """What ``mpiqe bench`` measures, by runtime and precision (``onnx-int8``), those that run checkpoints first."""
    found: dict[str, RuntimeSpec] = {}
    for spec in sorted(RUNTIMES.values(), key=lambda spec: not spec.checkpoints):
        for precision in dict.fromkeys((*spec.precisions, *spec.graph_precisions)):
            found[f"{spec.name}-{precision}"] = spec
    return found


def measured_help() -> str:
    """Help text of ``mpiqe bench --runtime``."""
    names = list(measured())
    return f"{', '.join(names[:-1])} or {names[-1]}; may be repeated. All that are installed if not given."


def markdown_table() -> str:
    """The runtimes as the Markdown table in docs/score.md."""
    lines = [
        "| `--runtime` | | computes on | runs | devices | precisions | install |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in RUNTIMES.values():
        runs = [*(["checkpoints"] if spec.checkpoints else []), *(["exported graphs"] if spec.graphs else [])]
        install = f"`mpiqe[{spec.extra}]`" if spec.extra else "`mpiqe`"
        precisions = ", ".join(dict.fromkeys((*spec.precisions, *spec.graph_precisions)))
        lines.append(
            f"| `{spec.name}` | {spec.title} | {spec.help} | {', '.join(runs)} | {', '.join(spec.devices)} "
            f"| {precisions} | {install} |"
        )
    return "\n".join(lines) + "\n"
