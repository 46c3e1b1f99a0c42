"""A line for each rated set between its own scale and the common one, learned with the model (D18).

Sets can differ in what they hold: the best photo of one may be a middling one of another. Bringing their MOS to one
mean and deviation denies that. So the model's number is on the scale of the first set, a line takes it to the scale of
the image's set, and there it is compared with the MOS (Li, Jiang and Jiang, IJCV 2021: dataset-specific alignment).

Axes: B crops.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mpiqe.data.record import Record

RATE = 3e-3
"""Adam's peak rate for slopes and offsets, which are of the order of one; weights take smaller steps."""


class SetLines(nn.Module):
    """``slope * number + offset`` in deviations of the first set's MOS around their mean; the first set has none.

    They begin as slope 1 and offset 0, the further sets' MOS being brought to the first set's mean and deviation
    already. Slopes are exponentials, so that no set is ever turned upside down.
    """

    def __init__(self, sets: int) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.zeros(sets - 1))
        self.offset = nn.Parameter(torch.zeros(sets - 1))

    def forward(self, prediction: Tensor, sets: Tensor, *, centre: float, unit: float) -> Tensor:
        """The model's own number (B,) on the scale of each crop's set (B,), in the units of that number.

        ``centre`` and ``unit`` are the mean and the deviation of the first set's MOS in these units.
        """
        slope = torch.cat([self.log_slope.new_ones(1), self.log_slope.exp()])[sets]
        offset = torch.cat([self.offset.new_zeros(1), self.offset])[sets]
        return slope * (prediction - centre) + centre + offset * unit

    def to_json(self) -> list[list[float]]:
        """Slope and offset of each further set."""
        return [list(pair) for pair in zip(self.log_slope.exp().tolist(), self.offset.tolist(), strict=True)]


def on_common_scale(records: Sequence[Record], line: Sequence[float], scale: tuple[float, float]) -> list[Record]:
    """MOS of one further set on the common scale: its ``line`` undone; ``scale`` is the first set's mean, deviation."""
    (slope, offset), (mean, deviation) = line, scale
    return [replace(each, mos=((each.mos - mean) / deviation - offset) / slope * deviation + mean) for each in records]
