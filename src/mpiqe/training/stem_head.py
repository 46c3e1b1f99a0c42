"""Fit MP-IQE's ``stem_head`` and ``class_heads`` to the stem's pooled features, before anything else is trained.

Axes: n images, K crops of an image, F pooled features.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import CropDataset, Item, Key, collate
from mpiqe.data.record import Record
from mpiqe.errors import DatasetError
from mpiqe.labels import DISTORTIONS
from mpiqe.model.mpiqe import MPIQE, linear_layers, make_stem_head
from mpiqe.training.ridge import fit_ridge
from mpiqe.training.stem_cache import StemCache
from mpiqe.training.targets import one_hot

_AT_ONCE = 16  # images
_FOLDS = 5
_STEPS, _BATCH = 1500, 128
_RATE, _DECAY = 1e-3, 1e-2
_INPUT_DROPOUT = {1: 0.3, 2: 0.5}  # by the number of hidden layers; of more as of two
_DROPOUT = 0.5
_CONSTANT = 1e-6  # a feature with at most this deviation says nothing
_PAIRS, _RANKING, _SOFTNESS = 64, 2.0, 0.1  # a step; weight; in units of the target's deviation
_RANGE = 1.0  # weight of how far numbers of ranked images lie outside the range of the targets


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


class Ranked(NamedTuple):
    """Images of which only the order within a reference is known."""

    features: Tensor
    """(m, K, F)."""
    pairs: Tensor
    """(P, 2) int64, rows of ``features``: the better and the worse one."""


def pairs_of(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Pairs (better, worse) of images of one reference: its best and any other, or two of one distortion class.

    Between two classes a level is no measure of quality. Raises ``DatasetError`` where there is no pair.
    """
    by_reference: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        by_reference.setdefault(record.reference or "", []).append(index)
    by_reference.pop("", None)
    pairs = []
    for indices in by_reference.values():
        best = max(records[index].mos for index in indices)
        for better, worse in itertools.permutations(indices, 2):
            alike = records[better].distortion == records[worse].distortion
            if records[better].mos > records[worse].mos and (alike or records[better].mos == best):
                pairs.append((better, worse))
    if records and not pairs:
        raise DatasetError("ranked_data needs a column `reference`, and images of one reference with several MOS")
    return pairs


def fit_heads(
    model: MPIQE,
    items: CropDataset | StemCache,
    accelerator: Accelerator,
    *,
    sizes: Sequence[int] = (),
    pairs: Sequence[tuple[int, int]] = (),
    members: int = 1,
    seed: int = 0,
) -> tuple[CropDataset | StemCache | ShiftedTargets, list[str]]:
    """Fit what ``model`` has of ``stem_head`` and ``class_heads`` to the crops of the first epoch.

    ``sizes``: how many of the items each of several sets has, one after another. Every set counts equally for
    ``class_heads``, and for ``stem_head`` as the square root of its number of images. With ``pairs`` (better, worse)
    the last set is no rated one: they are indices into it, and all that is learnt of its MOS.
    A head with hidden units is the mean of ``members`` MLPs. Returns the items to train the rest on, and a line about
    each fit.
    """
    heads = {"scene": model.scene_head, "distortion": model.distortion_head}
    if model.stem_head is None and not any(heads.values()):
        return items, []
    known = _look(model, items, accelerator)
    weights = torch.cat([torch.full((size,), 1 / size) for size in sizes]) if sizes else torch.ones(len(items))
    lines = []
    for name, head in heads.items():
        if head is not None:
            targets: Tensor = getattr(known, name)
            labelled = targets.sum(dim=1) > 0
            if not labelled.any():
                raise DatasetError(f"class_heads needs images with a {name} label to learn from, and no set has one")
            shape = _shape(head, members)
            fitted = fit_members(
                known.features[labelled], targets[labelled], weights[labelled], **shape, seed=seed, loss=_entropy
            )
            head.load_state_dict(fitted.state_dict())
            lines.append(f"the {name} head is fitted to {int(labelled.sum())} labelled images")
    if model.stem_head is None:
        return items, lines
    ranked = None
    if pairs:
        rated = len(items) - sizes[-1]
        ranked = Ranked(known.features[rated:], torch.tensor(pairs))
        known, weights = _Known(*(column[:rated] for column in known)), weights[:rated]
    weights = weights.sqrt()  # of 1 / size
    asked, said = _fit_stem_head(model.stem_head, model, items, known, weights, ranked, members=members, seed=seed)
    return asked, [*lines, f"the stem's head is fitted ({said})"]


class _Known(NamedTuple):
    """What the stem makes of n images, and what is known of them."""

    features: Tensor
    """(n, K, F)."""
    mos: Tensor
    """(n,) float64."""
    scene: Tensor
    """(n, 9), zeros where not labelled."""
    distortion: Tensor
    """(n, 11), zeros where not labelled."""


def _look(model: MPIQE, items: CropDataset | StemCache, accelerator: Accelerator) -> _Known:
    batches: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for start in range(0, len(items), _AT_ONCE):
        batch = collate([items[1, index] for index in range(start, min(start + _AT_ONCE, len(items)))])
        pooled = _pooled(model, batch.crops, accelerator).cpu()
        batches.append((pooled, batch.mos.double(), batch.scene, one_hot(batch.distortion, len(DISTORTIONS))))
    return _Known(*(torch.cat(column) for column in zip(*batches, strict=True)))


def _fit_stem_head(
    own: nn.Module,
    model: MPIQE,
    items: CropDataset | StemCache,
    known: _Known,
    weights: Tensor,
    ranked: Ranked | None,
    *,
    members: int,
    seed: int,
) -> tuple[ShiftedTargets, str]:
    """Fit ``own``, the model's ``stem_head``, to MOS, and say what is left for the decoder.

    What is fitted has seen the images that it was fitted on, so its errors there are smaller than they will be on
    others. The decoder is asked for the error of a prediction by a head that has not seen the image instead: the items
    returned have MOS such that MOS minus the fitted prediction is that. For the ridge regression it is the
    leave-one-out prediction in closed form; for hidden units that of five folds. Of ranked images, whose MOS says
    nothing, it is asked to add nothing.
    """
    features, targets = known.features, (known.mos - model.target_mean) / model.target_std
    if isinstance(own, nn.Linear):
        ridge = fit_ridge(features.mean(dim=1), targets, weights=weights)
        with torch.no_grad():
            own.weight.copy_(ridge.weight[None])
            own.bias.copy_(ridge.bias)
        fitted, left_out, said = ridge.fitted, ridge.left_out, f"penalty {ridge.penalty:g}"
    else:
        shape = _shape(own, members)

        def fit(rows: Tensor) -> nn.Module:
            column = targets[rows, None].float()
            return fit_members(
                features[rows], column, weights[rows], **shape, seed=seed, loss=F.smooth_l1_loss, ranked=ranked
            )

        head = fit(torch.ones(len(targets), dtype=torch.bool))
        own.load_state_dict(head.state_dict())
        fitted, left_out = predict_crops(head, features), torch.zeros_like(targets)
        fold = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed)) % _FOLDS
        for number in range(_FOLDS):
            rest = fold != number
            left_out[~rest] = predict_crops(fit(rest), features[~rest])
        said = " and ".join([str(shape["width"])] * shape["layers"]) + " hidden units"
        said += f", mean of {members} MLPs" if members > 1 else ""
    shifts = ((fitted - left_out) * model.target_std).tolist()
    if ranked is None:
        return ShiftedTargets(items, shifts), said
    answers = predict_crops(head, ranked.features) * model.target_std + model.target_mean
    mos = [items[1, index].mos for index in range(len(known.mos), len(items))]
    shifts += (answers - torch.tensor(mos)).tolist()
    return ShiftedTargets(items, shifts), f"{said}, {len(ranked.pairs)} pairs"


def _shape(head: nn.Module, members: int) -> dict[str, int]:
    """What ``fit_members`` makes a head of this shape from."""
    first, *rest = linear_layers(head)
    return {"width": first.out_features if rest else 0, "layers": max(1, len(rest)), "members": members if rest else 1}


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def fit_members(
    features: Tensor, targets: Tensor, weights: Tensor, *, width: int, members: int, seed: int, **how: Any
) -> nn.Module:
    """The mean of ``members`` MLPs by ``fit_hidden``, as one MLP of ``width`` hidden units in all.

    They differ by their seeds: where each begins, and what it is shown and not shown. None sees another's hidden units.
    """
    shares = [width // members + (index < width % members) for index in range(members)]
    fitted = [
        fit_hidden(features, targets, weights, width=share, seed=seed + 1000 * index, **how)
        for index, share in enumerate(shares)
    ]
    return fitted[0] if members == 1 else mean_of(fitted)


@torch.no_grad()
def mean_of(heads: Sequence[nn.Module]) -> nn.Module:
    """One MLP that computes the mean of several of ``make_stem_head`` with equally many layers."""
    layers = [linear_layers(head) for head in heads]
    first, *between, last = zip(*layers, strict=True)
    made = make_stem_head(
        first[0].in_features,
        sum(layer.out_features for layer in first),
        outputs=last[0].out_features,
        layers=len(between) + 1,
    )
    new = linear_layers(made)
    new[0].weight.copy_(torch.cat([layer.weight for layer in first]))
    for target, parts in zip(new[1:-1], between, strict=True):
        target.weight.copy_(torch.block_diag(*(layer.weight for layer in parts)))  # type: ignore[no-untyped-call]
    for target, parts in zip(new[:-1], [first, *between], strict=True):
        target.bias.copy_(torch.cat([layer.bias for layer in parts]))
    new[-1].weight.copy_(torch.cat([layer.weight for layer in last], dim=1) / len(heads))
    new[-1].bias.copy_(torch.stack([layer.bias for layer in last]).mean(dim=0))
    return made


def fit_hidden(
    features: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    width: int,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    layers: int = 1,
    ranked: Ranked | None = None,
) -> nn.Module:
    """Fit a head of ``make_stem_head`` to single crops (n, K, F); their targets are their images', (n, C).

    AdamW with dropout on ``loss`` of predictions and targets; images are drawn in proportion to ``weights`` (n,), a
    crop of each at random; a function of the seed. Of ``ranked`` images the better one of a pair is to have the higher
    number (logistic, as RankIQA, Liu et al. 2017), both asked of the same crop, and none a number outside the range of
    the targets: heavy distortions lie far from all rated images, where a head could give any. Ranked images see no
    dropout: what it makes of two images of one reference differs by more than faint distortions do, and a head that has
    to rank them all the same grows worse on rated images. The standardisation of the features, those of ranked images
    included, is part of the first layer in what is returned; constant features get no weight.
    """
    flat = features.flatten(0, 1)
    if ranked is not None:
        flat = torch.cat([flat, ranked.features.flatten(0, 1)])
    lowest, highest = targets.min(), targets.max()
    pairs = 0 if ranked is None else min(_PAIRS, len(ranked.pairs))
    mean, deviation = flat.mean(dim=0), flat.std(dim=0) + _CONSTANT
    deviation[deviation <= 2 * _CONSTANT] = math.inf  # no weight: another image may have millions of such deviations
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_stem_head(features.shape[2], width, outputs=targets.shape[1], layers=layers)
        first, *rest = linear_layers(head)
        if rest:
            nn.init.kaiming_uniform_(rest[-1].weight, a=math.sqrt(5))
        optimiser = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
        for step in range(_STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
            images = torch.multinomial(weights, _BATCH, replacement=True)
            crops = torch.randint(features.shape[1], (_BATCH,))
            made = first(F.dropout((features[images, crops] - mean) / deviation, _INPUT_DROPOUT[min(layers, 2)]))
            for layer in rest:
                made = layer(F.dropout(F.gelu(made), _DROPOUT))
            error = loss(made, targets[images])
            if ranked is not None:
                better, worse = ranked.pairs[torch.randint(len(ranked.pairs), (pairs,))].T
                crops = torch.randint(ranked.features.shape[1], (pairs,))
                both = torch.cat([ranked.features[better, crops], ranked.features[worse, crops]])
                ranks = first((both - mean) / deviation)
                for layer in rest:
                    ranks = layer(F.gelu(ranks))
                higher, lower = ranks.chunk(2)
                error = error + _RANKING * _SOFTNESS * F.softplus((lower - higher) / _SOFTNESS).mean()
                error = error + _RANGE * beyond(ranks, lowest, highest).mean()
            optimiser.zero_grad()
            torch.autograd.backward(error)
            optimiser.step()
    with torch.no_grad():
        weight = first.weight / deviation
        first.bias.sub_(weight @ mean)
        first.weight.copy_(weight)
    return head


def beyond(numbers: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """How far each number lies outside the range, 0 inside."""
    return F.relu(lowest - numbers) + F.relu(numbers - highest)


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
