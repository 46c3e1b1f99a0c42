"""What an optimiser step is made of, beside the loop of ``train.py``: its objective, its text side, several processes.

The text side is computed once per step. Its results are cut off from their graph, each micro-batch leaves its
gradient on them, and the sum goes through the text tower once: the gradient is that of the whole batch at once.

Losses that compare images of a set need the whole batch's predictions. With several micro-batches, a first pass without
gradients finds them, and each micro-batch is then asked for its share of that loss's gradient.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from mpiqe.data.crop_dataset import Batch
from mpiqe.labels import DISTORTIONS
from mpiqe.model.build import QualityModel
from mpiqe.model.loss import Counts, Loss, Losses
from mpiqe.model.mpiqe import MPIQEOutput
from mpiqe.training.memory import forward
from mpiqe.training.set_losses import Comparison, SetLosses
from mpiqe.training.targets import one_hot


class Objective(Protocol):
    """What one optimiser step computes and minimises, micro-batch by micro-batch."""

    @property
    def model(self) -> QualityModel:
        """What is trained."""
        ...

    def micro_batches(self, batches: Iterable[Batch], text: Any, accelerator: Accelerator) -> Iterable[Batch]:
        """``batches``, which are this process's, after what needs all of them; ``text`` is what ``model.fold`` gave."""
        ...

    def forward(self, batch: Batch, text: Any, device: torch.device) -> Any:
        """The model's output for the crops of a micro-batch."""
        ...

    def loss(self, output: Any, batch: Batch) -> Losses:
        """The losses of a micro-batch; their sum over micro-batches and processes is the whole step's."""
        ...


@dataclass
class MPIQEObjective:
    """Eq. 15, of which CLIP-IQA has the quality term alone, and with ``set_losses`` the losses within rated sets."""

    model: QualityModel
    criterion: Loss
    counts: Counts
    """The crops of the whole step, over all micro-batches and processes."""
    set_losses: SetLosses | None = None
    """Compares the images of the whole step, in one process."""
    to_set: Callable[[Tensor, Tensor], Tensor] | None = None
    """Takes the model's numbers (B K,), and the index of the image of each, to the scale of its rated set."""
    _compared: Comparison | None = None
    _place: int = 0

    def micro_batches(self, batches: Iterable[Batch], text: Any, accelerator: Accelerator) -> Iterator[Batch]:
        """``batches`` as they are; where images are compared, all are held for as long as the step takes."""
        if self.set_losses is not None:
            batches, device, self._compared = list(batches), accelerator.device, None
            if len(batches) > 1:
                with torch.no_grad(), accelerator.autocast():
                    said = [_of_images(self.forward(each, text, device), each) for each in batches]
                self._compared = self.set_losses(said, *_labels(batches, device))
        for place, batch in enumerate(batches):
            self._place = place  # whose share of the comparison ``loss`` asks for
            yield batch

    def forward(self, batch: Batch, text: Any, device: torch.device) -> MPIQEOutput:
        """Output of all crops, B K of them."""
        return forward(self.model, crops_of(batch, device), text)

    def loss(self, output: MPIQEOutput, batch: Batch) -> Losses:
        """Each crop has the labels of its image. Losses within sets count with the first micro-batch."""
        device, each = output.prediction.device, batch.crops.shape[1]
        target = (batch.mos.to(device) - self.model.target_mean) / self.model.target_std
        scored = output
        if self.to_set is not None:
            indices = batch.index.to(device).repeat_interleave(each)
            scored = replace(output, prediction=self.to_set(output.prediction, indices))
        losses = self.criterion(
            scored,
            scene=batch.scene.to(device).repeat_interleave(each, dim=0),
            distortion=one_hot(batch.distortion, len(DISTORTIONS)).to(device).repeat_interleave(each, dim=0),
            target=target.repeat_interleave(each),
            counts=self.counts,
        )
        if self.set_losses is None:
            return losses
        said = _of_images(output, batch)
        compared = self._compared or self.set_losses([said], *_labels([batch], device))
        share = (said * compared.gradients[self._place]).sum()  # whose gradient is the comparison's
        total = losses.total + share - share.detach()
        if self._place > 0:
            return losses._replace(total=total)
        return losses._replace(
            total=total + self.set_losses.total(compared), ranking=compared.ranking, plcc=compared.plcc
        )


def crops_of(batch: Batch, device: torch.device) -> Tensor:
    """All crops of a batch on ``device``: (B K, 3, S, S) uint8, or (B K, N W + F) of a ``StemCache``."""
    return batch.crops.flatten(0, 1).to(device, non_blocking=True)


def _of_images(output: MPIQEOutput, batch: Batch) -> Tensor:
    """The model's own number for each image of a micro-batch, (B,): the mean over its crops that are there."""
    return output.prediction.float().view(batch.crops.shape[:2]).mean(dim=1)


def _labels(batches: Iterable[Batch], device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """MOS and index of the images of each micro-batch."""
    return [batch.mos.to(device) for batch in batches], [batch.index.to(device) for batch in batches]


class TextSide:
    """What ``model.fold`` gives, cut off from its graph: gradients gather at ``leaves`` until ``backward``."""

    def __init__(self, folded: Any) -> None:
        """``folded``: a tensor, ``None``, or a named tuple of such."""
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self.leaves = self._cut(folded)

    def _cut(self, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Tensor):
            return type(value)(*map(self._cut, value))
        leaf = value.detach().requires_grad_(value.requires_grad)
        if value.requires_grad:
            self._pairs.append((value, leaf))
        return leaf

    def backward(self) -> None:
        """Carry the gathered gradients through the text tower, to the prompts."""
        used = [(graph, leaf.grad) for graph, leaf in self._pairs if leaf.grad is not None]
        if used:
            torch.autograd.backward([graph for graph, _ in used], [gradient for _, gradient in used])


def add_up(model: QualityModel, sums: Tensor, accelerator: Accelerator) -> Tensor:
    """Add up gradients and losses (6,) over the processes, in one message."""
    parameters = list(model.parameters())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([sums, *(gradient.flatten() for gradient in gradients)])
    added: Tensor = accelerator.reduce(flat, reduction="sum")
    totals, *parts = torch.split(added, [len(sums), *(parameter.numel() for parameter in parameters)])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return totals
