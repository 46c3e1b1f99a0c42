import re
import subprocess
import sys

import pytest
from tests.experiments.made_runs import FULL, write_run

from mpiqe.cli.main import main


def run(capsys, *arguments):
    sys.argv = ["mpiqe", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny", "embedded"])
def test_a_model_is_exported_and_scores_as_before(capsys, tmp_path, monkeypatch, tiny_folder, model):
    monkeypatch.setattr(sys, "argv", [])
    weights = []
    if model == "tiny":
        weights = ["--weights", write_run(tmp_path / "run", (), tiny_folder, FULL)]
    status, printed = run(capsys, "export", tmp_path / "graph", *weights)
    assert status == 0
    assert re.search(r"graph: \d+\.\d MB\nfp32: at most \d\.\de[-+]0\d of the score's range", printed.out)
    assert {path.name for path in (tmp_path / "graph").iterdir()} == {"mpiqe.onnx", "mpiqe.json", "README.md"}
    rows = [
        run(capsys, "score", "examples/coffee.jpg", "--format", "csv", *more)[1].out.splitlines()[1]
        for more in (weights, ["--weights", tmp_path / "graph"])
    ]
    first, second = (row.split(",") for row in rows)
    assert first[0] == second[0] == "examples/coffee.jpg"
    assert float(first[1]) == pytest.approx(float(second[1]), abs=1e-3)
    assert first[3:5] == second[3:5]


HIDDEN = ("torch", "transformers", "tokenizers", "safetensors", "scipy", "skimage", "accelerate", "onnx", "onnxscript")
HIDDEN += ("openvino", "pyarrow", "fsspec", "ray", "matplotlib", "sklearn", "openpyxl", "xlrd", "huggingface_hub")


def light(*arguments):
    """The command in an install without any extra: the modules cannot be imported."""
    code = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r})); from mpiqe.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_the_light_install_scores_and_explains(tmp_path):
    done = light("score", "examples", "--format", "csv", "--explain", tmp_path / "looks")
    assert (done.returncode, done.stderr) == (0, "mpiqe: passed over: 6 .py, 1 .md, 1 .ipynb\n")
    assert len(done.stdout.splitlines()) == 21
    assert len(list((tmp_path / "looks").iterdir())) == 20


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "--data", "livec", "--root", "x", "--out", "y"], "train"),
        (["score", "examples", "--runtime", "openvino"], "openvino"),
        *(
            pytest.param(arguments, extra, marks=pytest.mark.slow)
            for arguments, extra in (
                (["evaluate", "x", "--data", "livec", "--root", "y"], "train"),
                (["score", "examples", "--runtime", "torch"], "train"),
                (["export", "x"], "train"),
                (["score", "examples", "--precision", "bf16"], "openvino"),
            )
        ),
    ],
)
def test_the_light_install_says_which_extra_a_command_needs(arguments, extra):
    done = light(*arguments)
    assert done.returncode == 2
    assert f"pip install 'mpiqe[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
