"""One optimiser step of LIQE, whose loss compares the images of the whole step with each other.

So its parts cannot be added up one by one. In several parts, a first pass without gradients finds every image's logits;
the loss of all of them leaves its gradient there, and a second pass carries it on, part by part: the gradient is that
of the whole batch at once.
"""

from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from mpiqe.data.crop_dataset import Batch
from mpiqe.model.liqe import LIQE
from mpiqe.model.loss import Losses
from mpiqe.training.device import quick_attention
from mpiqe.training.liqe_loss import LIQELoss
from mpiqe.training.set_losses import sets_of
from mpiqe.training.step import cut_off


def take_liqe_step(
    model: LIQE,
    batches: Iterable[Batch],
    *,
    loss: LIQELoss,
    ends: Sequence[int],
    optimiser: Optimizer,
    accelerator: Accelerator,
) -> Losses:
    """Update ``model`` once with the parts ``batches`` of one batch; returns the losses, detached.

    ``ends``: the index of the first image after each rated set. The logits of an image's crops that come together are
    averaged before the softmax, as the original does.
    """
    parts, device = list(batches), accelerator.device
    with quick_attention(accelerator, tokens=model.clip.grid**2 + 1):
        with accelerator.autocast():
            text = model.fold()
        leaf, pairs = cut_off(text)
        if len(parts) == 1:
            logits = _logits(model, parts[0], leaf, accelerator)
        else:
            with torch.no_grad():
                logits = torch.cat([_logits(model, part, leaf, accelerator) for part in parts])
            logits.requires_grad_()
        whole = Batch(torch.empty(0), *(torch.cat([part[field] for part in parts]).to(device) for field in range(1, 5)))
        losses = loss(
            model.marginals(logits),
            scenes=whole.scene,
            distortions=whole.distortion,
            mos=whole.mos,
            sets=sets_of(whole.index, ends),
            images=whole.index,
        )
        accelerator.backward(losses.total)
        if len(parts) > 1 and logits.grad is not None:
            shares = torch.split(logits.grad, [len(part.mos) for part in parts])
            for part, gradient in zip(parts, shares, strict=True):
                torch.autograd.backward(_logits(model, part, leaf, accelerator), gradient)
        for graph, cut in pairs:
            if cut.grad is not None:
                torch.autograd.backward(graph, cut.grad)
    optimiser.step()
    optimiser.zero_grad()
    return Losses(*(part.detach() for part in losses))


def _logits(model: LIQE, batch: Batch, text: Tensor, accelerator: Accelerator) -> Tensor:
    """The joint logits of a part's images, (B, T): the mean over the crops of each."""
    with accelerator.autocast():
        crops = batch.crops.flatten(0, 1).to(accelerator.device, non_blocking=True)
        if crops.is_floating_point():
            logits = model.joint_logits_embedded(model.clip.split_embedded(crops), text)
        else:
            logits = model.joint_logits(crops, text)
    return logits.view(*batch.crops.shape[:2], -1).mean(dim=1)
