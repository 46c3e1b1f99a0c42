"""What a frozen stem makes of one draw of crops, kept in memory.

Axes: K crops of an image, N patches, W vision width, F pooled features.
"""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import CropDataset, Item, Key, collate
from mpiqe.model.clip import FrozenCLIP

_AT_ONCE = 16  # images


class StemCache(TorchDataset[Item]):
    """The items of ``crops`` in its first epoch with ``Embedded.joined`` (K, N W + F), float16, in place of pixels.

    An image takes 2 K (N W + F) bytes: 68 KB for 4 crops of 36 patches of 192 and 1632 pooled features.
    Right while the stem is frozen.
    """

    def __init__(
        self, crops: CropDataset, clip: FrozenCLIP, *, accelerator: Accelerator, progress: Callable[[int, int], None]
    ) -> None:
        self._items: list[Item] = []
        for start in range(0, len(crops), _AT_ONCE):
            items = [crops[1, index] for index in range(start, min(start + _AT_ONCE, len(crops)))]
            pixels = collate(items).crops.to(accelerator.device)
            with torch.inference_mode(), accelerator.autocast():
                packed = clip.embed(clip.preprocess(pixels.flatten(0, 1))).joined().half().cpu()
            kept = packed.clone().view(*pixels.shape[:2], -1)
            self._items += [item._replace(crops=each) for item, each in zip(items, kept, strict=True)]
            progress(len(self._items), len(crops))

    def __len__(self) -> int:
        """The number of images."""
        return len(self._items)

    def __getitem__(self, key: Key) -> Item:
        """The embedded crops of one image, or one of them; every epoch has the same."""
        _, index, *apart = key
        item = self._items[index]
        return item._replace(crops=item.crops[apart]) if apart else item
