"""The torch side of measuring: a checkpoint as a predictor, as the plain model, and its bare image tower.

The bare tower is CLIP alone, without prompts, decoder or text: what a scorer can be at best. It takes the crops that a
predictor takes and ends with the tokens after the final layernorm. Nobody looks at them: only the time counts.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from mpiqe.bench import flops
from mpiqe.bench.plain import PlainMPIQE
from mpiqe.bench.signatures import Float, Look
from mpiqe.errors import ConfigError
from mpiqe.images import Pixels
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE, linear_layers
from mpiqe.runtimes.export import quiet_exporter
from mpiqe.runtimes.torch import TorchPredictor
from mpiqe.training.device import computes_in_bf16


class BareTower(nn.Module):
    """Crops to tokens."""

    def __init__(self, clip: FrozenCLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """RGB (N, S, S, 3) uint8 -> CLS (N, W) and patches (N, P, W)."""
        return self.clip.encode_image(self.clip.preprocess(crops.permute(0, 3, 1, 2)))


class Eager:
    """The MP-IQE of ``source`` on the CPU.

    Raises ``WeightsError`` for weights that cannot be read, ``ConfigError`` for a model of another method.
    """

    def __init__(self, source: str | Path) -> None:
        model, self._config = load_checkpoint(source)
        if not isinstance(model, MPIQE):
            raise ConfigError(f"{source} is a {self._config.options.method} model; mpiqe bench measures mp-iqe alone")
        self.shape = shape_of(model)
        self._model = model
        model.clip.fuse()

    @property
    def crops(self) -> int:
        """Crops per photo that it was trained with."""
        return self._config.crops

    @property
    def computes_in_bf16(self) -> bool:
        """Whether the processor does so in hardware."""
        return computes_in_bf16(cpu=True)

    def predictor(self, precision: Float) -> TorchPredictor:
        """The package's own model in eager mode."""
        return TorchPredictor(model=self._model, config=self._config, device="cpu", precision=precision)

    def bare(self, precision: Float) -> Look:
        """Its tower alone."""
        tower = BareTower(self._model.clip).eval()

        def look(crops: Pixels) -> object:
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                return tower(torch.from_numpy(crops))

        return look

    def plain(self) -> Look:
        """The plain model in eager fp32, with the text side computed once."""
        plain = PlainMPIQE(self._model).eval()
        with torch.inference_mode():
            folded = self._model.fold()

        def look(crops: Pixels) -> object:
            with torch.inference_mode():
                return plain(torch.from_numpy(crops).permute(0, 3, 1, 2), folded)

        return look

    def export_bare(self, path: Path) -> Path:
        """Write the bare tower as ONNX."""
        size = self._model.image_size
        crops = torch.zeros(3, size, size, 3, dtype=torch.uint8)
        with quiet_exporter(), torch.no_grad():
            torch.onnx.export(
                BareTower(self._model.clip).eval(),
                (crops,),
                path,
                input_names=["crops"],
                dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
                dynamo=True,
                verbose=False,
            )
        return path


def shape_of(model: MPIQE) -> flops.Shape:
    """What the formula of its arithmetic asks for."""
    clip, prompts = model.clip, model.visual_prompts
    vision = clip.clip.config.vision_config
    banks = (model.scene_prompts, model.distortion_prompts)
    scenes, distortions = (len(bank.classes) if bank else 0 for bank in banks)
    layers = [linear_layers(head) for head in model.pooled_heads]
    return flops.Shape(
        image_size=clip.image_size,
        patch_size=vision.patch_size,
        width=clip.vision_width,
        layers=clip.vision_layers,
        joint_width=clip.joint_width,
        prompts=0 if prompts.tokens is None else prompts.length,
        prompt_depth=0 if prompts.tokens is None else prompts.depth,
        scenes=scenes,
        distortions=distortions,
        queries=(scenes + distortions) or 1,
        windows=model.windows,
        decoder_layers=len(model.decoder.layers),
        stem_channels=tuple(getattr(vision, "stem_channels", ())),
        stem_blocks=tuple(getattr(vision, "stem_blocks", ())),
        efficientnet=getattr(vision, "stem", ""),
        pooled_width=clip.pooled_width,
        pooled_mirrored=getattr(vision, "stem_pooled_mirrored", False),
        stem_head_width=layers[0][0].out_features if layers and len(layers[0]) > 1 else 0,
        stem_head_layers=max(1, len(layers[0]) - 1) if layers else 1,
        stem_heads=tuple(each[-1].out_features for each in layers),
    )
