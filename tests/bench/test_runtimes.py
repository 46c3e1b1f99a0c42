import pytest
from tests.tiny import TINY, TINY_OPTIONS

from mpiqe.bench.runtimes import Source, build
from mpiqe.errors import ConfigError
from mpiqe.model.untrained import create_untrained
from mpiqe.runtimes.export import export
from mpiqe.runtimes.quantize import to_int8

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return create_untrained(tmp_path_factory.mktemp("tiny"), TINY, options=TINY_OPTIONS)


@pytest.mark.slow
def test_an_exported_folder_is_measured_in_what_it_holds_and_the_rest_is_left_out(run, tmp_path):
    export(run, tmp_path / "vino", form="openvino")
    found, left_out = build(Source(tmp_path / "vino", folder=tmp_path), [])
    assert {subject.name for subject in found} <= {"openvino-fp32", "openvino-bf16"}
    assert found[0].bare is None
    assert left_out["onnx-fp32"].startswith("there is no mpiqe.onnx in ")
    assert left_out["onnx-int8"].startswith("there is no mpiqe.onnx in ")
    assert left_out["torch-fp32"] == "torch does not run exported graphs"
    with pytest.raises(ConfigError, match=r"onnx-fp32 cannot be measured here: there is no mpiqe\.onnx"):
        build(Source(tmp_path / "vino", folder=tmp_path), ["onnx-fp32"])


@pytest.mark.slow
def test_weights_of_eight_bits_are_measured_as_such_alone(run, tmp_path):
    export(run, tmp_path / "graph")
    eight = to_int8(tmp_path / "graph", tmp_path / "eight")
    found, left_out = build(Source(eight, folder=tmp_path), [])
    assert [subject.name for subject in found] == ["onnx-int8"]
    assert {left_out[name] for name in ("onnx-fp32", "openvino-fp32", "openvino-bf16")} == {
        "these weights were exported in int8"
    }
