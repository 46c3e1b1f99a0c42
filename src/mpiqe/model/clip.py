"""CLIP with a ViT image tower, frozen; with teacher.py the only place that knows the transformers library.

Weights, tokens and file formats are transformers'; the two towers are run here, layer by layer, because prompts
enter between the layers. Only the names that CLIP's published weights carry are relied on, so that one code serves
many versions of that library.

Axes: B crops, N patches, W vision width, C prompts, L tokens, T text width, D joint width.
"""

import copy
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from transformers import AutoTokenizer, CLIPConfig, CLIPModel
from transformers.utils import logging as transformers_logging

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_config import check_parts, check_tokenizer, read_config_file, refusing, usable_config
from mpiqe.model.backbone_digest import PROMPTED, digest_of
from mpiqe.model.efficientnet import STRIDE, VARIANTS, EfficientNetStem
from mpiqe.model.files import write_safetensors
from mpiqe.model.options import PAPERS_BACKBONE

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "weights"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

PromptHook = Callable[[int], Tensor | None]


class Embedded(NamedTuple):
    """What the image tower's stem makes of B crops: all that is needed of them while the stem is frozen."""

    patches: Tensor
    """(B, N, W), before any layer and without positions."""
    pooled: Tensor | None
    """(B, F) in fp32, an ``EfficientNetStem``'s pooled features; ``None`` for other stems."""

    def pack(self) -> Tensor:
        """Both in one tensor (B, N W + F), as a cache keeps them."""
        flat = self.patches.flatten(1)
        return flat if self.pooled is None else torch.cat([flat, self.pooled.to(flat.dtype)], dim=1)


class ConvStem(nn.Module):
    """Convolutions in place of the patch embedding: (B, 3, S, S) -> (B, W, S / patch_size, S / patch_size).

    One stage per entry of ``channels``: a convolution that shrinks the map (the first by what is left of
    ``patch_size``, every other by two), then ``blocks`` residual 3 x 3 convolutions. Most of the work is done on small
    maps, where it costs arithmetic rather than memory traffic.

    A folder asks for it by ``"stem_channels": [...]`` and ``"stem_blocks": [...]`` in the ``vision_config`` of its
    ``config.json``; the last number of channels is the vision width.
    """

    def __init__(self, *, channels: list[int], blocks: list[int], patch_size: int) -> None:
        super().__init__()
        self.channels = list(channels)
        first = patch_size // 2 ** (len(channels) - 1)
        stages = []
        for index, (before, after) in enumerate(zip([3, *channels], channels, strict=False)):
            stride = 2 if index else first
            kernel = 3 if index else max(3, 2 * first - 1)
            layers: list[nn.Module] = [
                nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
            ]
            if index < len(channels) - 1:
                layers.append(nn.ReLU(inplace=True))
            stages.append(nn.Sequential(*layers, *(Residual(after) for _ in range(blocks[index]))))
        self.stages = nn.ModuleList(stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, W, grid, grid)."""
        return self.maps(pixels)[-1]

    def fuse(self) -> None:
        """Draw every normalisation into the convolution before it: the same function of eval mode in fewer steps."""
        for stage in self.stages:
            layers: nn.Sequential = stage  # type: ignore[assignment]
            layers[0], layers[1] = _fused(layers[0], layers[1]), nn.Identity()
            for block in layers:
                if isinstance(block, Residual):
                    block.conv, block.norm = _fused(block.conv, block.norm), nn.Identity()

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """What every stage makes of (B, 3, S, S), the largest map first."""
        features, found = pixels.contiguous(memory_format=torch.channels_last), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class Residual(nn.Module):
    """x + ReLU(BatchNorm(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return features + F.relu(self.norm(self.conv(features)))


def _fused(conv: Any, norm: Any) -> Any:
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    fused: Any = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding
    )
    fused.to(weight.device, memory_format=torch.channels_last)
    with torch.no_grad():
        fused.weight.copy_(weight)
        fused.bias.copy_(bias)
    return fused


Stem = (ConvStem, EfficientNetStem)


class StemCLIPModel(CLIPModel):  # type: ignore[misc]
    """transformers' own way to load a model with one module exchanged."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        vision, embeddings = config.vision_config, self.vision_model.embeddings
        if hasattr(vision, "stem"):
            embeddings.patch_embedding = EfficientNetStem(
                vision.stem, width=vision.hidden_size, folded=getattr(vision, "stem_folded", False)
            )
        else:
            embeddings.patch_embedding = ConvStem(
                channels=vision.stem_channels, blocks=vision.stem_blocks, patch_size=vision.patch_size
            )


class FrozenCLIP(nn.Module):
    """Both towers of a CLIP, without anything that a caller could train by mistake.

    The weights are held as buffers, not parameters: no optimiser sees them, ``requires_grad_(True)`` does not reach
    them, and they are no part of a checkpoint. The module is in eval mode whatever ``train()`` is told.
    ``thaw`` turns them back into parameters, for pretraining a backbone and for tuning all of it.
    """

    def __init__(self, *, model: CLIPModel, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.clip = model.float().eval()
        stem = self.clip.vision_model.embeddings.patch_embedding
        stem.to(memory_format=torch.channels_last)  # the quick layout for a convolutional stem on a CPU
        self.tokenizer = tokenizer
        self.name = name
        self.steady = False
        vision, text = model.config.vision_config, model.config.text_config
        self.image_size: int = vision.image_size
        self.grid: int = vision.image_size // vision.patch_size
        self.pooled_width: int = getattr(stem, "pooled_width", 0)
        self.vision_width: int = vision.hidden_size
        self.vision_layers: int = vision.num_hidden_layers
        self.text_width: int = text.hidden_size
        self.text_positions: int = text.max_position_embeddings
        self.joint_width: int = model.config.projection_dim
        self._vision_heads: int = vision.num_attention_heads
        self._text_heads: int = text.num_attention_heads
        mean = torch.tensor(getattr(stem, "pixel_mean", CLIP_MEAN))
        std = torch.tensor(getattr(stem, "pixel_std", CLIP_STD))
        self.register_buffer("_scale", (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer("_shift", (-mean / std).view(3, 1, 1), persistent=False)
        self._scale: Tensor
        self._shift: Tensor
        self.freeze()

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "FrozenCLIP":
        """Load a CLIP by hub id (``openai/clip-vit-base-patch16`` is the paper's) or from a folder in the hub's layout.

        ``embedded`` is the compact one that comes with this package.
        Raises ``WeightsError`` that says what is wrong: no such folder, a missing file, no network, another kind of
        model, weights that do not fit the config.
        """
        name = os.fspath(source)
        if name == EMBEDDED:
            name = str(EMBEDDED_FOLDER / "backbone")
        config = _read_config(name)
        with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"), quiet():
            model, report = _kind(config).from_pretrained(
                name, config=config, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(
                name, config=config, trust_remote_code=False
            )  # it would read it again
            check_tokenizer(tokenizer, name=name, vocabulary=config.text_config.vocab_size)
        lacking = sorted(report["missing_keys"])
        if lacking:
            raise WeightsError(
                f"the weights of the backbone {name!r} lack {len(lacking)} tensors that its config.json asks for, "
                f"{lacking[0]!r} among them; the file is damaged or belongs to another config"
            )
        return cls(model=model, tokenizer=tokenizer, name=os.fspath(source))

    @property
    def learnt_from(self) -> list[dict[str, Any]]:
        """What ``mpiqe pretrain`` taught it from, as its config.json says: ``data``, ``split``, ``whole`` of each set.

        Whoever measures with such a backbone has to know; one that was not taught here says nothing.
        """
        found = getattr(self.clip.config, "mpiqe_learnt_from", None)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def add_learnt_from(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Note further sets, to be kept by ``save``."""
        self.clip.config.mpiqe_learnt_from = [*self.learnt_from, *map(dict, entries)]

    def freeze(self) -> None:
        """Turn every parameter into a buffer."""
        for module in self.clip.modules():
            for key, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, key)
                module.register_buffer(key, parameter.detach(), persistent=False)
        self.steady = True
        self.clip.eval()

    def thaw(self, *, steady: bool = False) -> None:
        """Turn the frozen weights back into parameters, in train mode unless ``steady``.

        Train mode moves the running statistics of a convolutional stem: right for pretraining, not for a tuning on few
        photos.
        """
        for module in self.clip.modules():
            for key, buffer in list(module.named_buffers(recurse=False)):
                if key in module._non_persistent_buffers_set and buffer.is_floating_point():
                    delattr(module, key)
                    module.register_parameter(key, nn.Parameter(buffer.detach().clone()))
        self.steady = steady
        self.clip.train(not steady)

    def fuse(self) -> None:
        """Make scoring quicker: no train mode, no digest and no file will be asked of these weights any more."""
        stem = self.clip.vision_model.embeddings.patch_embedding
        if isinstance(stem, Stem):
            stem.fuse()
            self.freeze()

    def train(self, mode: bool = True) -> "FrozenCLIP":
        """Stay in eval mode while frozen or steady."""
        return super().train(mode and not self.steady)

    def digest(self) -> str:
        """Of what it computes, as ``backbone_digest`` says: weights, settings, token ids; the same in any format."""
        config = self.clip.config
        return digest_of(
            self.weights(),
            vision=config.vision_config.to_dict(),
            text=config.text_config.to_dict(),
            tokens={
                "start": self.start_token,
                "end": self.end_token,
                "ids": {text: self.tokens(text) for text in PROMPTED},
            },
        )

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the published file by their names there."""
        tensors = {**dict(self.clip.named_parameters()), **dict(self.clip.named_buffers())}
        return {key: tensor for key, tensor in tensors.items() if not key.endswith("position_ids")}

    @property
    def logit_scale(self) -> Tensor:
        """CLIP's own inverse temperature, a scalar: 100 for OpenAI's weights."""
        scale: Tensor = self.clip.logit_scale.exp()
        return scale

    def tokens(self, text: str) -> list[int]:
        """Token ids of ``text`` without the start and the end marker."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @property
    def start_token(self) -> int:
        """Id of [SOS]."""
        return int(self.tokenizer.bos_token_id)

    @property
    def end_token(self) -> int:
        """Id of [EOS]."""
        return int(self.tokenizer.eos_token_id)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """(..., L) token ids -> (..., L, T), without positions."""
        return F.embedding(ids, self.clip.text_model.embeddings.token_embedding.weight)

    def encode_text(self, embeddings: Tensor, last: Tensor) -> Tensor:
        """Token embeddings (C, L, T) and the place of each [EOS] (C,) -> features (C, D), not normalised.

        The tower is causal: what stands behind [EOS] changes nothing, so L may be cut to the longest prompt in use.
        """
        tower = self.clip.text_model
        states = embeddings + tower.embeddings.position_embedding.weight[: embeddings.shape[1]]
        for layer in tower.encoder.layers:
            states = _layer(layer, states, self._text_heads, causal=True)
        ends = states[torch.arange(len(last), device=last.device), last]
        features: Tensor = self.clip.text_projection(tower.final_layer_norm(ends))
        return features

    def preprocess(self, pixels: Tensor) -> Tensor:
        """uint8 RGB (B, 3, S, S) -> float, by CLIP's mean and deviation, or those that the stem was published with."""
        return pixels.to(self._scale.dtype) * self._scale + self._shift

    def encode_image(self, pixels: Tensor, prompts: PromptHook | None = None) -> tuple[Tensor, Tensor]:
        """Preprocessed pixels (B, 3, S, S) -> CLS (B, W), patches (B, N, W), after the final layernorm.

        ``prompts(layer)``: the tokens (P, W) that enter before a layer (counted from 0) in place of the ones before it,
        or ``None`` to keep those. What enters has to do so from the first layer on without a gap.
        """
        return self.encode_patches(self.embed(pixels).patches, prompts)

    def embed(self, pixels: Tensor) -> Embedded:
        """Preprocessed pixels (B, 3, S, S) -> patch embeddings and, of an EfficientNet stem, its pooled features."""
        maps, pooled = self.stem_maps(pixels)
        return Embedded(maps[-1].flatten(2).transpose(1, 2), pooled)

    def unpack(self, packed: Tensor) -> Embedded:
        """``Embedded.pack`` undone: (B, N W + F) in any floating-point type -> both parts, in fp32."""
        patches, pooled = packed.float().split([self.grid**2 * self.vision_width, self.pooled_width], dim=1)
        return Embedded(patches.view(len(packed), -1, self.vision_width), pooled if self.pooled_width else None)

    def stem_maps(self, pixels: Tensor, *, detach_tokens: bool = False) -> tuple[list[Tensor], Tensor | None]:
        """The patch embeddings as maps (B, C, side, side), after those of a convolutional stem's earlier stages.

        The second is ``Embedded.pooled``; ``detach_tokens`` is of an ``EfficientNetStem``.
        """
        stem = self.clip.vision_model.embeddings.patch_embedding
        if self.steady:
            stem.eval()  # its running statistics must stay, even if somebody put this very module in train mode
        if isinstance(stem, EfficientNetStem):
            return stem.maps_and_pooled(pixels, detach_tokens=detach_tokens)
        return (stem.maps(pixels) if isinstance(stem, ConvStem) else [stem(pixels)]), None

    def stem_sides(self) -> dict[int, int]:
        """Side of each map of ``stem_maps`` -> its channels."""
        stem = self.clip.vision_model.embeddings.patch_embedding
        channels = stem.channels if isinstance(stem, Stem) else [self.vision_width]
        return {self.grid * 2**halvings: width for halvings, width in enumerate(reversed(channels))}

    def encode_patches(self, patches: Tensor, prompts: PromptHook | None = None) -> tuple[Tensor, Tensor]:
        """The layers of the image tower: what ``encode_image`` does after ``embed``."""
        tower = self.clip.vision_model
        number = patches.shape[1]
        cls = tower.embeddings.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = torch.cat([cls, patches], dim=1) + tower.embeddings.position_embedding.weight
        tokens = tower.pre_layrnorm(tokens)
        last = len(tower.encoder.layers) - 1
        for index, layer in enumerate(tower.encoder.layers):
            entering = prompts(index) if prompts else None
            if entering is not None and index < last and prompts and prompts(index + 1) is None:  # none replace them
                staying = entering.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
                tokens = torch.cat([tokens[:, :1], staying, tokens[:, 1:]], dim=1)
                entering = None
            tokens = _layer(layer, tokens, self._vision_heads, causal=False, aside=entering)
        tokens = torch.cat([tokens[:, :1], tokens[:, -number:]], dim=1)
        tokens = tower.post_layernorm(tokens)
        return tokens[:, 0], tokens[:, 1:]

    def project(self, tokens: Tensor) -> Tensor:
        """CLIP's own projection of image tokens, (..., W) -> (..., D)."""
        projected: Tensor = self.clip.visual_projection(tokens)
        return projected

    def folded(self) -> "FrozenCLIP":
        """A copy whose stem has its normalisations folded into its convolutions, where they are of fixed statistics."""
        copied = copy.deepcopy(self)
        stem = copied.clip.vision_model.embeddings.patch_embedding
        if isinstance(stem, EfficientNetStem):
            stem.fuse()
            copied.clip.config.vision_config.stem_folded = True
        return copied

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write config, weights (safetensors, rounded to ``dtype``) and tokenizer as ``from_pretrained`` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in self.weights().items()
        }
        self.clip.config.save_pretrained(folder)
        write_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
        self.tokenizer.save_pretrained(folder)


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


def _kind(config: CLIPConfig) -> type[CLIPModel]:
    vision = config.vision_config
    return StemCLIPModel if hasattr(vision, "stem_channels") or hasattr(vision, "stem") else CLIPModel


def _layer(layer: nn.Module, states: Tensor, heads: int, *, causal: bool, aside: Tensor | None = None) -> Tensor:
    """One pre-norm transformer layer of either tower, (B, L, W) -> (B, L, W).

    ``aside``: tokens (P, W) that the others attend to and that are gone afterwards, as deep prompts are. What they
    themselves would become is left out, and their keys and values are computed once for the whole batch.
    """
    attention: Any = layer.self_attn
    batch, length, width = states.shape
    normed = layer.layer_norm1(states)  # type: ignore[operator]
    beside = None if aside is None else layer.layer_norm1(aside)  # type: ignore[operator]

    def split(projected: Tensor) -> Tensor:
        return projected.view(batch, -1, heads, width // heads).transpose(1, 2)

    def seen(projection: nn.Module) -> Tensor:
        projected: Tensor = projection(normed)
        if beside is not None:
            projected = torch.cat([projected, projection(beside).expand(batch, -1, -1)], dim=1)
        return split(projected)

    attended = F.scaled_dot_product_attention(
        split(attention.q_proj(normed)), seen(attention.k_proj), seen(attention.v_proj), is_causal=causal
    )
    states = states + attention.out_proj(attended.transpose(1, 2).reshape(batch, length, width))
    mixed: Tensor = states + layer.mlp(layer.layer_norm2(states))  # type: ignore[operator]
    return mixed


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


def _read_config(name: str) -> CLIPConfig:
    folder = Path(name)
    if folder.is_dir():
        _check_folder(folder)
    elif folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise WeightsError(f"no backbone folder {name!r}\n{_what_to_do(name)}")
    with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"):
        config = read_config_file(folder) if folder.is_dir() else CLIPConfig.get_config_dict(name)[0]
    config = check_parts(config, name=name)
    kind = config.get("model_type", "unknown")
    if kind != "clip":
        raise WeightsError(
            f"the backbone {name!r} is a {kind!r} model; MP-IQE needs a CLIP (model_type 'clip', both towers) "
            "such as openai/clip-vit-base-patch16"
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
    fits = stem in list(VARIANTS) and vision.get("patch_size") == STRIDE and isinstance(folded, bool)
    if "stem" in vision and not fits:
        raise WeightsError(
            f"the backbone {name!r} has the stem {stem!r}, patch_size {vision.get('patch_size')!r} and stem_folded "
            f"{folded!r} in its config.json; stems are {', '.join(VARIANTS)}, with patch_size {STRIDE}"
        )
    usable = usable_config(config, name=name, folder=folder if folder.is_dir() else None)
    with refusing(f"cannot load the backbone {name!r}", f"\n{_what_to_do(name)}"):
        return CLIPConfig.from_dict(usable)


def _check_folder(folder: Path) -> None:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(folder.glob("*.safetensors")):
        missing.append("model.safetensors")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        missing.append("tokenizer.json (or vocab.json and merges.txt)")
    if missing:
        raise WeightsError(f"the backbone folder {folder} lacks {', '.join(missing)}\n{_what_to_do(str(folder))}")


def _what_to_do(name: str) -> str:
    hub_id = name if re.fullmatch(r"[\w-]+(/[\w.-]+)?", name) and not Path(name).exists() else PAPERS_BACKBONE
    return (
        f'What to do: on a machine with network, run `python -c "from transformers import AutoTokenizer as T, '
        f"CLIPModel as C; C.from_pretrained('{hub_id}').save_pretrained('clip'); T.from_pretrained('{hub_id}')"
        ".save_pretrained('clip')\"`, which puts config.json, model.safetensors and the tokenizer's files of "
        f"https://huggingface.co/{hub_id} into the folder clip, and give that folder in place of the id. Or take "
        f"{EMBEDDED!r}, the compact backbone that comes with mpiqe."
    )
