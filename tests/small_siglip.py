"""A SigLIP of random weights, small enough for tests, with a tokenizer made here: Gemma's is not at hand."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from mpiqe.model.backbone_digest import PROMPTED
from mpiqe.model.liqe import texts

_MARKS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}  # in Gemma's order
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def small_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words in lower case alone, as SigLIP 2 learned them; padded to the right."""
    split = Whitespace()
    sentences = [*PROMPTED, *texts()]
    words = sorted({word.lower() for text in sentences for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: index for index, word in enumerate([*_MARKS.values(), *words])}
    model = Tokenizer(WordLevel(vocabulary, unk_token=_MARKS["unk_token"]))
    model.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=model, padding_side="right", model_max_length=64, **_MARKS)


def siglip_config(vision: dict[str, Any], text: dict[str, Any]) -> SiglipConfig:
    """Of the words of ``small_tokenizer``: how many there are is no part of a tower's shape."""
    return SiglipConfig(vision_config=vision, text_config={"vocab_size": len(small_tokenizer()), **text})


def write_siglip(folder: Path, *, seed: int = 0) -> Path:
    """Four by four patches of eight pixels, two layers, 64 channels; saved as the hub has it."""
    config = siglip_config({**SMALL, "image_size": 32, "patch_size": 8}, SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SiglipModel(config).eval()
        with torch.no_grad():
            model.logit_scale.fill_(4.7)  # about what SigLIP 2 ends with
            model.logit_bias.fill_(-16.0)
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder
