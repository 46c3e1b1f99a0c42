"""Scorers that go to other processes: pickle, copies, pools; each runtime with the embedded model."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mpiqe
from mpiqe.scoring import scorer as scorer_module
from mpiqe.scoring.loading import embedded_folder

SCRIPT = """
import multiprocessing, sys
import mpiqe

if __name__ == "__main__":
    runtime, method, photo = sys.argv[1:]
    scorer = mpiqe.load(runtime=runtime, crops=2)
    scorer(photo)
    with multiprocessing.get_context(method).Pool(2) as pool:
        print(*map(float, [scorer(photo), *pool.map(scorer, [photo] * 3, chunksize=1)]))
"""


def photo():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "torch"])
def test_a_scorer_comes_back_from_a_pickle_as_what_to_load(runtime):
    scorer = mpiqe.load(runtime=runtime, crops=3, seed=7, workers=2, max_pixels=10**6)
    content = pickle.dumps(scorer)
    assert len(content) < 2000  # no weights and no session
    scorer_module._loaded_again.cache_clear()
    again = pickle.loads(content)  # noqa: S301
    assert again.predictor is not scorer.predictor
    assert again(photo()) == scorer(photo())
    options = ("crops", "seed", "workers", "max_pixels", "view", "crop_mode", "isolate", "read_timeout", "batch_size")
    assert [getattr(again, name) for name in options] == [getattr(scorer, name) for name in options]
    assert pickle.loads(content).predictor is again.predictor  # noqa: S301
    assert pickle.loads(pickle.dumps(again)).scale == scorer.scale  # noqa: S301


def test_a_deep_copy_has_options_of_its_own_and_the_same_model():
    scorer = mpiqe.load(runtime="onnx", crops=3)
    for copied in (copy.deepcopy(scorer), copy.copy(scorer), copy.deepcopy({"metric": scorer})["metric"]):
        assert copied is not scorer
        assert copied.predictor is scorer.predictor
        assert copied(photo()) == scorer(photo())
        copied.seed = 1
    assert scorer.seed == 0
    assert len(pickle.dumps(copy.deepcopy(scorer))) < 2000


def test_a_predictor_of_ones_own_is_copied_and_pickled_as_it_is(make_scorer):
    scorer = make_scorer()
    for copied in (copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):  # noqa: S301
        assert copied.predictor is not scorer.predictor
        assert copied(photo()) == scorer(photo())


def test_a_model_that_was_put_in_later_is_not_forgotten(brightness):
    scorer = mpiqe.load(runtime="onnx")
    scorer.predictor = brightness
    assert pickle.loads(pickle.dumps(scorer)).scale == brightness.scale  # noqa: S301
    assert copy.deepcopy(scorer).predictor is not brightness


def test_other_weights_where_a_pickle_is_read_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "exported"
    folder.mkdir()
    for file in embedded_folder().rglob("*"):
        if file.is_file():
            (folder / file.relative_to(embedded_folder())).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.relative_to(embedded_folder())).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    scorer = mpiqe.load("exported", runtime="onnx")
    content = pickle.dumps(scorer)
    monkeypatch.chdir("/")
    scorer_module._loaded_again.cache_clear()
    assert pickle.loads(content)(photo()) == scorer(photo())  # noqa: S301
    card = folder / "mpiqe.json"
    version = scorer.scale.model
    assert version in card.read_text()
    card.write_text(card.read_text().replace(version, "another 1"))
    scorer_module._loaded_again.cache_clear()
    with pytest.raises(mpiqe.WeightsError, match=f"made with the model '{version}'.*'another 1'"):
        pickle.loads(content)  # noqa: S301
    (folder / "mpiqe.onnx").unlink()
    with pytest.raises(mpiqe.WeightsError, match=r"mpiqe\.onnx"):
        pickle.loads(content)  # noqa: S301


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="fork")
@pytest.mark.parametrize("runtime", ["onnx", *(pytest.param(r, marks=pytest.mark.slow) for r in ("openvino", "torch"))])
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_pool_of_processes_scores(tmp_path, runtime, method):
    from PIL import Image

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    Image.fromarray(photo()).save(tmp_path / "a.png")
    command = [sys.executable, str(script), runtime, method, str(tmp_path / "a.png")]
    environment = {"PYTHONPATH": str(Path(mpiqe.__file__).parents[1]), "OMP_NUM_THREADS": "2", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    scores = [float(word) for word in done.stdout.split()]
    assert len(scores) == 4
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-3)
