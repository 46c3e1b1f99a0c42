"""``mpiqe.push_to_hub``: a trained model on the Hugging Face Hub, with plain calls of huggingface_hub."""

import re
import tempfile
from pathlib import Path
from typing import Any

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.extras import needing
from mpiqe.hub import HUB_NAME

_OURS = ("mpiqe.json", "mpiqe.onnx", "mpiqe.xml", "mpiqe.bin", "GRAPH.md", "backbone/*")
"""What an earlier upload may have left and this one may not have: a graph of other weights would be loaded for them."""


def push_to_hub(
    weights: str | Path,
    name: str,
    *,
    license: str,  # noqa: A002 # what the hub calls it
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload a model with mpiqe",
    **options: Any,
) -> str:
    """Upload a trained model to ``user/model`` on the hub and return the commit, which ``from_pretrained`` takes.

    ``weights``, ``license`` and ``options`` are those of ``save_pretrained``. The repository is made if it is not
    there, ``private`` or not; so is ``revision``, a branch. ``token``: one that may write; else that of ``HF_TOKEN`` or
    ``hf auth login``. All files are in one commit, which takes away what an earlier upload left.

    Raises as ``save_pretrained`` does, ``ConfigError`` for a name that is not ``user/model``, and ``WeightsError`` if
    the hub does not take it.
    """
    from mpiqe.publish.folder import save_pretrained

    _check_name(name)
    with tempfile.TemporaryDirectory(prefix="mpiqe-") as place:
        folder = save_pretrained(weights, Path(place) / "model", license=license, name=name, **options)
        return upload(folder, name, revision=revision, private=private, token=token, message=message)


def upload(
    folder: Path,
    name: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload a model with mpiqe",
) -> str:
    """Upload a folder that ``save_pretrained`` wrote; the rest as in ``push_to_hub``. Does not import torch."""
    _check_name(name)
    with needing("to upload a model"):
        from huggingface_hub import HfApi
    api = HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            delete_patterns=list(_OURS),
        )
    except Exception as error:  # whatever its network client raises
        first = (str(error).strip().splitlines() or [""])[0]
        raise WeightsError(
            f"the hub did not take {name!r} ({type(error).__name__}: {first[:300]}); is there a token that may write "
            "there (HF_TOKEN, `hf auth login`, or token=..)?"
        ) from error
    return str(commit.oid)


def _check_name(name: str) -> None:
    if not re.fullmatch(HUB_NAME, name):
        raise ConfigError(f"{name!r} is no name for a model on the hub; give user/model")
