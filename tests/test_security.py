"""docs/security.md names every module that parses what comes from outside; a new one has to be written down there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mpiqe"
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

# Calls that make something of bytes or text. By the end of their dotted name, as the code writes it.
PARSING = {
    "parse_json", "parse_toml",
    "json.load", "json.loads", "tomllib.load", "tomllib.loads", "tomli.loads", "yaml.safe_load", "yaml.load",
    "csv.reader", "csv.DictReader", "literal_eval", "unpack", "unpack_from", "frombuf",
    "Image.open", "Image.OPEN.get", "loadmat", "load_workbook", "open_workbook", "safe_open", "load_file",
    "ParquetFile", "read_table", "read_schema", "read_metadata", "ParquetDataset", "open_stream", "open_file",
    "InferenceSession", "read_model", "compile_model", "onnx.load", "from_pretrained", "torch.load", "np.load",
    "np.fromfile", "np.loadtxt", "np.genfromtxt", "tarfile.open", "ZipFile", "GzipFile", "gzip.open", "BZ2File",
    "LZMAFile", "LZMADecompressor", "BZ2Decompressor", "decompress", "decompressobj", "fromstring", "ElementTree.parse",
    "minidom.parse", "url_to_fs", "fsspec.open", "fsspec.filesystem", "OpenerDirector", "urlopen", "HTTPConnection",
    "HeifImageFile", "Decoder", "rawpy.imread", "extract_thumb",
    "pickle.load", "pickle.loads", "pd.read_csv", "pd.read_parquet", "pd.read_excel", "readline", "ConfigParser",
    "ParserCreate", "MultipartParser", "b64decode", "mmap.mmap",
}  # fmt: skip
OURS = {"FrozenCLIP.from_pretrained", "Teacher.from_pretrained"}  # which their own modules are named for


def parses(code: str) -> set[str]:
    """The parsing calls of a module."""
    names = {ast.unparse(node.func) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)}
    found = {name for name in names for call in PARSING if name == call or name.endswith(f".{call}")}
    return (found - OURS) | (names & {"eval", "exec", "compile"})


def named() -> set[str]:
    """The modules in the table of parsers."""
    table = PAGE.partition("## Every parser")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    return {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row)}


MODULES = {str(path.relative_to(SOURCE).as_posix()): path for path in sorted(SOURCE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_parses_is_named_with_where_it_runs_and_its_bounds(module):
    calls = parses(MODULES[module].read_text(encoding="utf-8"))
    assert not calls or module in named(), f"{module} calls {calls}: docs/security.md does not say so"


def test_every_module_that_is_named_is_there_and_parses():
    assert {module for module in named() if module not in MODULES} == set()
    assert {module for module in named() if not parses(MODULES[module].read_text(encoding="utf-8"))} == set()


def test_every_row_says_what_where_and_within_which_bounds():
    table = PAGE.partition("## Every parser")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) > 15
    for row in rows[1:]:  # below the header
        assert len(row) == 4, row
        assert all(len(cell.strip()) > 3 for cell in row), row


@pytest.mark.parametrize(
    "code", ["import json\njson.loads(x)", "from tarfile import TarFile, open\nimport tarfile\ntarfile.open(x)",
             "import pyarrow.parquet as pq\npq.ParquetFile(x)", "from safetensors import safe_open\nsafe_open(x)"]
)  # fmt: skip
def test_a_parser_is_seen_in_the_code(code):
    assert parses(code)


def test_only_the_process_that_is_for_it_decodes_tables_of_others():
    decoding = {"ParquetFile", "read_schema", "read_metadata", "read_table"}
    found = {
        module
        for module, path in MODULES.items()
        if {name.rpartition(".")[2] for name in parses(path.read_text(encoding="utf-8"))} & decoding
    }
    # the others read what runs have written
    assert found == {"isolation/arrow_table.py", "batch/parquet_sink.py", "gallery/read_table.py"}


def test_one_module_asks_fsspec_and_one_the_web():
    for call, only in (("url_to_fs", {"sources/store.py"}), ("OpenerDirector", {"sources/http.py"})):
        found = {
            module
            for module, path in MODULES.items()
            if any(name.rpartition(".")[2] == call for name in parses(path.read_text(encoding="utf-8")))
        }
        assert found == only
