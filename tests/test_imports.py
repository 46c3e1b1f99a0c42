"""The direction of imports: a module may know what stands below it, never what stands above or beside it."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mpiqe"
BASE = {"errors", "bounds", "parse", "printable", "extras", "atomic", "option_types", "labels"}
BASE |= {"images", "view", "intervals", "metrics", "plotting", "hub", "preview"}
MAY_KNOW = {
    "errors": {"printable"},
    "bounds": set(),
    "extras": {"errors"},
    "atomic": set(),
    "plotting": {"errors", "extras", "atomic"},
    "option_types": set(),
    "hub": {"errors", "extras"},
    "view": {"errors"},
    "labels": {"errors"},
    "parse": set(),
    "printable": set(),
    "intervals": set(),
    "orientation": {"errors"},
    "formats": {"errors", "extras"},
    "decoding": {"errors", "formats", "orientation"},
    "images": {"errors", "option_types", "decoding", "orientation", "view"},
    "preview": {"orientation"},
    "metrics": {"errors"},
    "model": BASE,
    "data": BASE,
    "training": BASE | {"model", "data"},
    "pretrain": BASE | {"model", "data", "training"},
    "regular_files": set(),
    "isolation": BASE | {"decoding", "regular_files"},
    "sources": BASE | {"decoding", "regular_files", "isolation"},
    "runtimes": BASE | {"model"},
    "scoring": BASE | {"decoding", "runtimes", "isolation", "sources"},
    "torch": BASE | {"decoding", "runtimes", "scoring"},
    "torchmetrics": {"errors", "extras", "torch"},
    "pipelines": BASE | {"decoding", "sources", "runtimes", "scoring", "batch"},
    "batch": BASE | {"decoding", "runtimes", "scoring", "sources"},
    "apply": BASE | {"regular_files", "scoring", "batch"},
    "best": BASE | {"isolation", "runtimes", "scoring"},
    "serve": BASE | {"decoding", "regular_files", "isolation", "runtimes", "scoring"},
    "publish": BASE | {"model", "data", "training", "runtimes", "scoring"},
    "gallery": BASE | {"decoding", "isolation", "runtimes", "scoring", "sources", "batch", "best"},
    "bench": BASE | {"model", "training", "runtimes", "scoring"},
    "experiments": BASE | {"model", "data", "training", "scoring"},
    "demo": {"errors", "atomic", "images", "intervals", "plotting", "data", "runtimes", "scoring"},
    "cli": BASE
    | {
        "decoding",
        "model",
        "data",
        "training",
        "pretrain",
        "sources",
        "runtimes",
        "scoring",
        "batch",
        "apply",
        "best",
        "serve",
        "gallery",
        "demo",
        "experiments",
        "bench",
    },
    "__main__": {"cli"},
    "__init__": {"errors", "runtimes", "scoring", "batch", "publish", "torch", "pipelines"},
}
FILES = sorted(SOURCE.rglob("*.py"))


def _layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imported(path: Path) -> frozenset[str]:
    """Every module that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    layer = _layer(path)
    known = {name.split(".")[1] for name in _imported(path) if name.startswith("mpiqe.")}
    assert known <= MAY_KNOW[layer] | {layer}, f"{layer} must not know {known - MAY_KNOW[layer] - {layer}}"


def _module(path: Path) -> str:
    parts = ("mpiqe", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files_imported(names: frozenset[str], modules: set[str]) -> set[str]:
    """The modules among ``names``, which may also be names in a module."""
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules


def test_no_file_imports_itself_by_way_of_others() -> None:
    modules = {_module(path) for path in FILES}
    imports = {_module(path): _files_imported(_imported(path), modules) - {_module(path)} for path in FILES}
    TopologicalSorter(imports).prepare()  # raises CycleError, with the circle in it


def test_two_places_know_transformers() -> None:
    knowing = {
        str(p.relative_to(SOURCE)) for p in FILES if any(n.split(".")[0] == "transformers" for n in _imported(p))
    }
    assert knowing == {"model/clip_files.py", "pretrain/teacher.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_json_and_toml_are_read_by_the_parser_that_bounds_their_depth(path: Path) -> None:
    if path.name != "parse.py":
        calls = {
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(_parsed(path))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        assert not calls & {"json.load", "json.loads", "tomllib.load", "tomllib.loads", "tomli.load", "tomli.loads"}


def test_nothing_can_unpickle() -> None:
    banned = {"pickle", "dill", "joblib", "torch.load", "shelve"}
    for path in FILES:
        assert not {name for name in _imported(path) if name in banned or name.split(".")[0] in banned}, path
        loads = re.findall(r"torch\.load\(.*", path.read_text(encoding="utf-8"))
        if path.name in ("efficientnet.py", "torch_weights.py"):  # by torch's reader of tensors alone
            assert [load for load in loads if "weights_only=True" not in load] == []
        else:
            assert loads == [], path


LIGHT = (
    "mpiqe",
    "mpiqe.images",
    "mpiqe.atomic",
    "mpiqe.runtimes.registry",
    "mpiqe.scoring.loading",
    "mpiqe.runtimes.onnx",
    "mpiqe.runtimes.openvino",
    "mpiqe.scoring.scorer",
    "mpiqe.batch.job",
    "mpiqe.scoring.explanation",
    "mpiqe.scoring.render",
    "mpiqe.batch.figures",
    "mpiqe.pipelines.frames",
    "mpiqe.pipelines.huggingface",
    "mpiqe.pipelines.ray_data",
    "mpiqe.pipelines.webdataset",
    "mpiqe.demo",
    "mpiqe.serve.server",
    "mpiqe.scoring.pretrained",
    "mpiqe.bench.measure",
    "mpiqe.bench.runtimes",
    "mpiqe.cli.main",
    "mpiqe.batch.sinks",
    "mpiqe.sources.find",
    "mpiqe.data.histogram",
)
DRAWING = {"matplotlib", "sklearn"}


def test_the_light_part_does_not_load_torch_or_what_only_draws() -> None:
    """In one process, which says after each import what heavy modules are there."""
    heavy = DRAWING | {"skimage", "torch", "transformers", "scipy", "safetensors"}
    code = (
        "import sys; from importlib import import_module\n"
        f"for name in {LIGHT}: import_module(name); print(name, *sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [*LIGHT, ""]


def _on_import(node: ast.AST) -> set[str]:
    """What is imported when a file is, not when its functions run or a type checker reads it."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return set()
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {str(node.module).partition(".")[0]}
    return set().union(*map(_on_import, ast.iter_child_nodes(node)))


def test_importing_a_file_imports_nothing_that_only_draws() -> None:
    drawing = {str(path.relative_to(SOURCE)): _on_import(_parsed(path)) & DRAWING for path in FILES}
    assert {path: found for path, found in drawing.items() if found} == {}
