"""What needs pandas and polars alone of the foreign packages; examples/pipelines/ has a script for each of them."""

import copy
import pickle
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mpiqe
from mpiqe.errors import ConfigError
from mpiqe.pipelines.columns import RESULTS, TEXTS, ColumnScorer, as_source

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [EXAMPLES / name for name in ("coffee.jpg", "coffee-blur.jpg", "rocket-noise.jpg")]


@pytest.fixture(scope="module")
def scorer() -> mpiqe.Scorer:
    return mpiqe.load()


@pytest.fixture(scope="module")
def expected(scorer: mpiqe.Scorer) -> list[float]:
    return [score.score for score in scorer(FILES)]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    (tmp_path / "damaged.jpg").write_bytes(FILES[0].read_bytes()[:2000])
    return tmp_path / "damaged.jpg"


@pytest.mark.slow
def test_images_in_every_form_of_a_pipeline_have_the_scorers_scores(expected: list[float]) -> None:
    score = mpiqe.hf()
    images = [Image.open(file).convert("RGB") for file in FILES]
    contents = [file.read_bytes() for file in FILES]
    forms = {
        "decoded": images,
        "bytes": [{"bytes": content, "path": None} for content in contents],
        "paths in objects": [{"bytes": None, "path": str(file)} for file in FILES],
        "paths": [str(file) for file in FILES],
        "contents": contents,
        "arrays": [np.asarray(image) for image in images],
    }
    for form, column in forms.items():
        made = score({"image": column})
        assert made["score"] == pytest.approx(expected, abs=1e-4), form
        assert made["error"] == ["", "", ""]
        assert tuple(made) == RESULTS


def test_a_grey_array_scores_as_the_same_photo_in_colours(scorer: mpiqe.Scorer) -> None:
    grey = np.asarray(Image.open(FILES[0]).convert("L"))
    in_colours = np.stack([grey] * 3, axis=-1)
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(as_source(array), in_colours)


def test_a_damaged_and_a_missing_image_cost_their_own_rows(damaged: Path, expected: list[float]) -> None:
    made = mpiqe.hf()({"image": [str(FILES[0]), str(damaged), None, str(FILES[1])]})
    assert [made["score"][0], made["score"][3]] == pytest.approx(expected[:2], abs=1e-4)
    assert np.isnan(made["score"][1:3]).all()
    assert made["scene"][1:3] == ["", ""]
    assert "damaged" in made["error"][1]
    assert made["error"][2] == "there is no image"


def test_each_cell_has_one_row_whatever_it_names(tmp_path: Path, expected: list[float]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in FILES[:2]:
        (folder / file.name).write_bytes(file.read_bytes())
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(FILES[0], "a.jpg")
        archive.write(FILES[1], "b.jpg")
    (tmp_path / "list.txt").write_text("\n".join(map(str, FILES)))
    (tmp_path / "empty").mkdir()
    severals = [folder, tmp_path / "empty", f"{folder}/*.jpg", tmp_path / "photos.zip", f"@{tmp_path}/list.txt"]
    made = mpiqe.hf()({"image": [*severals, "-", "", str(FILES[2])]})
    assert made["score"][-1] == pytest.approx(expected[2], abs=1e-4)
    assert np.isnan(made["score"][:-1]).all()
    assert all(made["error"][:-1])


def test_an_address_in_a_cell_leads_into_no_private_network_but_to_an_allowed_host(expected: list[float]) -> None:
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(FILES[0].read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}/x.jpg"
        try:
            made = mpiqe.hf()({"image": [address, {"bytes": None, "path": address}]})
            refused = list(asked)
            frame = mpiqe.score_frame(pd.DataFrame({"path": [address]}), allow_host=["127.0.0.0/8"])
        finally:
            server.shutdown()
    assert refused == []
    assert np.isnan(made["score"]).all()
    assert all("127.0.0.1" in error for error in made["error"]), made["error"]
    assert asked == ["/x.jpg"]
    assert frame["score"].tolist() == pytest.approx(expected[:1], abs=1e-4)
    with pytest.raises(ConfigError, match="--allow-host takes a host"):
        mpiqe.hf(allow_host=["a b"])


def test_a_scorer_is_sent_to_a_process_without_its_model(expected: list[float]) -> None:
    score = mpiqe.hf(seed=3)
    score({"image": [str(FILES[0])]})
    assert "scorer" in vars(score)
    sent = copy.copy(score)  # by way of __getstate__, as pickle does
    assert "scorer" not in vars(sent)
    assert sent.version == mpiqe.load().scale.model
    assert sent({"image": [str(FILES[0])]})["score"] == pytest.approx(expected[:1], abs=1e-4)


def test_a_model_that_was_retrained_in_its_place_is_another_for_caches(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / "mpiqe.safetensors").write_bytes(b"first")
    before = [pickle.dumps(mpiqe.hf(weights)) for weights in (run, run / "mpiqe.safetensors")]
    assert before == [pickle.dumps(mpiqe.hf(weights)) for weights in (run, run / "mpiqe.safetensors")]
    (run / "mpiqe.safetensors").write_bytes(b"again")
    after = [pickle.dumps(mpiqe.hf(weights)) for weights in (run, run / "mpiqe.safetensors")]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_a_pandas_frame_gets_the_columns_and_keeps_its_index(damaged: Path, expected: list[float]) -> None:
    frame = pd.DataFrame({"path": [*map(str, FILES), str(damaged), None]}, index=list("abcde"))
    scored = mpiqe.score_frame(frame)
    assert list(scored.columns) == ["path", *RESULTS]
    assert list(scored.index) == list("abcde")
    assert scored["score"][:3].tolist() == pytest.approx(expected, abs=1e-4)
    assert scored["score"].isna().tolist() == [False] * 3 + [True] * 2
    assert list(frame.columns) == ["path"]


def test_a_polars_frame_gets_the_same_columns_with_their_types(damaged: Path, expected: list[float]) -> None:
    polars = pytest.importorskip("polars", reason="needs polars: pip install -e '.[test]'")
    frame = polars.DataFrame({"path": [*map(str, FILES), str(damaged), None]})
    scored = mpiqe.score_frame(frame, prefix="q_")
    assert scored.columns == ["path", *(f"q_{name}" for name in RESULTS)]
    assert scored["q_score"][:3].to_list() == pytest.approx(expected, abs=1e-4)
    assert scored["q_score"].is_null().to_list() == [False] * 3 + [True] * 2
    for name in RESULTS:
        assert scored[f"q_{name}"].dtype == (polars.String if name in TEXTS else polars.Float64)
    assert frame.columns == ["path"]


def test_frames_that_do_not_fit_are_refused_with_the_reason() -> None:
    frame = pd.DataFrame({"path": [], "score": []})
    with pytest.raises(ConfigError, match="no column 'image'"):
        mpiqe.score_frame(frame, "image")
    with pytest.raises(ConfigError, match="give a prefix"):
        mpiqe.score_frame(frame)
    assert "q_score" in mpiqe.score_frame(frame, prefix="q_").columns
    with pytest.raises(ConfigError, match="DataFrame of pandas or polars"):
        mpiqe.score_frame({"path": []})


def test_a_batch_of_ray_has_the_same_types_whether_or_not_its_photos_can_be_read(damaged: Path) -> None:
    score = mpiqe.RayScorer(column="path")
    good = score({"path": np.array([str(FILES[0])])})
    bad = score({"path": np.array([str(damaged)])})
    for name in RESULTS:
        assert good[name].dtype.kind == bad[name].dtype.kind == ("U" if name in TEXTS else "f")
    assert np.isnan(bad["score"][0])
    assert "damaged" in bad["error"][0]


@pytest.mark.slow
def test_samples_of_webdataset_pass_with_scores_or_are_left_out(damaged: Path, expected: list[float]) -> None:
    samples = [{"__key__": file.stem, "jpg": file.read_bytes()} for file in (*FILES, damaged)]
    passed = list(mpiqe.webdataset(chunk=3)(iter(samples)))
    assert [sample["__key__"] for sample in passed] == [sample["__key__"] for sample in samples]
    assert [sample["score"] for sample in passed[:3]] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(passed[3]["score"])
    assert not any(value is None for sample in passed for value in sample.values())  # ``decode`` refuses None
    limit = (min(expected) + max(expected)) / 2
    kept = [sample["__key__"] for sample in mpiqe.webdataset(min_score=limit)(iter(samples))]
    assert kept == [file.stem for file, score in zip(FILES, expected, strict=True) if score >= limit]


def test_webdataset_reads_no_further_than_a_chunk_ahead() -> None:
    taken = []

    def samples():
        for number in range(1000):
            taken.append(number)
            yield {"jpg": FILES[0].read_bytes()}

    next(mpiqe.webdataset(chunk=2)(samples()))
    assert len(taken) == 2


def test_a_prefix_begins_every_new_name() -> None:
    assert ColumnScorer(prefix="q_").names == [f"q_{name}" for name in RESULTS]
    with pytest.raises(ConfigError, match="prefix"):
        ColumnScorer(prefix=3)
