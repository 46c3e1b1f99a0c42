"""Fit MP-IQE's ``stem_head`` to the stem's pooled features, before anything else is trained.

Axes: n images, K crops of an image, F pooled features.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import CropDataset, Item, Key, collate
from mpiqe.model.mpiqe import MPIQE
from mpiqe.training.ridge import fit_ridge
from mpiqe.training.stem_cache import StemCache

_AT_ONCE = 16  # images
_FOLDS = 5
_STEPS, _BATCH = 1500, 128
_RATE, _DECAY = 1e-3, 1e-2
_INPUT_DROPOUT, _DROPOUT = 0.2, 0.5


class ShiftedTargets(TorchDataset[Item]):
    """The items of a dataset with a number added to each one's MOS."""

    def __init__(self, items: CropDataset | StemCache, shifts: list[float]) -> None:
        self._items, self.shifts = items, shifts

    def __len__(self) -> int:
        """The number of images."""
        return len(self._items)

    def __getitem__(self, key: Key) -> Item:
        """``key`` as of the items."""
        item = self._items[key]
        return item._replace(mos=item.mos + self.shifts[key[1]])


def fit_stem_head(
    model: MPIQE, items: CropDataset | StemCache, accelerator: Accelerator, *, sizes: Sequence[int] = (), seed: int = 0
) -> tuple[ShiftedTargets, str]:
    """Fit ``model.stem_head`` to the MOS of the crops of the first epoch, and say what is left for the decoder.

    ``sizes``: how many of the items each of several rated sets has, one after another; every set counts equally.

    What is fitted has seen the images that it was fitted on, so its errors there are smaller than they will be on
    others. The decoder is asked for the error of a prediction by a head that has not seen the image instead: the items
    returned have MOS such that MOS minus the fitted prediction is that. For the ridge regression it is the
    leave-one-out prediction in closed form; for hidden units that of five folds. Returns the items and a line about the
    fit.
    """
    if model.stem_head is None:
        raise ValueError("the model has no stem_head")
    found, ratings = [], []
    for start in range(0, len(items), _AT_ONCE):
        batch = collate([items[1, index] for index in range(start, min(start + _AT_ONCE, len(items)))])
        found.append(_pooled(model, batch.crops, accelerator).cpu())
        ratings.append(batch.mos)
    features = torch.cat(found)
    targets = (torch.cat(ratings).double() - model.target_mean) / model.target_std
    weights = torch.cat([torch.full((size,), 1 / size) for size in sizes]) if sizes else torch.ones(len(items))
    if isinstance(model.stem_head, nn.Linear):
        ridge = fit_ridge(features.mean(dim=1), targets, weights=weights)
        with torch.no_grad():
            model.stem_head.weight.copy_(ridge.weight[None])
            model.stem_head.bias.copy_(ridge.bias)
        fitted, left_out, said = ridge.fitted, ridge.left_out, f"penalty {ridge.penalty:g}"
    else:
        width = model.stem_head[0].out_features  # type: ignore[index]
        head = fit_hidden(features, targets, weights, width=width, seed=seed)
        model.stem_head.load_state_dict(head.state_dict())
        fitted, left_out = predict_crops(head, features), torch.zeros_like(targets)
        fold = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed)) % _FOLDS
        for number in range(_FOLDS):
            rest = fold != number
            other = fit_hidden(features[rest], targets[rest], weights[rest], width=width, seed=seed)
            left_out[~rest] = predict_crops(other, features[~rest])
        said = f"{width} hidden units"
    return ShiftedTargets(items, ((fitted - left_out) * model.target_std).tolist()), said


def fit_hidden(features: Tensor, targets: Tensor, weights: Tensor, *, width: int, seed: int) -> nn.Module:
    """Fit an MLP to single crops (n, K, F), whose targets are their images', (n,); a function of the seed.

    AdamW with dropout on smooth L1; images are drawn in proportion to ``weights`` (n,), a crop of each at random. The
    standardisation of the features is part of the first layer in what is returned.
    """
    flat = features.flatten(0, 1)
    mean, deviation = flat.mean(dim=0), flat.std(dim=0) + 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last, first, activation = nn.Linear(width, 1), nn.Linear(features.shape[2], width), nn.GELU()
        nn.init.zeros_(last.bias)
        nn.init.kaiming_uniform_(last.weight, a=math.sqrt(5))
        head = nn.Sequential(first, activation, last)
        optimiser = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
        for step in range(_STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
            images = torch.multinomial(weights, _BATCH, replacement=True)
            crops = torch.randint(features.shape[1], (_BATCH,))
            chosen = F.dropout((features[images, crops] - mean) / deviation, _INPUT_DROPOUT)
            hidden = F.dropout(activation(first(chosen)), _DROPOUT)
            loss = F.smooth_l1_loss(last(hidden).squeeze(-1), targets[images].float())
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    with torch.no_grad():
        weight = first.weight / deviation
        first.bias.sub_(weight @ mean)
        first.weight.copy_(weight)
    return head


@torch.no_grad()
def predict_crops(head: nn.Module, features: Tensor) -> Tensor:
    """Mean over the crops of ``head`` on (n, K, F), (n,) float64."""
    scores: Tensor = head(features.flatten(0, 1)).view(features.shape[:2])
    return scores.double().mean(dim=1)


@torch.inference_mode()
def _pooled(model: MPIQE, crops: Tensor, accelerator: Accelerator) -> Tensor:
    """Pixels (B, K, 3, S, S), or what a ``StemCache`` keeps of them (B, K, N W + F) -> pooled features (B, K, F)."""
    flat = crops.flatten(0, 1).to(accelerator.device)
    with accelerator.autocast():
        cached = flat.is_floating_point()
        embedded = model.clip.split_embedded(flat) if cached else model.clip.embed(model.clip.preprocess(flat))
    if embedded.pooled is None:
        raise ValueError("the stem has no pooled features")
    return embedded.pooled.float().view(*crops.shape[:2], -1)
