"""One optimiser step, in as many parts as memory asks for and over as many processes as there are.

The text side is computed once per step. Its results are cut off from their graph, each part of the batch leaves its
gradient on them, and the sum goes through the text tower once: the gradient is that of the whole batch at once.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from mpiqe.data.crop_dataset import Batch
from mpiqe.labels import DISTORTIONS
from mpiqe.model.build import QualityModel
from mpiqe.model.loss import Counts, Loss, Losses
from mpiqe.training.device import quick_attention
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
) -> Losses:
    """Update ``model`` once with the parts ``batches`` of one batch; returns the whole batch's losses, detached.

    ``counts`` are the crops of the whole batch over all processes, ``prepare_target`` maps MOS to the head's units.
    """
    with quick_attention(accelerator, tokens=model.clip.grid**2 + 1):
        sums = _backward(model, batches, loss, counts, accelerator, prepare_target)
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
) -> Tensor:
    """Leave the whole gradient on the parameters; returns the summed losses, (4,)."""
    device = accelerator.device
    with accelerator.autocast():
        text = model.fold()
    leaves, pairs = cut_off(text)
    sums = torch.zeros(4, device=device)
    for batch in batches:
        each = batch.crops.shape[1]
        with accelerator.autocast():
            crops = batch.crops.flatten(0, 1).to(device, non_blocking=True)
            cached = crops.is_floating_point()
            output = (
                model.forward_embedded(model.clip.split_embedded(crops), leaves) if cached else model(crops, leaves)
            )
        losses = loss(
            output,
            scene=batch.scene.to(device).repeat_interleave(each, dim=0),
            distortion=one_hot(batch.distortion, len(DISTORTIONS)).to(device).repeat_interleave(each, dim=0),
            target=prepare_target(batch.mos.to(device)).repeat_interleave(each),
            counts=counts,
        )
        accelerator.backward(losses.total)
        sums += torch.stack([part.detach() for part in losses])
    used = [(graph, leaf.grad) for graph, leaf in pairs if leaf.grad is not None]
    if used:
        torch.autograd.backward([graph for graph, _ in used], [gradient for _, gradient in used])
    return sums


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
