"""The objective of LIQE, whose loss compares the images of the whole step with each other.

So the losses of its micro-batches cannot be computed apart. With several, a first pass without gradients finds every
image's logits; the loss of a micro-batch is then that of all images, in which its own logits alone carry a gradient.
Added up, the gradient is that of the whole batch at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from mpiqe.data.crop_dataset import Batch
from mpiqe.model.liqe import LIQE
from mpiqe.model.loss import Losses
from mpiqe.training.liqe_loss import LIQELoss
from mpiqe.training.set_losses import sets_of
from mpiqe.training.step import crops_of


@dataclass
class LIQEObjective:
    """``LIQELoss`` of one step; ``ends`` has the index of the first image after each rated set."""

    model: LIQE
    criterion: LIQELoss
    ends: Sequence[int]
    _all: list[Batch] = field(default_factory=list)
    _logits: list[Tensor] = field(default_factory=list)
    _place: int = 0

    def micro_batches(self, batches: Iterable[Batch], text: Tensor, accelerator: Accelerator) -> Iterator[Batch]:
        """``batches``, all of which are held for as long as the step takes."""
        self._all = list(batches)
        if len(self._all) > 1:
            with torch.no_grad(), accelerator.autocast():
                self._logits = [self.forward(batch, text, accelerator.device) for batch in self._all]
        for place, batch in enumerate(self._all):
            self._place = place  # where ``loss`` puts the logits
            yield batch

    def forward(self, batch: Batch, text: Tensor, device: torch.device) -> Tensor:
        """The joint logits of a micro-batch's images, (B, T): the mean over the crops of each.

        Crops that come together are averaged before the softmax, as the original does.
        """
        crops = crops_of(batch, device)
        if crops.is_floating_point():
            logits = self.model.joint_logits_embedded(self.model.clip.split_embedded(crops), text)
        else:
            logits = self.model.joint_logits(crops, text)
        return logits.view(*batch.crops.shape[:2], -1).mean(dim=1)

    def loss(self, output: Tensor, batch: Batch) -> Losses:
        """The losses of the whole step, as values with the first micro-batch and as gradients with each."""
        others = self._logits
        logits = torch.cat([*others[: self._place], output, *others[self._place + 1 :]])
        labels = (torch.cat([part[column] for part in self._all]).to(output.device) for column in range(1, 5))
        whole = Batch(torch.empty(0), *labels)
        losses = self.criterion(
            self.model.marginals(logits),
            scenes=whole.scene,
            distortions=whole.distortion,
            mos=whole.mos,
            sets=sets_of(whole.index, self.ends),
            images=whole.index,
        )
        return losses if self._place == 0 else Losses(*(part - part.detach() for part in losses))
