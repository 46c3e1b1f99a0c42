"""Fit MP-IQE's ``stem_head``: a ridge regression on the stem's pooled features, before anything else is trained.

Axes: K crops of an image, F pooled features.
"""

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.loading import CropDataset, Item, collate
from mpiqe.model.mpiqe import MPIQE
from mpiqe.training.ridge import Ridge, fit_ridge
from mpiqe.training.stem_cache import StemCache

_AT_ONCE = 16  # images


class ShiftedTargets(TorchDataset[Item]):
    """The items of a dataset with a number added to each one's MOS."""

    def __init__(self, items: CropDataset | StemCache, shifts: list[float]) -> None:
        self._items, self._shifts = items, shifts

    def __len__(self) -> int:
        """The number of images."""
        return len(self._items)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """``key`` is (epoch, index)."""
        item = self._items[key]
        return item._replace(mos=item.mos + self._shifts[key[1]])


def fit_stem_head(
    model: MPIQE, items: CropDataset | StemCache, accelerator: Accelerator
) -> tuple[ShiftedTargets, Ridge]:
    """Fit ``model.stem_head`` to the MOS of the crops of the first epoch, and say what is left for the decoder.

    A regression has seen the images that it was fitted on, so its errors there are smaller than they will be on
    others. What the decoder is asked for is the error of each image's leave-one-out prediction instead: the items
    returned have MOS such that MOS minus the fitted prediction is that.
    """
    if model.stem_head is None:
        raise ValueError("the model has no stem_head")
    found, ratings = [], []
    for start in range(0, len(items), _AT_ONCE):
        batch = collate([items[1, index] for index in range(start, min(start + _AT_ONCE, len(items)))])
        found.append(_pooled(model, batch.crops, accelerator).cpu())
        ratings.append(batch.mos)
    targets = (torch.cat(ratings).double() - model.target_mean) / model.target_std
    ridge = fit_ridge(torch.cat(found), targets)
    with torch.no_grad():
        model.stem_head.weight.copy_(ridge.weight[None])
        model.stem_head.bias.copy_(ridge.bias)
    shifts = (ridge.fitted - ridge.left_out) * model.target_std
    return ShiftedTargets(items, shifts.tolist()), ridge


@torch.inference_mode()
def _pooled(model: MPIQE, crops: Tensor, accelerator: Accelerator) -> Tensor:
    """Pixels (B, K, 3, S, S), or what a ``StemCache`` keeps of them (B, K, N W + F) -> mean over the crops (B, F)."""
    flat = crops.flatten(0, 1).to(accelerator.device)
    with accelerator.autocast():
        embedded = (
            model.clip.unpack(flat) if flat.is_floating_point() else model.clip.embed(model.clip.preprocess(flat))
        )
    if embedded.pooled is None:
        raise ValueError("the stem has no pooled features")
    return embedded.pooled.float().view(*crops.shape[:2], -1).mean(dim=1)
