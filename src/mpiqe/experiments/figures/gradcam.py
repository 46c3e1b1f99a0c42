"""Grad-CAM for low quality (Selvaraju et al., ICCV 2017) on the patches that the decoder reads.

Axes: B crops, N patches, D joint width, S pixels and g patches along a crop's side; H, W pixels of a photo's map.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mpiqe import images
from mpiqe.errors import WeightsError
from mpiqe.images import Pixels, Source
from mpiqe.model.mpiqe import MPIQE, Folded
from mpiqe.scoring.blending import blend
from mpiqe.view import NATIVE, View

LONGEST = 1024
MOST_CROPS = 1024
_BATCH = 32  # crops in memory at a time, whatever the size of the photo


class PhotoMap(NamedTuple):
    """A photo and its map, which lie on each other pixel by pixel."""

    photo: Pixels
    """(H, W, 3) the upright photo, reduced where its longer side was over the limit."""
    values: NDArray[np.float32]
    """(H, W) in [0, 1]: shares of the map's own highest value; all zeros where nothing speaks for low quality."""


def grad_cam(model: MPIQE, pixels: Tensor, folded: Folded | None = None) -> Tensor:
    """uint8 RGB crops (B, 3, S, S) -> maps (B, g, g), at least 0, of what lowers each crop's score.

    ::

        y     = -score
        w_c   = 1/N sum_j dy / dA_jc        one weight a channel: the gradient averaged over the patches
        map_i = ReLU(sum_c w_c A_ic)

    The sign is a choice: Grad-CAM shows what speaks *for* a class, the class of a photo that people rated low is "low
    quality", and what speaks for it is what lowers the score. (Of plus the score, the worst-rated test photos of LIVE
    Challenge had all but empty maps, and of minus the score the best-rated ones.)

    A (N, D) are the patches as the decoder reads them: the last image layer's, after the final layernorm and the
    projection. Before the layernorm a few large channels could make the sum. The projection without a bias changes
    nothing: w becomes P^T w, and (P^T w) . a = w . P a. Unlike a classifier on CLS alone, whose gradient at the last
    layer's patches is zero, the decoder reads the patches, so there is something to see; what reaches the score through
    CLS has no place in the map.

    The score is in MOS units, so crops of one model can be compared, and nothing else can. Gradients are kept nowhere,
    whatever grad mode this is called in. ``folded``, if not made in inference mode, saves the text side's work. Raises
    ``WeightsError`` for maps that are not finite.
    """
    with torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():
            folded = folded or model.fold()
            image = model.encode_image(pixels)
        patches = image.patches.detach().requires_grad_()
        low = -model.decode(
            folded, image._replace(patches=patches)
        ).score.sum()  # a crop's score depends on its own patches alone
        (gradient,) = torch.autograd.grad(low, patches)
    weights = gradient.mean(dim=1, keepdim=True)  # (B, 1, D)
    maps = (weights * patches.detach()).sum(dim=2).relu()
    if not torch.isfinite(maps).all():
        raise WeightsError("the model's gradients are not finite: its weights are damaged")
    return maps.view(-1, model.clip.grid, model.clip.grid)


def photo_map(
    model: MPIQE, source: Source, *, longest: int = LONGEST, most_crops: int = MOST_CROPS, view: View = NATIVE
) -> PhotoMap:
    """``grad_cam`` of a whole photo, its longer side reduced to ``longest`` pixels.

    Crops of the ``view`` slide over the photo as in ``mpiqe explain``, half a crop apart or, where that makes more
    than ``most_crops``, up to seven eighths; their maps are blended. Raises ``ImageError`` for a photo that cannot be
    read.
    """
    size = model.image_size
    device = next(model.parameters()).device
    photo, canvas = images.read_canvas(source, size=size, view=view)
    positions = images.sliding_positions(*canvas.size, size=size, most=most_crops)
    with torch.inference_mode(False), torch.no_grad():
        folded = model.fold()
    grids = []
    for start in range(0, len(positions), _BATCH):
        crops = torch.from_numpy(images.cut(canvas, positions[start : start + _BATCH], size=size))
        maps = grad_cam(model, crops.permute(0, 3, 1, 2).to(device), folded)  # (B, S, S, 3) -> (B, 3, S, S)
        grids.append(maps.float().cpu().numpy())
    shown = photo.copy()
    shown.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    shape = shown.height, shown.width
    values = blend(np.concatenate(grids), positions, size=size, canvas=canvas.size, shape=shape)
    highest = values.max()
    return PhotoMap(np.asarray(shown), values / highest if highest > 0 else values)
