"""CLIP or SigLIP on disk: find, check, read and write a folder in the hub's layout. With pretrain/teacher.py and
clip.py the only place that knows the transformers library.
"""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel
from transformers.utils import logging as transformers_logging

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_config import (
    INDEX,
    SIGLIP,
    WEIGHTS,
    check_parts,
    check_tokenizer,
    read_config_file,
    refusing,
    usable_config,
)
from mpiqe.model.conv_stem import ConvStem
from mpiqe.model.efficientnet import WHOLE_MAPS, EfficientNetStem
from mpiqe.model.efficientnet_shape import STRIDE, VARIANTS
from mpiqe.model.options import PAPERS_BACKBONE
from mpiqe.model.tensor_files import write_safetensors
from mpiqe.model.torch_weights import TORCH_WEIGHTS, kept_as_safetensors

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "weights"


class StemCLIPModel(CLIPModel):  # type: ignore[misc]
    """transformers' own way to load a model with one module exchanged."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        vision, embeddings = config.vision_config, self.vision_model.embeddings
        if hasattr(vision, "stem"):
            embeddings.patch_embedding = EfficientNetStem(
                vision.stem,
                width=vision.hidden_size,
                folded=getattr(vision, "stem_folded", False),
                pooled_stages=getattr(vision, "stem_pooled_stages", None),
                pooled_mirrored=getattr(vision, "stem_pooled_mirrored", False),
            )
        else:
            embeddings.patch_embedding = ConvStem(
                channels=vision.stem_channels, blocks=vision.stem_blocks, patch_size=vision.patch_size
            )


CLIPOrSigLIP: TypeAlias = CLIPModel | SiglipModel


def is_siglip(model: CLIPOrSigLIP) -> bool:
    """Whether a model is a SigLIP, of either version."""
    return bool(model.config.model_type == SIGLIP)


def read_clip(source: str | Path) -> tuple[CLIPOrSigLIP, Any]:
    """Model and tokenizer by hub id or from a folder; ``embedded`` is the compact one that comes with this package.

    Raises ``WeightsError`` that says what is wrong: no such folder, a missing file, no network, another kind of
    model, weights that do not fit the config.
    """
    name = os.fspath(source)
    if name == EMBEDDED:
        name = str(EMBEDDED_FOLDER / "backbone")
    config = _read_config(name)
    with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"), quiet():
        model, report = _kind(config).from_pretrained(
            _weights(name), config=config, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(
            name, config=config, trust_remote_code=False
        )  # it would read it again
        siglip = config.model_type == SIGLIP
        check_tokenizer(tokenizer, name=name, vocabulary=config.text_config.vocab_size, siglip=siglip)
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise WeightsError(
            f"the weights of the backbone {name!r} lack {len(lacking)} tensors that its config.json asks for, "
            f"{lacking[0]!r} among them; the file is damaged or belongs to another config"
        )
    return model, tokenizer


def write_untrained(
    folder: Path,
    *,
    vision: dict[str, Any],
    text: dict[str, Any],
    joint_width: int,
    seed: int,
    begin_with: Mapping[str, Tensor] | None = None,
) -> None:
    """Write config and random weights of a CLIP to ``folder``; the towers' shapes are in transformers' own words.

    ``begin_with``: weights by their names that take the place of random ones.
    """
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=joint_width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _kind(config)(config)
    if begin_with:
        model.load_state_dict({**model.state_dict(), **begin_with})
    config.save_pretrained(folder)
    write_safetensors(folder / "model.safetensors", model.state_dict(), {"format": "pt"})


def _weights(name: str) -> str:
    """The folder or hub id that offers the weights as safetensors; a copy of those that are a pickle alone."""
    folder = Path(name)
    if folder.is_dir():
        alone = not any(folder.glob("*.safetensors"))
        return str(kept_as_safetensors(folder / TORCH_WEIGHTS)) if alone else name
    if _on_hub(name, WEIGHTS) or _on_hub(name, INDEX):
        return name
    file = _on_hub(name, TORCH_WEIGHTS)
    return str(kept_as_safetensors(file)) if file else name  # of a name without either, loading says what is missing


def _on_hub(name: str, file: str) -> Path | None:
    """The local copy of a file of the hub's ``name``, downloaded if need be; ``None`` where it has none."""
    kept = try_to_load_from_cache(name, file)
    if isinstance(kept, str):
        return Path(kept)
    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:  # also of what is not in the cache while the hub is out of reach
        return None


def _kind(config: CLIPConfig | SiglipConfig) -> type[CLIPOrSigLIP]:
    vision = config.vision_config
    kind: type[CLIPOrSigLIP] = CLIPModel
    if config.model_type == SIGLIP:
        kind = SiglipModel
    elif hasattr(vision, "stem_channels") or hasattr(vision, "stem"):
        kind = StemCLIPModel
    return kind


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and notices off the terminal while a model loads."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what the library will change in itself
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _read_config(name: str) -> CLIPConfig | SiglipConfig:
    folder = Path(name)
    if folder.is_dir():
        _check_folder(folder)
    elif folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise WeightsError(f"no backbone folder {name!r}\n{_what_to_do(name)}")
    with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"):
        config = read_config_file(folder) if folder.is_dir() else CLIPConfig.get_config_dict(name)[0]
    config = check_parts(config, name=name)
    kind = config.get("model_type", "unknown")
    if kind == "siglip2":
        raise WeightsError(
            f"the backbone {name!r} is a SigLIP 2 of the NaFlex kind, whose crops have any shape; take one of a fixed "
            "size, such as google/siglip2-base-patch16-224"
        )
    if kind not in ("clip", SIGLIP):
        raise WeightsError(
            f"the backbone {name!r} is a {kind!r} model; MP-IQE needs a CLIP or a SigLIP (model_type 'clip' or "
            "'siglip', both towers) such as openai/clip-vit-base-patch16"
        )
    vision = config.get("vision_config") or config.get("vision_config_dict") or {}
    if isinstance(vision.get("layers"), list) or "resnet" in str(vision.get("model_type", "")):
        raise WeightsError(
            f"the backbone {name!r} has a ResNet image tower; deep visual prompts need the tokens of a ViT, "
            "such as openai/clip-vit-base-patch16"
        )
    channels, blocks = vision.get("stem_channels"), vision.get("stem_blocks")
    if channels is not None and len(blocks or ()) < len(channels):
        raise WeightsError(
            f"the backbone {name!r} has stem_channels {channels} but stem_blocks {blocks} in its config.json, where "
            "each stage needs a number; backbones that mpiqe 0.1 pretrained have to be pretrained anew"
        )
    stem, folded = vision.get("stem"), vision.get("stem_folded", False)
    pooled, mirrored = vision.get("stem_pooled_stages"), vision.get("stem_pooled_mirrored", False)
    side = vision.get("patch_size", 32)  # transformers 4 leaves out of config.json what is its default
    fits = stem in list(VARIANTS) and side == STRIDE and isinstance(folded, bool)
    fits = fits and pooled in (None, list(WHOLE_MAPS)) and isinstance(mirrored, bool)
    if "stem" in vision and not fits:
        raise WeightsError(
            f"the backbone {name!r} has the stem {stem!r}, patch_size {side!r}, stem_folded "
            f"{folded!r}, stem_pooled_stages {str(pooled)[:60]} and stem_pooled_mirrored {str(mirrored)[:60]} in its "
            f"config.json; stems are {', '.join(VARIANTS)}, with patch_size {STRIDE}, no stem_pooled_stages or "
            f"{list(WHOLE_MAPS)}, and stem_pooled_mirrored true or false"
        )
    usable = usable_config(config, name=name, folder=folder if folder.is_dir() else None)
    with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"):
        return (SiglipConfig if kind == SIGLIP else CLIPConfig).from_dict(usable)


def _check_folder(folder: Path) -> None:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(folder.glob("*.safetensors")) and not (folder / TORCH_WEIGHTS).is_file():
        missing.append("model.safetensors")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        missing.append("tokenizer.json (or vocab.json and merges.txt)")
    if missing:
        raise WeightsError(f"the backbone folder {folder} lacks {', '.join(missing)}\n{_what_to_do(str(folder))}")


def _what_to_do(name: str) -> str:
    hub_id = name if re.fullmatch(r"[\w-]+(/[\w.-]+)?", name) and not Path(name).exists() else PAPERS_BACKBONE
    return (
        f'What to do: on a machine with network, run `python -c "from transformers import AutoTokenizer as T, '
        f"AutoModel as M; M.from_pretrained('{hub_id}').save_pretrained('clip'); T.from_pretrained('{hub_id}')"
        ".save_pretrained('clip')\"`, which puts config.json, model.safetensors and the tokenizer's files of "
        f"https://huggingface.co/{hub_id} into the folder clip, and give that folder in place of the id. Or take "
        f"{EMBEDDED!r}, the compact backbone that comes with mpiqe."
    )
