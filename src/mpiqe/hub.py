"""Models on the Hugging Face Hub: what names one, and its files in the local cache. Does not import torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mpiqe.errors import WeightsError
from mpiqe.extras import needing

HUB_NAME = r"[\w-][\w.-]*/[\w.-]+"
"""What a model on the hub may be called: user/model."""
_ID = re.compile(rf"({HUB_NAME}?)(?:@([\w./-]+))?")
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".pkl", ".ckpt")
_ATTEMPTS = 4  # each goes on where a download was cut off


@dataclass(frozen=True)
class HubId:
    """A model on the hub: ``user/model``, at a branch, tag or commit."""

    repo: str
    revision: str | None = None
    """``None`` is the main branch."""

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_hub_id(weights: object) -> HubId | None:
    """Return what ``user/model`` or ``user/model@revision`` names.

    ``None`` for a path that exists, and for what is no such id.
    """
    if not isinstance(weights, str) or Path(weights).exists():
        return None
    match = _ID.fullmatch(weights)
    if not match or weights.endswith(_FILES):
        return None
    return HubId(match[1], match[2])


def fetch(hub_id: HubId, patterns: Sequence[str], *, token: str | None = None, force: bool = False) -> Path:
    """Return the folder in the local cache with the files of a model that ``patterns`` match; its name is the commit.

    What is in the cache is not downloaded again, unless ``force``; a download that was cut off goes on. Without
    network, or with ``HF_HUB_OFFLINE=1``, what is in the cache is taken. ``token`` is for private models; else the one
    of ``HF_TOKEN`` or ``hf auth login``.

    Raises ``WeightsError`` if there is no such model or revision, or it may not be read, or the hub does not give it;
    ``ConfigError`` without the extra ``[hub]``.
    """
    with needing("to load a model from the hub"):
        from huggingface_hub import snapshot_download

        utils: Any = import_module("huggingface_hub.utils")  # where all versions of the range have their exceptions
    refusals = (utils.GatedRepoError, utils.RepositoryNotFoundError, utils.RevisionNotFoundError)
    for attempt in range(_ATTEMPTS):
        try:
            return Path(
                snapshot_download(
                    hub_id.repo,
                    revision=hub_id.revision,
                    allow_patterns=list(patterns),
                    token=token,
                    force_download=force and attempt == 0,
                )
            )
        except refusals as error:
            raise WeightsError(_refusal(hub_id, error, utils)) from error
        except (utils.LocalEntryNotFoundError, utils.HFValidationError) as error:
            raise _not_given(hub_id, error) from error
        except Exception as error:  # whatever its network client raises: a connection that broke, for one
            if attempt == _ATTEMPTS - 1:
                raise _not_given(hub_id, error) from error
    raise AssertionError("the last attempt returns or raises")


def _refusal(hub_id: HubId, error: Exception, utils: Any) -> str:
    if isinstance(error, utils.GatedRepoError):
        return f"the hub's {hub_id.repo!r} is gated: ask for access on its page, then log in with `hf auth login`"
    if isinstance(error, utils.RevisionNotFoundError):
        return f"the hub's {hub_id.repo!r} has no revision {hub_id.revision!r}"
    return (
        f"the hub has no model {hub_id.repo!r}, or it is private: give a token that may read it (HF_TOKEN, "
        "`hf auth login`, or token=..)"
    )


def _not_given(hub_id: HubId, error: Exception) -> WeightsError:
    return WeightsError(
        f"no folder or file {str(hub_id)!r} here, and the hub did not give it ({type(error).__name__}). On a machine "
        "with network, download mpiqe.safetensors and backbone/, or mpiqe.json and mpiqe.onnx, from "
        f"https://huggingface.co/{hub_id.repo} into a folder and give that folder."
    )
