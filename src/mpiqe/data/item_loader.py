"""A ``DataLoader`` whose worker processes' errors are one sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from mpiqe.errors import ConfigError, MPIQEError

T = TypeVar("T")


class ItemLoader(DataLoader[T]):
    """Raise an ``MPIQEError`` of a worker process as it is there: torch would put a traceback into its text."""

    def __init__(
        self, dataset: TorchDataset[T], *, collate_fn: Callable[[list[Any]], Any] = default_collate, **how: Any
    ) -> None:
        super().__init__(_Caught(dataset), collate_fn=partial(_collate, collate_fn), **how)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Begin to load at once, as a ``DataLoader`` does."""
        return _raising(super().__iter__())


class _Caught(TorchDataset[Any]):
    """The items of a dataset, or the error in place of one."""

    def __init__(self, dataset: TorchDataset[Any]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except MPIQEError as error:
            return error


def _collate(collate: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    errors = (item for item in items if isinstance(item, MPIQEError))
    error = next(errors, None)
    return collate(items) if error is None else error


def _raising(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        if isinstance(batch, MPIQEError):
            raise batch
        yield batch


@contextmanager
def killed_workers_named() -> Iterator[None]:
    """Turn the error of a worker process that was killed into one sentence.

    Torch raises it in whatever the main process is doing, so that it can come as the fault of a photo.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and "DataLoader worker (pid" not in str(cause):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise ConfigError(
            f"a process that decodes photos has died ({str(cause).strip()}), killed for want of memory perhaps: give "
            "fewer --workers (0: none beside the training); what is done stays, and --resume goes on from there"
        ) from error
