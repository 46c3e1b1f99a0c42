"""Files in which an ONNX graph says that its weights lie: those of its folder, and no other."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mpiqe
from mpiqe.errors import WeightsError
from mpiqe.runtimes.external_data import check_external_data
from mpiqe.runtimes.graph import GraphCard, read_card, write_card

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def external(location: str, name: str = "bias", offset: int = 0):
    """A tensor of one number that is to be read from a file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def graph_of(folder: Path, *tensors, nodes=()) -> Path:
    """A graph whose score is the photo's darkest value and a number of a file, with its card."""
    made = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["x", "axes"], ["least"], keepdims=0),
        helper.make_node("Add", ["least", "bias"], ["score"]),
        *nodes,
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["crops", 32, 32, 3])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["crops"])
    graph = helper.make_graph(made, "foreign", [pixels], [score], [axes, *tensors])
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (folder / "mpiqe.onnx").write_bytes(model.SerializeToString())
    none = {"scenes": (), "distortions": (), "source": "", "unit": "MOS", "window_temperature": 0.05}
    write_card(folder, GraphCard(crop_size=32, crops=1, low=0, high=1, outputs=("score",), precision="fp32", **none))
    return folder / "mpiqe.onnx"


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_weights_beside_the_graph_are_read(tmp_path, runtime):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights.bin").write_bytes(struct.pack("<f", 7.0))
    graph_of(tmp_path, external("in/weights.bin"))
    predictor = mpiqe.load(tmp_path, runtime=runtime, precision="fp32").predictor
    assert predictor.predict(np.ones((1, 32, 32, 3), dtype=np.uint8)).score.tolist() == [8.0]


def test_weights_in_the_cache_of_a_hub_are_read(tmp_path):
    """There the files of a snapshot are links to files of another folder, the graph's too."""
    graph_of(tmp_path / "blobs", external("weights.bin")).rename(tmp_path / "blobs" / "graph")
    (tmp_path / "blobs" / "weights").write_bytes(bytes(4))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "mpiqe.onnx").symlink_to("../blobs/graph")
    (tmp_path / "snapshot" / "weights.bin").symlink_to("../blobs/weights")
    check_external_data(tmp_path / "snapshot" / "mpiqe.onnx")


ELSEWHERE = ["../secret.bin", "in/../../secret.bin", "link.bin", "..\\secret.bin", "C:secret.bin", "", "absent.bin"]
ELSEWHERE += ["*/_ORT_MEM_ADDR_/*", "pipe", "in", "loop", "a\0b", "\x1b[2J", "/dev/zero", "{secret}"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes links and a pipe")
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_no_other_file_is_read_whatever_a_graph_names(tmp_path, runtime):
    """In a process of its own: an address in memory, as one of these names is for the runtimes, may be its end."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(struct.pack("<f", 7.0))
    for number, location in enumerate(ELSEWHERE):
        folder = tmp_path / str(number)
        (folder / "in").mkdir(parents=True)
        (folder / "link.bin").symlink_to("../secret.bin")
        (folder / "loop").symlink_to("loop")
        os.mkfifo(folder / "pipe")
        graph_of(folder, external(location.format(secret=secret), offset=4096 if "ADDR" in location else 0))
    code = (
        "import mpiqe\n"
        f"for number in range({len(ELSEWHERE)}):\n"
        "    try:\n"
        f"        mpiqe.load(f'{tmp_path}/{{number}}', runtime={runtime!r}, precision='fp32')\n"
        "    except mpiqe.WeightsError as error:\n"
        "        print(str(error).replace('\\n', ' '), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(ELSEWHERE)
    assert [line for line in lines if "cannot be loaded: it has weights in '" not in line] == []


def test_a_graph_of_another_format_does_not_come_in_by_the_name_of_openvinos(tmp_path):
    """OpenVINO tells formats by their content; the white space would be a number of ONNX's."""
    graph = graph_of(tmp_path, external("*/_ORT_MEM_ADDR_/*", offset=4096))
    content = graph.read_bytes()
    graph.unlink()
    code = f"import mpiqe; mpiqe.load({str(tmp_path)!r})"
    for before in (b"", b"\x20<", b"\xef\xbb\xbf<"):
        (tmp_path / "mpiqe.xml").write_bytes(before + content)
        write_card(tmp_path, read_card(tmp_path))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 1, done.stderr
        assert "mpiqe.xml cannot be loaded, damaged or incomplete: it is no XML" in done.stderr.splitlines()[-1]


def in_a_node(tensor):
    return helper.make_node("Constant", [], ["unused"], value=tensor)


def in_a_graph(tensor):
    inner = helper.make_graph([in_a_node(tensor)], "inner", [], [])
    return helper.make_node("If", ["x"], ["unused"], then_branch=inner, else_branch=inner)


@pytest.mark.parametrize("where", [in_a_node, in_a_graph, lambda tensor: helper.make_node("X", [], [], v=[tensor])])
def test_a_tensor_anywhere_in_a_graph_is_seen(tmp_path, where):
    (tmp_path / "ok.bin").write_bytes(bytes(4))
    graph = graph_of(tmp_path, external("ok.bin"), nodes=[where(external("../secret.bin", "x"))])
    with pytest.raises(WeightsError, match=r"'\.\./secret\.bin', which is no file of its folder"):
        check_external_data(graph)


def varint(number: int, least: int = 1) -> bytes:
    """A number of protobuf, of ``least`` bytes or more."""
    parts = []
    while number or len(parts) < least:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts[:-1], parts[-1] & 0x7F])


def message(number: int, content: bytes, least: int = 1) -> bytes:
    return varint(number << 3 | 2, least) + varint(len(content), least) + content


@pytest.mark.parametrize("high", [0, 1 << 32], ids=["longer than needed", "bits that protobuf drops"])
def test_other_ways_of_writing_the_same_graph_are_seen_through(tmp_path, high):
    entry = message(2, b"../secret.bin", 5) + message(1, b"x") + message(1, b"location")
    tensor = varint(13 << 3 | 2 | high, 5) + varint(len(entry)) + entry
    (tmp_path / "mpiqe.onnx").write_bytes(message(7, b"") + message(7, message(5, tensor)))
    model = onnx.ModelProto.FromString((tmp_path / "mpiqe.onnx").read_bytes()) if not high else None
    assert model is None or model.graph.initializer[0].external_data[0].value == "../secret.bin"
    with pytest.raises(WeightsError, match="no file of its folder"):
        check_external_data(tmp_path / "mpiqe.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"location", b"location\x3b", b"\x3a\x7flocation", b"\x3a\xff" * 9 + b"location", b"\x3d12location"],
)
def test_what_is_no_graph_is_damaged(tmp_path, content):
    (tmp_path / "mpiqe.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"mpiqe\.onnx cannot be loaded, damaged or incomplete"):
        check_external_data(tmp_path / "mpiqe.onnx")


def test_a_graph_in_a_graph_without_end_is_refused(tmp_path):
    content = message(13, message(1, b"location"))
    for _ in range(200):
        content = message(1, message(5, message(6, content)))
    (tmp_path / "mpiqe.onnx").write_bytes(message(7, content))
    with pytest.raises(WeightsError, match="more than 100 messages in each other"):
        check_external_data(tmp_path / "mpiqe.onnx")
