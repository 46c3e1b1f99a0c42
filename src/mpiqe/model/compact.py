"""A small CLIP to be taught from photos: convolutional stem, few layers, a vocabulary of the words that labels use.

The folder that ``create_compact`` writes is in transformers' CLIP format; ``FrozenCLIP.from_pretrained`` reads it like
any other.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from mpiqe.model.clip_files import write_untrained
from mpiqe.model.efficientnet import WHOLE_MAPS, published_weights

START, END = "<|startoftext|>", "<|endoftext|>"
POSITIONS = 77  # CLIP's
STEM_NETWORK = "vision_model.embeddings.patch_embedding.network"
"""Where the published weights stand among a model's."""


@dataclass(frozen=True)
class CompactOptions:
    """Shape of a compact CLIP. Without ``stem`` and ``stem_channels`` it has CLIP's own patch embedding."""

    stem: str = ""
    """One of ``efficientnet.VARIANTS``, in place of a stem by channels; begins with its published weights."""

    stem_channels: tuple[int, ...] = (48, 96, 192, 192)
    stem_blocks: tuple[int, ...] = (0, 1, 2, 0)
    patch_size: int = 32
    vision_width: int = 192
    vision_layers: int = 6
    text_width: int = 128
    text_layers: int = 3
    joint_width: int = 192
    image_size: int = 224
    activation: str = "gelu"
    """Between the two halves of each layer's MLP; OpenAI's CLIPs have "quick_gelu"."""


def create_compact(folder: Path, *, words: Iterable[str], options: CompactOptions, seed: int = 0) -> None:
    """Write an untrained compact CLIP to ``folder``; every one of ``words`` becomes one token."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder, words)
    write_untrained(
        folder,
        vision={
            "hidden_size": options.vision_width,
            "intermediate_size": 4 * options.vision_width,
            "num_hidden_layers": options.vision_layers,
            "num_attention_heads": max(1, options.vision_width // 64),
            "patch_size": options.patch_size,
            "image_size": options.image_size,
            "hidden_act": options.activation,
            **_stem(options),
        },
        text={
            "hidden_size": options.text_width,
            "intermediate_size": 4 * options.text_width,
            "num_hidden_layers": options.text_layers,
            "num_attention_heads": max(1, options.text_width // 64),
            "vocab_size": len(vocabulary),
            "max_position_embeddings": POSITIONS,
            "bos_token_id": vocabulary[START],
            "eos_token_id": vocabulary[END],
            "pad_token_id": vocabulary[END],
            "hidden_act": options.activation,
        },
        joint_width=options.joint_width,
        seed=seed,
        begin_with={f"{STEM_NETWORK}.{key}": tensor for key, tensor in published_weights(options.stem).items()}
        if options.stem
        else {},
    )


def _stem(options: CompactOptions) -> dict[str, object]:
    if options.stem:
        return {"stem": options.stem, "stem_pooled_stages": list(WHOLE_MAPS)}
    if options.stem_channels:
        return {"stem_channels": list(options.stem_channels), "stem_blocks": list(options.stem_blocks)}
    return {}


def _write_tokenizer(folder: Path, words: Iterable[str]) -> dict[str, int]:
    """CLIP's byte-level BPE with merges for ``words`` alone; other text falls apart into bytes."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = _learn_merges(words)
    entries = [*alphabet, *(letter + "</w>" for letter in alphabet), *(a + b for a, b in merges), START, END]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": POSITIONS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return vocabulary


def _learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first (ties in alphabetical order), until every word is one token."""
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        most = max(pairs.values())
        best = min(pair for pair, count in pairs.items() if count == most)
        merges.append(best)
        pieces = [_merge(word, best) for word in pieces]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
