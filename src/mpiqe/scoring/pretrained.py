"""``mpiqe.from_pretrained``: a scorer by the name of a model on the Hugging Face Hub."""

from dataclasses import replace
from typing import Any

from mpiqe.errors import ConfigError
from mpiqe.hub import parse_hub_id
from mpiqe.scoring.from_hub import hub_weights
from mpiqe.scoring.loading import load, prefers_graph
from mpiqe.scoring.scorer import Scorer


def from_pretrained(
    name: str, *, revision: str | None = None, token: str | None = None, force_download: bool = False, **options: Any
) -> Scorer:
    """A ``Scorer`` with a model from the Hugging Face Hub, or from a folder that ``save_pretrained`` wrote.

    ``name``: ``user/model``, or the folder. ``revision``: a branch, tag or commit; the main branch if not given.
    ``token``: for a private model; else that of ``HF_TOKEN`` or ``hf auth login``. ``force_download`` downloads again
    what is in the cache. ``options`` are those of ``mpiqe.load``.

    Raises ``WeightsError`` if the hub does not give it, or for files that are damaged, and as ``mpiqe.load`` does.
    """
    hub_id = parse_hub_id(name)
    if hub_id is None:
        if revision is not None:
            raise ConfigError(f"a revision is of a model on the hub, user/model; {name!r} is a folder or no such name")
        return load(name, **options)
    if revision is not None:
        hub_id = replace(hub_id, revision=revision)
    kept = ("runtime", "device", "precision", "backbone")
    wants_graph = prefers_graph(**{key: options[key] for key in kept if key in options})
    return load(hub_weights(hub_id, wants_graph=wants_graph, token=token, force=force_download), **options)
