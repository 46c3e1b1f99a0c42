"""save_pretrained: what is in the folder, what its card says, and that nothing of this machine is in it."""

import json
import shutil
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tests.conftest import PHOTOS
from tests.hub_server import Hub
from tests.publish.test_hub import WRITER, Session
from tests.tiny import TINY_OPTIONS

import mpiqe
from mpiqe.errors import ConfigError
from mpiqe.model.checkpoint import FILE_NAME, CheckpointConfig, read_config, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE
from mpiqe.publish.folder import save_pretrained, without_paths

FIGURES = {"srcc": 0.75, "plcc": 0.8, "plcc_fitted": 0.81, "krcc": 0.55, "rmse": None, "count": 233}


@pytest.fixture
def run(tmp_path: Path, tiny_model: MPIQE, tiny_folder: Path, tiny_clip: FrozenCLIP) -> Path:
    """A run's folder as training leaves it, with paths of this machine in its settings."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    config = CheckpointConfig(
        options=TINY_OPTIONS,
        backbone=str(tiny_folder),
        backbone_digest=tiny_clip.digest(),
        target_mean=50.0,
        target_std=10.0,
        dataset="livec",
        mos_low=3.5,
        mos_high=91.0,
        crops=3,
        split="LIQE's 1",
        training={
            "data": f"csv:{tmp_path}/secret/photos.csv",
            "root": str(tmp_path),
            "backbone": str(tiny_folder),
            "extra_data": [f"csv:{tmp_path}/secret/more.csv"],
            "epochs": 2,
            "seed": 0,
            "learning_rate": 5e-4,
            "batch_size": 64,
        },
        metrics={"test_srcc": 0.1},
    )
    save_checkpoint(folder / FILE_NAME, tiny_model, config)
    (folder / "test.json").write_text(json.dumps(FIGURES))
    return folder


@pytest.fixture
def saved(run: Path, tmp_path: Path) -> Path:
    return save_pretrained(run, tmp_path / "model", license="apache-2.0", name="user/model", graph=False)


def test_a_saved_model_scores_as_the_run_does_wherever_it_is_moved(
    run: Path, saved: Path, tmp_path: Path, rated_photos: Path
) -> None:
    photo = sorted(rated_photos.parent.glob(f"{PHOTOS[0]}*.png"))[0]
    expected = mpiqe.load(run)(photo)
    moved = saved.rename(tmp_path / "elsewhere")
    assert mpiqe.from_pretrained(str(moved))(photo) == expected
    assert mpiqe.load(moved).scale == mpiqe.load(run).scale


def test_no_path_of_this_machine_is_in_any_of_its_files(saved: Path, tmp_path: Path, tiny_folder: Path) -> None:
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {str(path.relative_to(saved)) for path in files} == {
        "README.md", "config.json", FILE_NAME, "backbone/config.json", "backbone/model.safetensors",
        "backbone/vocab.json", "backbone/merges.txt", "backbone/tokenizer_config.json",
    }  # fmt: skip
    for path in files:
        content = path.read_bytes()
        for secret in (str(tmp_path), str(tiny_folder.parent), "secret"):
            assert secret.encode() not in content, path
    config = read_config(saved / FILE_NAME)
    assert config.backbone == "backbone"
    assert config.training["data"] == "csv:photos.csv"
    assert config.training["extra_data"] == ["csv:more.csv"]
    values = json.loads((saved / "config.json").read_text())
    assert (values["library_name"], values["crops"], values["dataset"]) == ("mpiqe", 3, "livec")


@pytest.mark.parametrize("key", ["mpiqe_pretraining_data", "mpiqe_learnt_from"])
def test_the_backbone_names_its_pretraining_data_without_paths(
    run: Path, tiny_folder: Path, tmp_path: Path, key: str
) -> None:
    backbone = shutil.copytree(tiny_folder, tmp_path / "backbone")
    values = json.loads((backbone / "config.json").read_text())
    values[key] = [{"data": f"csv:{tmp_path}/secret/photos.csv", "split": 1, "train_on_all": False}]
    (backbone / "config.json").write_text(json.dumps(values))
    folder = save_pretrained(run, tmp_path / "model", license="mit", name="u/m", graph=False, backbone=backbone)
    written = json.loads((folder / "backbone" / "config.json").read_text())
    assert written[key] == [{"data": "csv:photos.csv", "split": 1, "train_on_all": False}]


def test_the_card_has_the_metadata_that_the_hub_reads_and_the_figures_of_the_run(saved: Path) -> None:
    data = ModelCard((saved / "README.md").read_text(encoding="utf-8")).data
    assert (data.library_name, data.license, data.model_name) == ("mpiqe", "apache-2.0", "model")
    assert data.datasets == ["livec", "more"]
    assert data.metrics == ["spearmanr", "pearsonr", "kendalltau"]
    found = {result.metric_name: result.metric_value for result in data.eval_results}
    assert found == {"SRCC": 0.75, "PLCC": 0.8, "PLCC after the logistic fit": 0.81, "KRCC": 0.55}
    (result, *_) = data.eval_results
    assert (result.dataset_type, result.dataset_split, result.dataset_config) == ("livec", "test", "split LIQE's 1")


def test_figures_are_those_of_the_checkpoint_without_a_test_file_and_none_of_a_model_that_saw_all(
    run: Path, tmp_path: Path, tiny_model: MPIQE
) -> None:
    (run / "test.json").unlink()
    card = save_pretrained(run, tmp_path / "a", license="mit", graph=False) / "README.md"
    assert [result.metric_value for result in ModelCard(card.read_text()).data.eval_results] == [0.1]
    config = read_config(run / FILE_NAME)
    save_checkpoint(run / FILE_NAME, tiny_model, replace(config, training={**config.training, "train_on_all": True}))
    card = save_pretrained(run, tmp_path / "b", license="mit", graph=False) / "README.md"
    assert ModelCard(card.read_text()).data.eval_results is None
    assert "no figures of test images" in card.read_text()


def test_a_folder_that_holds_something_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="is not empty"):
        save_pretrained(run, run, license="mit")


@pytest.mark.slow
def test_a_graph_comes_with_it_and_is_what_is_loaded(run: Path, tmp_path: Path, rated_photos: Path) -> None:
    photos = sorted(rated_photos.parent.glob("*.png"))[:2]
    saved = save_pretrained(run, tmp_path / "model", license="mit", photos=photos)
    assert {"mpiqe.onnx", "mpiqe.json", "GRAPH.md"} <= {path.name for path in saved.iterdir()}
    scorer, torch_scorer = mpiqe.load(saved), mpiqe.load(saved, runtime="torch")
    assert scorer.predictor.computes == "onnx fp32 cpu"
    assert torch_scorer.predictor.computes == "torch fp32 cpu"
    assert scorer(photos[0]).score == pytest.approx(torch_scorer(photos[0]).score, abs=1e-3 * 87.5)
    assert scorer.scale.model == torch_scorer.scale.model


@pytest.mark.slow
def test_an_upload_takes_away_the_graph_that_an_earlier_one_left(run: Path, tmp_path: Path) -> None:
    code = f"import mpiqe\nprint(mpiqe.push_to_hub({str(run)!r}, NAME, license='mit', graph=False, **OPTIONS))"
    with closing(Hub()) as hub:
        hub.repos["user/model"] = {"private": False, "commits": {}, "refs": {}}
        hub.commit("user/model", "main", {"mpiqe.onnx": b"stale", "mpiqe.json": b"{}", "notes.txt": b"kept"})
        session = Session(hub, tmp_path)
        commit = session.run(code, token=WRITER, python=sys.executable)[0]
        files = hub.files("user/model", commit)
        assert {"mpiqe.onnx", "mpiqe.json"} & set(files) == set()
        assert {"notes.txt", "README.md", FILE_NAME, "backbone/model.safetensors"} <= set(files)
        score = "import mpiqe\nprint(mpiqe.load(NAME).predictor.computes)"
        assert session.run(score, python=sys.executable)[0] == "torch fp32 cpu"


@pytest.mark.parametrize(
    ("value", "public"),
    [
        ("/home/me/a.csv", "a.csv"),
        ("csv:/home/me/a.csv", "csv:a.csv"),
        ("csv:data/a.csv", "csv:a.csv"),
        (r"C:\me\a.csv", "a.csv"),
        ("kadid", "kadid"),
        ("koniq:512x384=/home/me/k", "koniq:512x384=k"),
        ("livec=data/ChallengeDB_release", "livec=ChallengeDB_release"),
        ("csv:/home/me/a=b.csv", "csv:a=b.csv"),
        ({"a": ["x/y", 5, None, True]}, {"a": ["y", 5, None, True]}),
    ],
)
def test_paths_become_names(value: object, public: object) -> None:
    assert without_paths(value) == public
