"""Backbones that offer safetensors, a pickle of tensors, or both; from a folder and from the hub's cache."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mpiqe.errors import WeightsError
from mpiqe.model import torch_weights
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.torch_weights import kept_as_safetensors

WAYS = ("safetensors", "bin", "both")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mpiqe" / "backbones"


def _saved(tiny_folder: Path, folder: Path, way: str) -> Path:
    shutil.copytree(tiny_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    if way != "safetensors":  # as transformers wrote it: with what it does not need any more
        more = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        torch.save({**tensors, **more}, folder / "pytorch_model.bin")
    if way == "bin":
        (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_each_kind_gives_the_same_backbone(
    tiny_folder: Path, tmp_path: Path, cache: Path, way: str
) -> None:
    folder = _saved(tiny_folder, tmp_path / "clip", way)
    assert FrozenCLIP.from_pretrained(folder).digest() == FrozenCLIP.from_pretrained(tiny_folder).digest()
    assert len(list(cache.glob("*/model.safetensors"))) == (way == "bin")


@pytest.mark.slow
def test_a_hub_id_of_each_kind_works_offline_from_the_hubs_cache(tiny_folder: Path, tmp_path: Path) -> None:
    home, revision = tmp_path / "hf", "0" * 40
    for way in WAYS:
        repository = home / "hub" / f"models--somebody--{way}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(revision)
        _saved(tiny_folder, repository / "snapshots" / revision, way)
    code = (
        "from mpiqe.model.clip import FrozenCLIP\n"
        f"for way in {WAYS}: print(way, FrozenCLIP.from_pretrained(f'somebody/{{way}}').digest())"
    )
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest = FrozenCLIP.from_pretrained(tiny_folder).digest()
    assert done.stdout.splitlines() == [f"{way} {digest}" for way in WAYS]


def test_it_is_converted_once_and_a_damaged_copy_is_made_anew(
    tiny_folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _saved(tiny_folder, tmp_path / "clip", "bin")
    FrozenCLIP.from_pretrained(folder)
    (kept,) = cache.glob("*/model.safetensors")
    content = kept.read_bytes()
    reads: list[Path] = []
    read = torch_weights.read_tensors
    monkeypatch.setattr(torch_weights, "read_tensors", lambda file: reads.append(file) or read(file))
    FrozenCLIP.from_pretrained(folder)
    assert reads == []
    kept.write_bytes(content[:-4] + b"\0\0\0\0")
    FrozenCLIP.from_pretrained(folder)
    assert len(reads) == 1
    assert kept.read_bytes() == content


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("kind", ["plain pickle", "torch's"])
def test_code_in_a_file_is_not_run(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pytorch_model.bin"
    if kind == "torch's":
        torch.save({"weight": torch.ones(2), "more": _Bomb()}, file)
    else:
        file.write_bytes(pickle.dumps({"weight": _Bomb()}))
    with pytest.raises(WeightsError, match="cannot be read as tensors alone"):
        kept_as_safetensors(file)
    assert not (tmp_path / "exploded").exists()
    assert not cache.exists()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([torch.ones(2)], "holds a list, no tensors by name"),
        ({"weight": "text"}, "weight is a str, no weights"),
        ({"weight": torch.ones(2, dtype=torch.int64)}, "weight is a tensor of torch.int64"),
        ({"weight": torch.ones(1).expand(10_000, 10_000)}, "but its tensors would take 400,000,000"),
    ],
)
def test_what_is_no_weights_is_refused(tmp_path: Path, values: object, complaint: str) -> None:
    torch.save(values, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=complaint):
        kept_as_safetensors(tmp_path / "pytorch_model.bin")


def test_a_torch_that_could_be_made_to_run_code_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(WeightsError, match=r"install torch 2\.6 or"):
        kept_as_safetensors(tmp_path / "pytorch_model.bin")
