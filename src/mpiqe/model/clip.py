"""CLIP or SigLIP with a ViT image tower, frozen: the backbone of every model here.

Weights, tokens and file formats are transformers' (``clip_files``); the two towers are run here, layer by layer,
because prompts enter between the layers. Only the names that CLIP's published weights carry are relied on, so that one
code serves many versions of that library. ``siglip`` has what differs in SigLIP.

Axes: B crops, N patches, W vision width, C prompts, L tokens, T text width, D joint width.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.model import siglip
from mpiqe.model.backbone import Embedded
from mpiqe.model.backbone_digest import PROMPTED, digest_of, written
from mpiqe.model.clip_files import CLIPOrSigLIP, is_siglip, read_clip
from mpiqe.model.conv_stem import ConvStem
from mpiqe.model.efficientnet import WHOLE_MAPS, EfficientNetStem
from mpiqe.model.layers import prompted_layers, transformer_layer
from mpiqe.model.lora import add_lora, has_lora, is_change, merge_lora, published_name
from mpiqe.model.pretraining_data import PRETRAINING_KEYS, pretraining_data
from mpiqe.model.tensor_files import write_safetensors

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class FrozenCLIP(nn.Module):
    """Both towers of a CLIP or a SigLIP, without anything that a caller could train by mistake.

    The weights are held as buffers, not parameters: no optimiser sees them, ``requires_grad_(True)`` does not reach
    them, and they are no part of a checkpoint. The module is in eval mode whatever ``train()`` is told.
    ``thaw`` turns them back into parameters, for pretraining a backbone and for tuning all of it.
    """

    def __init__(self, *, model: CLIPOrSigLIP, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.clip = model.float().eval()
        stem = self.clip.vision_model.embeddings.patch_embedding
        stem.to(memory_format=torch.channels_last)  # the quick layout for a convolutional stem on a CPU
        self.tokenizer = tokenizer
        self.name = name
        self.steady = False
        self.checkpointing = False
        """Whether the image tower's layers are computed again in the backward pass, which saves what they keep."""
        vision, text = model.config.vision_config, model.config.text_config
        self.image_size: int = vision.image_size
        self.grid: int = vision.image_size // vision.patch_size
        self.pooled_width: int = getattr(stem, "pooled_width", 0)
        self.vision_width: int = vision.hidden_size
        self.vision_layers: int = vision.num_hidden_layers
        self.text_width: int = text.hidden_size
        self.text_positions: int = text.max_position_embeddings
        self.siglip = is_siglip(model)
        self.joint_width: int = vision.hidden_size if self.siglip else model.config.projection_dim
        self._vision_heads: int = vision.num_attention_heads
        self._text_heads: int = text.num_attention_heads
        own = (siglip.MEAN_AND_STD, siglip.MEAN_AND_STD) if self.siglip else (CLIP_MEAN, CLIP_STD)
        mean = torch.tensor(getattr(stem, "pixel_mean", own[0]))
        std = torch.tensor(getattr(stem, "pixel_std", own[1]))
        self.register_buffer("_scale", (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer("_shift", (-mean / std).view(3, 1, 1), persistent=False)
        self._scale: Tensor
        self._shift: Tensor
        self.freeze()

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "FrozenCLIP":
        """Load a CLIP or SigLIP by hub id (``openai/clip-vit-base-patch16`` is the paper's) or from a folder like it.

        ``embedded`` is the compact one that comes with this package.
        Raises ``WeightsError`` that says what is wrong: no such folder, a missing file, no network, another kind of
        model, weights that do not fit the config.
        """
        model, tokenizer = read_clip(source)
        return cls(model=model, tokenizer=tokenizer, name=os.fspath(source))

    @property
    def pretraining_data(self) -> list[dict[str, Any]]:
        """The datasets of ``mpiqe pretrain``, as config.json has them; none for a backbone that was trained elsewhere.

        Each has ``data``, ``split`` and ``train_on_all``: results on a dataset that is listed here are too high.
        """
        return pretraining_data({key: getattr(self.clip.config, key, None) for key in PRETRAINING_KEYS})

    def add_pretraining_data(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add datasets, which ``save`` writes to config.json."""
        before = self.pretraining_data
        for key in PRETRAINING_KEYS:
            if hasattr(self.clip.config, key):
                delattr(self.clip.config, key)
        setattr(self.clip.config, PRETRAINING_KEYS[0], [*before, *map(dict, entries)])

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

    def add_lora(self, *, rank: int, alpha: float) -> None:
        """Put low-rank changes beside the weights of the image tower's layers: the only parameters of it."""
        add_lora(self.clip.vision_model.encoder, rank=rank, alpha=alpha)

    def merge_lora(self) -> None:
        """Add what LoRA has learned to the weights, as if there were none; nothing without LoRA."""
        merge_lora(self.clip.vision_model)

    @property
    def has_lora(self) -> bool:
        """Whether there are changes that were not merged."""
        return has_lora(self.clip.vision_model)

    def fuse(self) -> None:
        """Fuse layers for faster scoring; afterwards there is no train mode, digest or file of these weights."""
        self.merge_lora()
        stem = self.clip.vision_model.embeddings.patch_embedding
        if isinstance(stem, (ConvStem, EfficientNetStem)):
            stem.fuse()
            self.freeze()

    def train(self, mode: bool = True) -> "FrozenCLIP":
        """Stay in eval mode while frozen or steady."""
        return super().train(mode and not self.steady)

    def digest(self) -> str:
        """Digest of weights, settings and token ids (``backbone_digest``), whatever the file format."""
        config = self.clip.config
        return digest_of(
            self.weights(),
            vision=config.vision_config.to_dict(),
            text=config.text_config.to_dict(),
            tokens={
                **({"kind": "siglip", "padding": self.tokenizer.pad_token_id} if self.siglip else {}),
                "start": self.start_token,
                "end": self.end_token,
                "ids": {text: self.tokens(text) for text in PROMPTED},
            },
        )

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the published file by their names there; what LoRA has learned is none of them."""
        tensors = {**dict(self.clip.named_parameters()), **dict(self.clip.named_buffers())}
        return {
            published_name(key): tensor
            for key, tensor in tensors.items()
            if not key.endswith("position_ids") and not is_change(key)
        }

    @property
    def logit_scale(self) -> Tensor:
        """The backbone's own inverse temperature, a scalar: 100 for OpenAI's weights."""
        scale: Tensor = self.clip.logit_scale.exp().reshape(())  # SigLIP's has one entry
        return scale

    @property
    def logit_bias(self) -> Tensor:
        """What SigLIP adds to a cosine times ``logit_scale`` before a sigmoid, a scalar; 0 for a CLIP.

        A softmax over texts, which is all that the models here take, does not see it.
        """
        bias: Tensor = self.clip.logit_bias.reshape(()) if self.siglip else self.clip.logit_scale.new_zeros(())
        return bias

    def tokens(self, text: str) -> list[int]:
        """Token ids of ``text`` without the start and the end marker."""
        ids: list[int] = self.tokenizer(written(text, self.siglip), add_special_tokens=False)["input_ids"]
        return ids

    @property
    def start_token(self) -> int | None:
        """Id of [SOS]; SigLIP's texts have none."""
        return None if self.siglip else int(self.tokenizer.bos_token_id)

    @property
    def start_tokens(self) -> list[int]:
        """The ids that a text begins with: [SOS], or none."""
        return [] if self.start_token is None else [self.start_token]

    @property
    def end_token(self) -> int:
        """Id of [EOS]."""
        return int(self.tokenizer.eos_token_id)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """(..., L) token ids -> (..., L, T), without positions."""
        return F.embedding(ids, self.clip.text_model.embeddings.token_embedding.weight)

    def encode_text(self, embeddings: Tensor, last: Tensor) -> Tensor:
        """Token embeddings (C, L, T) and the place of each [EOS] (C,) -> features (C, D), not normalised.

        CLIP's tower is causal: what stands behind [EOS] changes nothing, so L may be cut to the longest prompt in use.
        For SigLIP it is replaced by padding.
        """
        tower = self.clip.text_model
        if self.siglip:
            padding = int(self.tokenizer.pad_token_id)
            return siglip.encode_text(tower, embeddings, last, padding=padding, heads=self._text_heads)
        states = embeddings + tower.embeddings.position_embedding.weight[: embeddings.shape[1]]
        for layer in tower.encoder.layers:
            states = transformer_layer(layer, states, self._text_heads, causal=True)
        ends = states[torch.arange(len(last), device=last.device), last]
        features: Tensor = self.clip.text_projection(tower.final_layer_norm(ends))
        return features

    def preprocess(self, pixels: Tensor) -> Tensor:
        """uint8 RGB (B, 3, S, S) -> float, by mean and deviation that the backbone or its stem was published with."""
        return pixels.to(self._scale.dtype) * self._scale + self._shift

    def encode_image(self, pixels: Tensor, prompts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Preprocessed pixels (B, 3, S, S) -> CLS (B, W), patches (B, N, W), after the final layernorm.

        ``prompts`` (depth, P, W): the tokens that enter before each of the first ``depth`` layers in place of the ones
        before it; those of the last of these layers stay.
        """
        return self.encode_patches(self.embed(pixels, pooled=False).patches, prompts)

    def embed(self, pixels: Tensor, *, pooled: bool = True) -> Embedded:
        """Preprocessed pixels (B, 3, S, S) -> patch embeddings and, of an EfficientNet stem, its pooled features.

        Without ``pooled`` these are left out, and with mirrored pooling half of the stem's work.
        """
        maps, features = self.stem_maps(pixels, pooled=pooled)
        return Embedded(maps[-1].flatten(2).transpose(1, 2), features)

    def split_embedded(self, packed: Tensor) -> Embedded:
        """``Embedded.joined`` undone: (B, N W + F) in any floating-point type -> both parts, in fp32."""
        patches, pooled = torch.split(packed.float(), [self.grid**2 * self.vision_width, self.pooled_width], dim=1)
        return Embedded(patches.view(len(packed), -1, self.vision_width), pooled if self.pooled_width else None)

    def stem_maps(
        self, pixels: Tensor, *, detach_tokens: bool = False, pooled: bool = True
    ) -> tuple[list[Tensor], Tensor | None]:
        """The patch embeddings as maps (B, C, side, side), after those of a convolutional stem's earlier stages.

        The second is ``Embedded.pooled``; ``detach_tokens`` and ``pooled`` are of an ``EfficientNetStem``.
        """
        stem = self.clip.vision_model.embeddings.patch_embedding
        if self.steady:
            stem.eval()  # its running statistics must stay, even if somebody put this very module in train mode
        if isinstance(stem, EfficientNetStem):
            return stem.maps_and_pooled(pixels, detach_tokens=detach_tokens, pooled=pooled)
        return (stem.maps(pixels) if isinstance(stem, ConvStem) else [stem(pixels)]), None

    def stem_sides(self) -> dict[int, int]:
        """Side of each map of ``stem_maps`` -> its channels."""
        stem = self.clip.vision_model.embeddings.patch_embedding
        channels = stem.channels if isinstance(stem, (ConvStem, EfficientNetStem)) else [self.vision_width]
        return {self.grid * 2**halvings: width for halvings, width in enumerate(reversed(channels))}

    def encode_patches(self, patches: Tensor, prompts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layers of the image tower; ``encode_image`` is ``embed``, then this. SigLIP's CLS is its pooled head."""
        tower = self.clip.vision_model
        how: dict[str, Any] = {"heads": self._vision_heads, "checkpointing": self.checkpointing}
        if self.siglip:
            return siglip.encode_patches(tower, patches, prompts, **how)
        cls = tower.embeddings.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = torch.cat([cls, patches], dim=1) + tower.embeddings.position_embedding.weight
        tokens = prompted_layers(tower.encoder.layers, tower.pre_layrnorm(tokens), prompts, leading=1, **how)
        tokens = tower.post_layernorm(tokens)
        return tokens[:, 0], tokens[:, 1:]

    def project(self, tokens: Tensor) -> Tensor:
        """The backbone's own projection of image tokens, (..., W) -> (..., D); SigLIP's are there already."""
        if self.siglip:
            return tokens
        projected: Tensor = self.clip.visual_projection(tokens)
        return projected

    def with_whole_maps(self) -> "FrozenCLIP":
        """A copy whose EfficientNet stem pools mean and deviation of ``WHOLE_MAPS``; others have none to pool."""
        copied = copy.deepcopy(self)
        stem = copied.clip.vision_model.embeddings.patch_embedding
        if isinstance(stem, EfficientNetStem):
            stem.pool_stages(WHOLE_MAPS)
            copied.clip.config.vision_config.stem_pooled_stages = list(WHOLE_MAPS)
        return FrozenCLIP(model=copied.clip, tokenizer=self.tokenizer, name=self.name)

    def with_mirrored_pooling(self, mirrored: bool = True) -> "FrozenCLIP":
        """A copy whose EfficientNet stem pools its features over a crop and its mirror image, at twice its work.

        Without ``mirrored`` over the crop alone. Raises ``ConfigError`` for a backbone without pooled features.
        """
        copied = copy.deepcopy(self)
        stem = copied.clip.vision_model.embeddings.patch_embedding
        if not isinstance(stem, EfficientNetStem):
            raise ConfigError(f"{self.name} has no pooled features: mirrored pooling is for an EfficientNet stem")
        stem.pooled_mirrored = mirrored
        vision = copied.clip.config.vision_config
        if mirrored:
            vision.stem_pooled_mirrored = True
        elif hasattr(vision, "stem_pooled_mirrored"):
            del vision.stem_pooled_mirrored
        return FrozenCLIP(model=copied.clip, tokenizer=self.tokenizer, name=self.name)

    def for_image_size(self, size: int) -> "FrozenCLIP":
        """A copy for crops of another side in pixels, a multiple of the patch's.

        The patches' position embeddings are interpolated (bicubic), as in FixRes (Touvron et al. 2019) and in
        transformers' ``interpolate_pos_encoding``. Raises ``ConfigError`` for a SigLIP, which has no position of CLS.
        """
        if self.siglip:
            raise ConfigError(f"{self.name} is a SigLIP: its image size stays {self.image_size}; leave image_size out")
        copied = copy.deepcopy(self)
        embeddings, vision = copied.clip.vision_model.embeddings, copied.clip.config.vision_config
        grid, table = size // vision.patch_size, embeddings.position_embedding.weight
        patches = table[1:].T.reshape(1, -1, self.grid, self.grid)
        resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
        positions = nn.Embedding(1 + grid**2, self.vision_width)
        with torch.no_grad():
            positions.weight.copy_(torch.cat([table[:1], resized[0].flatten(1).T]))
        embeddings.position_embedding = positions
        embeddings.register_buffer("position_ids", torch.arange(1 + grid**2)[None], persistent=False)
        embeddings.image_size, embeddings.num_patches, embeddings.num_positions = size, grid**2, 1 + grid**2
        vision.image_size = size
        return FrozenCLIP(model=copied.clip, tokenizer=self.tokenizer, name=self.name)

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
