"""Models on a hub: uploads and downloads by huggingface_hub itself, in processes of their own, against a small hub.

``MPIQE_HUB_PYTHON`` names the interpreter of those processes: another environment, with another huggingface_hub. What
they do needs no torch.
"""

import copy
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.hub_server import Hub

import mpiqe
from mpiqe.hub import HubId, parse_hub_id

SOURCE = Path(mpiqe.__file__).parents[1]
WEIGHTS = Path(mpiqe.__file__).parent / "weights"
PHOTO = str(SOURCE.parent / "examples" / "chelsea.jpg")
WRITER, OTHER = "writer-token", "another-token"
PYTHON = os.environ.get("MPIQE_HUB_PYTHON", sys.executable)
UPLOAD = f"""
from pathlib import Path
from mpiqe.publish.upload import upload
print(upload(Path({str(WEIGHTS)!r}), NAME, **OPTIONS))
"""
SCORE = f"""
import sys, mpiqe
print(mpiqe.from_pretrained(NAME, **OPTIONS)({PHOTO!r}).score)
print(sorted({{"torch", "transformers", "safetensors"}} & set(sys.modules)))
"""
FOLDERS = """
import mpiqe
for name in OPTIONS["names"]:
    print(mpiqe.load(name).predictor.folder.name)
"""
REFUSALS = """
import mpiqe
for name, options in OPTIONS["asked"]:
    try:
        mpiqe.from_pretrained(name, **options)
    except mpiqe.WeightsError as error:
        print("WeightsError:", *str(error).split())
"""


class Session:
    """Runs code in a new process that knows the hub alone, with a cache of its own."""

    def __init__(self, hub, cache):
        self.hub = hub
        self.cache = cache

    def run(self, code, name="user/model", check=True, environment=None, python=PYTHON, **options):
        done = subprocess.run(
            [python, "-c", f"NAME = {name!r}\nOPTIONS = {options!r}\n{code}"],
            capture_output=True, text=True, check=False, timeout=300, cwd=self.cache, env=self.environment(environment),
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout.split("\n")
        assert done.returncode != 0
        return done.stderr.strip().rpartition("\nmpiqe.errors.")[2]

    def environment(self, more=None):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE"))}
        own = {
            "PYTHONPATH": str(SOURCE), "HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_ETAG_TIMEOUT": "5", "NO_PROXY": "*",
        }  # fmt: skip
        return {**kept, **own, **(more or {})}


@pytest.fixture(scope="module")
def expected():
    return mpiqe.load()(PHOTO).score


@pytest.fixture
def session(tmp_path):
    with closing(Hub()) as hub:
        yield Session(hub, tmp_path)


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory):
    """A hub that one upload was made to, and the commit."""
    with closing(Hub()) as hub:
        commit = Session(hub, tmp_path_factory.mktemp("upload")).run(UPLOAD, token=WRITER)[0]
    return hub, commit


@pytest.fixture
def published(session, uploaded):
    """A hub of its own that holds what was uploaded."""
    hub, session.commit = uploaded
    session.hub.repos, session.hub.objects = copy.deepcopy(hub.repos), dict(hub.objects)
    return session


@pytest.mark.slow
def test_a_model_that_was_uploaded_scores_the_same_and_needs_no_torch(published, expected):
    score, light, _ = published.run(SCORE)
    assert float(score) == pytest.approx(expected, abs=1e-4)
    assert light == "[]"
    files = published.hub.files("user/model")
    assert {"mpiqe.onnx", "mpiqe.json", "mpiqe.safetensors", "backbone/model.safetensors"} <= set(files)
    assert files["mpiqe.onnx"] == (WEIGHTS / "mpiqe.onnx").read_bytes()
    loaded = published.run(f"import mpiqe\nprint(mpiqe.load(NAME)({PHOTO!r}).score)")[0]
    assert loaded == score


@pytest.mark.slow
def test_no_more_is_downloaded_than_the_graph_and_nothing_twice(published):
    published.hub.asked.clear()
    published.run(SCORE)
    got = {line.split()[1].rpartition("/")[2] for line in published.hub.asked if line.startswith("GET /user/")}
    assert got <= {"mpiqe.json", "mpiqe.onnx", "mpiqe.safetensors", "model.safetensors"}
    published.hub.asked.clear()
    published.run(SCORE)
    assert not [line for line in published.hub.asked if line.startswith("GET ") and "/api/" not in line]


@pytest.mark.slow
def test_a_revision_is_a_branch_a_tag_or_a_commit(published):
    second = published.run(UPLOAD, token=WRITER, revision="next")[0]
    assert second != published.commit
    published.run(f"from huggingface_hub import HfApi\nHfApi(token={WRITER!r}).create_tag(NAME, tag='v1.0')")
    names = ["user/model", "user/model@next", "user/model@v1.0", f"user/model@{second}"]
    first = published.commit
    assert published.run(FOLDERS, names=names)[:4] == [first, second, first, second]
    named = "import mpiqe\nprint(mpiqe.from_pretrained(NAME, **OPTIONS).predictor.folder.name)"
    assert published.run(named, revision="next")[0] == second
    assert "has no revision 'nothing'" in published.run(named, check=False, revision="nothing")


@pytest.mark.slow
def test_the_cache_of_datasets_tells_commits_apart_and_loads_the_one_that_it_names(published):
    where = "import mpiqe\nscorer = mpiqe.hf(NAME)\nprint(scorer.version, scorer.scorer.predictor.folder.name)"
    assert published.run(where)[0].split() == [published.commit] * 2
    second = published.hub.commit("user/model", "next", {**published.hub.files("user/model"), "notes.txt": b"new"})
    assert published.run(where, name="user/model@next")[0].split() == [second] * 2
    made = "import mpiqe\nprint(mpiqe.hf(NAME).version)"
    assert published.run(made, environment={"HF_HUB_OFFLINE": "1"})[0] == published.commit


@pytest.mark.slow
def test_a_private_model_takes_a_token(session, expected):
    session.run(UPLOAD, token=WRITER, private=True)
    asked = [("user/model", {}), ("user/model", {"token": OTHER}), ("user/nothing", {"token": WRITER})]
    nobody, another, nothing = session.run(REFUSALS, asked=asked)[:3]
    assert nobody.startswith("WeightsError: the hub has no model 'user/model', or it is private: give a token")
    assert another.startswith("WeightsError: ")
    assert "or it is private" in another
    assert "the hub has no model 'user/nothing'" in nothing
    assert float(session.run(SCORE, token=WRITER)[0]) == pytest.approx(expected, abs=1e-4)
    assert session.run(SCORE, environment={"HF_TOKEN": WRITER})


@pytest.mark.slow
def test_an_upload_without_a_token_that_may_write_is_refused(session):
    said = session.run(UPLOAD, check=False, token=OTHER)
    assert said.startswith("WeightsError: the hub did not take 'user/model'")
    assert "is there a token that may write" in said
    assert "give user/model" in session.run(UPLOAD, name="model", check=False)


@pytest.mark.slow
def test_a_download_that_was_cut_off_goes_on(published, expected):
    name = "backbone/model.safetensors"  # over the 10 MB that huggingface_hub writes at a time
    published.hub.cut.add(name)
    published.hub.asked.clear()
    assert float(published.run(SCORE)[0]) == pytest.approx(expected, abs=1e-4)
    first, second = (line for line in published.hub.asked if line.startswith("GET /cdn/") and name in line)
    assert "bytes=" not in first
    begun = int(second.rpartition("bytes=")[2].partition("-")[0])
    assert 10_000_000 < begun < (WEIGHTS / name).stat().st_size


@pytest.mark.parametrize("name", ["mpiqe.onnx", pytest.param("backbone/model.safetensors", marks=pytest.mark.slow)])
def test_a_file_of_the_wrong_digest_is_refused(published, expected, name):
    published.hub.damage.add(name)
    said = published.run(SCORE, check=False)
    assert said.startswith("WeightsError: ")
    assert f"{name} is not the file that its card says" in said
    published.hub.damage.clear()
    assert f"{name} is not the file" in published.run(SCORE, check=False)  # it is in the cache
    assert float(published.run(SCORE, force_download=True)[0]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_what_is_in_the_cache_is_loaded_offline(published):
    score = published.run(SCORE)[0]
    published.hub.asked.clear()
    assert published.run(SCORE, environment={"HF_HUB_OFFLINE": "1"})[0] == score
    assert published.hub.asked == []
    published.hub.close()
    assert published.run(SCORE)[0] == score
    said = published.run(SCORE, name="user/other", check=False, environment={"HF_HUB_OFFLINE": "1"})
    assert said.startswith("WeightsError: no folder or file 'user/other' here, and the hub did not give it")
    assert "download mpiqe.safetensors and backbone/" in said


@pytest.mark.slow
def test_a_repository_of_something_else_is_refused(session):
    session.hub.repos["user/other"] = {"private": False, "commits": {}, "refs": {}}
    session.hub.commit("user/other", "main", {"pytorch_model.bin": b"x"})
    assert "holds no mpiqe.safetensors, and no mpiqe.json" in session.run(SCORE, name="user/other", check=False)
    session.hub.commit(
        "user/other", "main", {"mpiqe.json": b'{"format": "mpiqe-graph-1", "digests": {"../../x": "y"}}'}
    )
    assert "cannot be used" in session.run(SCORE, name="user/other", check=False)


@pytest.mark.slow
def test_the_command_takes_a_model_of_the_hub(published, expected):
    done = subprocess.run(
        [PYTHON, "-m", "mpiqe", "score", PHOTO, "--weights", "user/model@main", "--format", "jsonl"],
        capture_output=True, text=True, check=False, env=published.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score"] == pytest.approx(expected, abs=1e-4)


def test_a_hub_id_is_told_from_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_hub_id("user/model") == HubId("user/model")
    assert parse_hub_id("user/my.model-1@v1.0") == HubId("user/my.model-1", "v1.0")
    assert str(HubId("user/model", "main")) == "user/model@main"
    for path in ("model", "./user/model", "/user/model", "a/b/c", "user/model.safetensors", "user/run.pt", "user/@v1"):
        assert parse_hub_id(path) is None, path
    (tmp_path / "user" / "model").mkdir(parents=True)
    assert parse_hub_id("user/model") is None
    assert parse_hub_id(tmp_path) is None
    with pytest.raises(mpiqe.ConfigError, match="a revision is of a model on the hub"):
        mpiqe.from_pretrained("./folder", revision="main")
