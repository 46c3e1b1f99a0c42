"""What a frozen stem makes of one draw of crops, kept in memory.

Axes: K crops of an image, N patches, W vision width, F pooled features.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import CropDataset, Item, Key, collate
from mpiqe.data.record import Dataset
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.tensor_files import check_safetensors, write_safetensors
from mpiqe.training.options import RunOptions

_AT_ONCE = 16  # images
_NAME = "embedded"
Stored = Mapping[Path, Tensor]
"""An image's file -> ``Embedded.joined`` of its K crops (K, N W + F), float16."""


class StemCache(TorchDataset[Item]):
    """The items of ``crops`` in its first epoch with ``Embedded.joined`` (K, N W + F), float16, in place of pixels.

    An image takes 2 K (N W + F) bytes: 68 KB for 4 crops of 36 patches of 192 and 1632 pooled features.
    Right while the stem is frozen. What ``stored`` has is taken from there.
    """

    def __init__(
        self,
        crops: CropDataset,
        clip: FrozenCLIP,
        *,
        accelerator: Accelerator,
        progress: Callable[[int, int], None],
        stored: Stored | None = None,
    ) -> None:
        self._items: list[Item] = []
        there = stored or {}
        if all(record.image in there for record in crops.records):
            self._items = [crops.item(index, there[record.image]) for index, record in enumerate(crops.records)]
            return
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


def stored_stem(
    folder: Path,
    dataset: Dataset,
    clip: FrozenCLIP,
    settings: RunOptions,
    *,
    accelerator: Accelerator,
    progress: Callable[[int, int], None],
) -> Stored:
    """What the stem makes of every image of ``dataset``, for the many runs of a study; kept in a file in ``folder``.

    The crops are those of a score. The file's name tells backbone, data, crops and precision apart. A file that is
    damaged is an error: ``WeightsError``.
    """
    cut = f"{clip.image_size} {settings.crops} {settings.crop_mode} view {settings.view.to_json()}"
    about = {"backbone": clip.digest(), "data": dataset.digest, "crops": cut, "precision": settings.precision}
    file = folder / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.safetensors"
    images = [record.image for record in dataset.records]
    if file.exists():
        check_safetensors(file)
        return dict(zip(images, load_file(file)[_NAME], strict=True))
    crops = CropDataset(
        dataset.records,
        size=clip.image_size,
        count=settings.crops,
        seed=0,
        crops=settings.crop_mode,
        view=settings.view,
    )
    made = StemCache(crops, clip, accelerator=accelerator, progress=progress)
    embedded = torch.stack([made[1, index].crops for index in range(len(made))])
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(file, {_NAME: embedded}, about)
    return dict(zip(images, embedded, strict=True))
