"""A vision model of the transformers library as a teacher: its features of crops as maps on a student's grid.

Axes: B crops, S crop side in pixels, C teacher channels, g student grid.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, CLIPConfig
from transformers.utils import cached_file

from mpiqe.errors import WeightsError
from mpiqe.model.backbone_config import check_any_model, refusing
from mpiqe.model.clip import CLIP_MEAN, CLIP_STD
from mpiqe.model.clip_files import quiet
from mpiqe.parse import parse_json

_WANTED = (
    "give the hub id or the folder (config.json, model.safetensors) of a vision model that transformers' AutoModel "
    "knows"
)
PLAIN = (0.5, 0.5, 0.5)  # pixels in [-1, 1], where the model does not say


class Teacher:
    """A frozen vision model: CLIP, DINO, any ViT, or a convolutional network such as MobileNetV2.

    ``features`` gives its CLS (or pooled) feature and its patches; of a convolutional network also the earlier maps.
    """

    def __init__(
        self, model: Any, *, mean: tuple[float, ...], std: tuple[float, ...], name: str, pooled: bool = True
    ) -> None:
        """Without ``pooled`` the model's own pooling is ignored."""
        # A CLIP's image tower is what teaches; its text tower is left out.
        self.model = getattr(model, "vision_model", model).float().eval().requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)
        self.name, self.pooled = name, pooled
        self.side: int | None = _whole(getattr(self.model.config, "image_size", None))
        self.patch: int | None = _whole(getattr(self.model.config, "patch_size", None))
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    @classmethod
    def from_pretrained(cls, source: str) -> "Teacher":
        """Load by hub id or folder; pixels are normalised as the model's ``preprocessor_config.json`` says.

        Without that file CLIPs get CLIP's mean and deviation and others pixels in [-1, 1]. Raises ``WeightsError``.
        """
        with refusing(f"cannot load the teacher {source!r}", f"; {_WANTED}"), quiet():
            check_any_model(CLIPConfig.get_config_dict(source)[0], name=source)
            model, report = AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            clip = "clip" in str(getattr(model.config, "model_type", ""))
            found = cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
            said = parse_json(Path(found).read_text(encoding="utf-8")) if found else {}
        if not hasattr(model, "vision_model") and model.main_input_name != "pixel_values":
            raise WeightsError(f"the teacher {source!r} is a {model.config.model_type!r} model; {_WANTED}")
        lacking = set(report["missing_keys"])
        poolers = {key for key in lacking if "pooler." in key}  # a model that was not made for features has none
        if lacking - poolers:
            raise WeightsError(
                f"the weights of the teacher {source!r} lack {len(lacking - poolers)} tensors that its config.json "
                f"asks for, {min(lacking - poolers)!r} among them; the file is damaged or belongs to another config"
            )
        mean = tuple(said.get("image_mean") or (CLIP_MEAN if clip else PLAIN))
        std = tuple(said.get("image_std") or (CLIP_STD if clip else PLAIN))
        return cls(model, mean=mean, std=std, name=source, pooled=not poolers)

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self.model.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)

    @torch.inference_mode()
    def features(self, pixels: Tensor, *, grid: int, hints: tuple[int, ...] = ()) -> dict[str, Tensor]:
        """uint8 RGB crops (B, 3, S, S) -> ``cls`` (B, C), ``patches`` (B, C, g, g), averaged or repeated to the grid.

        ``hint<side>`` (B, C', side, side) is the deepest earlier map of each side asked for, where there is one.
        """
        values = (pixels.float() / 255 - self._mean) / self._std
        if self.side is not None and self.side != values.shape[-1]:
            values = F.interpolate(values, size=self.side, mode="bicubic", antialias=True)
        output = self.model(values.contiguous(memory_format=torch.channels_last), output_hidden_states=bool(hints))
        last: Tensor = output.last_hidden_state
        maps = last if last.ndim == 4 else self._as_map(last, values.shape[-1])
        pooled = getattr(output, "pooler_output", None) if self.pooled else None
        if pooled is None:
            pooled = maps.mean(dim=(2, 3)) if last.ndim == 4 else last[:, 0]
        found = {"cls": pooled.flatten(1).float(), "patches": F.adaptive_avg_pool2d(maps.float(), grid)}
        for side in hints:
            earlier = [state for state in output.hidden_states if state.ndim == 4 and state.shape[-1] == side]
            if earlier:
                found[f"hint{side}"] = earlier[-1].float()
        return found

    def _as_map(self, tokens: Tensor, side: int) -> Tensor:
        """(B, extra + n^2, C), the patches last, -> (B, C, n, n)."""
        extent = side // self.patch if self.patch else int((tokens.shape[1] - 1) ** 0.5)
        patches = tokens[:, -extent * extent :]
        return patches.transpose(1, 2).reshape(len(tokens), -1, extent, extent)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
