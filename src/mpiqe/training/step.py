"""One optimiser step, in as many parts as memory asks for and over as many processes as there are.

The text side is computed once per step. Its results are cut off from their graph, each part of the batch leaves its
gradient on them, and the sum goes through the text tower once: the gradient is that of the whole batch at once.

Losses that compare images of a set need the whole batch's predictions. In several parts, a first pass without gradients
finds them, and each part of the second is then asked for its share of that loss's gradient.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from mpiqe.data.crop_dataset import Batch
from mpiqe.labels import DISTORTIONS
from mpiqe.model.build import QualityModel
from mpiqe.model.loss import Counts, Loss, Losses
from mpiqe.model.mpiqe import MPIQEOutput
from mpiqe.training.device import quick_attention
from mpiqe.training.set_losses import SetLosses
from mpiqe.training.targets import one_hot


def take_step(
    model: QualityModel,
    batches: Iterable[Batch],
    *,
    loss: Loss,
    counts: Counts,
    optimiser: Optimizer,
    accelerator: Accelerator,
    prepare_target: Callable[[Tensor], Tensor],
    set_losses: SetLosses | None = None,
    to_set: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Losses:
    """Update ``model`` once with the parts ``batches`` of one batch; returns the whole batch's losses, detached.

    ``counts`` are the crops of the whole batch over all processes, ``prepare_target`` maps MOS to the head's units.
    ``set_losses`` compares the images of the batch, in one process. ``to_set`` takes the model's numbers, and the index
    of the image of each, to the scale of its rated set, for the score's loss.
    """
    with quick_attention(accelerator, tokens=model.clip.grid**2 + 1):
        sums = _backward(model, batches, loss, counts, accelerator, prepare_target, set_losses, to_set)
    if accelerator.num_processes > 1:
        sums = _share(model, sums, accelerator)
    optimiser.step()
    optimiser.zero_grad()
    return Losses(*sums)


def _backward(
    model: QualityModel,
    batches: Iterable[Batch],
    loss: Loss,
    counts: Counts,
    accelerator: Accelerator,
    prepare_target: Callable[[Tensor], Tensor],
    set_losses: SetLosses | None,
    to_set: Callable[[Tensor, Tensor], Tensor] | None,
) -> Tensor:
    """Leave the whole gradient on the parameters; returns the summed losses, one of each field of ``Losses``."""
    device = accelerator.device
    with accelerator.autocast():
        text = model.fold()
    leaves, pairs = cut_off(text)
    sums = torch.zeros(len(Losses._fields), device=device)
    compared = None
    if set_losses is not None:
        parts = list(batches)
        if len(parts) > 1:
            with torch.no_grad():
                said = [_of_images(_outputs(model, part, leaves, accelerator), part) for part in parts]
            compared = set_losses(said, *_labels(parts, device))
        batches = parts
    for number, batch in enumerate(batches):
        each = batch.crops.shape[1]
        output = _outputs(model, batch, leaves, accelerator)
        scored = output
        if to_set is not None:
            indices = batch.index.to(device).repeat_interleave(each)
            scored = replace(output, prediction=to_set(output.prediction, indices))
        losses = loss(
            scored,
            scene=batch.scene.to(device).repeat_interleave(each, dim=0),
            distortion=one_hot(batch.distortion, len(DISTORTIONS)).to(device).repeat_interleave(each, dim=0),
            target=prepare_target(batch.mos.to(device)).repeat_interleave(each),
            counts=counts,
        )
        total = losses.total
        if set_losses is not None:
            own = _of_images(output, batch)
            if compared is None:
                compared = set_losses([own], *_labels([batch], device))
            total = total + (own * compared.gradients[number]).sum()  # whose gradient is the comparison's
        accelerator.backward(total)
        sums += torch.stack([part.detach() for part in losses])
    if set_losses is not None and compared is not None:
        none = torch.zeros((), device=device)
        sums += torch.stack(Losses(set_losses.total(compared), none, none, none, compared.ranking, compared.plcc))
    used = [(graph, leaf.grad) for graph, leaf in pairs if leaf.grad is not None]
    if used:
        torch.autograd.backward([graph for graph, _ in used], [gradient for _, gradient in used])
    return sums


def _outputs(model: QualityModel, batch: Batch, text: Any, accelerator: Accelerator) -> MPIQEOutput:
    """What the model says of a part's crops, image by image."""
    with accelerator.autocast():
        crops = batch.crops.flatten(0, 1).to(accelerator.device, non_blocking=True)
        if crops.is_floating_point():  # of a ``StemCache``
            return model.forward_embedded(model.clip.split_embedded(crops), text)
        output: MPIQEOutput = model(crops, text)
        return output


def _of_images(output: MPIQEOutput, batch: Batch) -> Tensor:
    """The model's own number for each image of a part, (B,): the mean over its crops that are there."""
    return output.prediction.float().view(batch.crops.shape[:2]).mean(dim=1)


def _labels(batches: Iterable[Batch], device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """MOS and index of the images of each part."""
    return [batch.mos.to(device) for batch in batches], [batch.index.to(device) for batch in batches]


def cut_off(text: Any) -> tuple[Any, list[tuple[Tensor, Tensor]]]:
    """``text`` (a tensor, ``None``, or a named tuple of such) without its graph, and what ties the two together.

    That is each (value with graph, value without) that carries a gradient.
    """
    pairs: list[tuple[Tensor, Tensor]] = []

    def cut(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Tensor):
            return type(value)(*map(cut, value))
        leaf = value.detach().requires_grad_(value.requires_grad)
        if value.requires_grad:
            pairs.append((value, leaf))
        return leaf

    return cut(text), pairs


def _share(model: QualityModel, sums: Tensor, accelerator: Accelerator) -> Tensor:
    """Add up gradients and losses over the processes, in one message."""
    parameters = list(model.parameters())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([sums, *(gradient.flatten() for gradient in gradients)])
    added: Tensor = accelerator.reduce(flat, reduction="sum")
    totals, *parts = torch.split(added, [len(sums), *(parameter.numel() for parameter in parameters)])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return totals
