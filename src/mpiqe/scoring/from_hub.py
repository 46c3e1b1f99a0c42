"""What to download of a model on the hub: the exported graph where there is one, which needs no torch."""

from dataclasses import replace
from glob import escape
from pathlib import Path

from mpiqe.errors import WeightsError
from mpiqe.hub import HubId, fetch
from mpiqe.runtimes.graph import CARD, FILE_OF, read_card

CHECKPOINT = "mpiqe.safetensors"
"""As ``mpiqe.model.checkpoint.FILE_NAME``, which imports torch."""


def hub_weights(hub_id: HubId, *, wants_graph: bool, token: str | None = None, force: bool = False) -> Path:
    """Return what ``mpiqe.load`` takes of a model on the hub: the folder of its graph, or else its checkpoint file.

    Downloads no more than that. Without ``wants_graph`` it is the checkpoint. Raises as ``fetch`` does, and
    ``WeightsError`` for a repository that holds neither.
    """
    if wants_graph:
        folder = fetch(hub_id, [CARD], token=token, force=force)
        if (folder / CARD).is_file():
            at_commit = replace(hub_id, revision=folder.name)  # a branch may move on meanwhile
            names = {*FILE_OF.values(), *read_card(folder).digests}
            return fetch(at_commit, [CARD, *map(escape, sorted(names))], token=token, force=force)
    folder = fetch(hub_id, [CHECKPOINT, "backbone/*"], token=token, force=force)
    if not (folder / CHECKPOINT).is_file():
        lacking = f"no {CHECKPOINT}, and no {CARD}" if wants_graph else f"no {CHECKPOINT}"
        raise WeightsError(f"the hub's {str(hub_id)!r} holds {lacking}: it is no model of mpiqe's")
    return folder / CHECKPOINT
