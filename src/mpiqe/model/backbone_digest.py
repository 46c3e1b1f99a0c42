"""Digest of everything that a frozen CLIP's output depends on.

Version 2 is ``2:WEIGHTS:SETTINGS``, two SHA-256. WEIGHTS is of names and values of all floating-point tensors. SETTINGS
is of all else that an answer depends on: heads, activations, epsilons and sizes that no tensor's shape tells, and the
token ids of the words that prompts are made of. It is taken of the values in use, not of the files' bytes, so that
another way to write the same settings down has the same digest. Version 1, of mpiqe 0.1, is WEIGHTS alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mpiqe.labels import DISTORTIONS, SCENES

PROMPTED = (*SCENES, *DISTORTIONS, "Good photo", "Bad photo", ".")
"""Every text that a prompt is made of."""
_PREFIX = "2:"


def written(text: str, siglip: bool) -> str:
    """``text`` as the tokenizer is given it: SigLIP learned lower case, which not every version's tokenizer sees to."""
    return text.lower() if siglip else text


_OF_A_TOWER = ("hidden_act", "layer_norm_eps", "num_attention_heads")
_OF_THE_IMAGE_TOWER = ("image_size", "patch_size")


def digest_of(
    weights: Mapping[str, Tensor], *, vision: Mapping[str, Any], text: Mapping[str, Any], tokens: Mapping[str, Any]
) -> str:
    """The digest, version 2, of tensors, the towers' configs, and the token ids of ``PROMPTED`` and both markers."""
    settings = {
        "vision": {name: vision[name] for name in (*_OF_A_TOWER, *_OF_THE_IMAGE_TOWER)},
        "stem": {name: value for name, value in vision.items() if name.startswith("stem")},
        "text": {name: text[name] for name in _OF_A_TOWER},
        "tokens": tokens,
    }
    written = json.dumps(settings, sort_keys=True, allow_nan=False)
    return f"{_PREFIX}{_of_weights(weights.items())}:{hashlib.sha256(written.encode()).hexdigest()}"


def same_backbone(before: str, now: str) -> bool:
    """Whether ``before``, of any version, is of the backbone that has the digest ``now``, by the rule of ``before``."""
    return before == (now if before.startswith(_PREFIX) else weights_digest(now))


def what_differs(before: str, now: str) -> tuple[str, str, str]:
    """``weights`` or ``settings``, and the first digits of both digests of that; where ``same_backbone`` says no."""
    parts = [digest.removeprefix(_PREFIX).partition(":") for digest in (before, now)]
    place = 0 if parts[0][0] != parts[1][0] else 2
    return "weights" if place == 0 else "settings", parts[0][place][:12], parts[1][place][:12]


def weights_digest(digest: str) -> str:
    """The part that is of the weights alone, which is version 1."""
    return digest.removeprefix(_PREFIX).partition(":")[0]


def _of_weights(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors, key=lambda entry: entry[0]):
        if not tensor.is_floating_point():
            continue
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
