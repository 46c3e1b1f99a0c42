"""The model card: metadata that the hub reads, and a text that says what the model is, from the run's own files."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mpiqe.data.registry import DATASETS
from mpiqe.extras import needing
from mpiqe.model.checkpoint import CheckpointConfig

_METRICS = {  # figures of a run's test -> the hub's name of the metric, and ours
    "srcc": ("spearmanr", "SRCC"),
    "plcc": ("pearsonr", "PLCC"),
    "plcc_fitted": ("pearsonr", "PLCC after the logistic fit"),
    "krcc": ("kendalltau", "KRCC"),
    "rmse": ("rmse", "RMSE"),
}
_TAGS = ("image-quality-assessment", "no-reference", "blind-image-quality-assessment", "mp-iqe")
_TASK = "image-quality-assessment"


def model_card(
    config: CheckpointConfig,
    figures: Mapping[str, Any],
    *,
    name: str,
    licence: str,
    datasets: Sequence[str],
    has_graph: bool,
    text: str | None = None,
) -> str:
    """Return README.md: YAML metadata between two lines of dashes, then Markdown.

    ``name``: ``user/model``, or any. ``figures``: of the run's test images (``test.json``), empty if there are none.
    ``text`` comes before what is written from ``config``. Raises ``ConfigError`` without the extra ``[hub]``.
    """
    measured = measured_figures(figures)
    with needing("to write a model card"):
        from huggingface_hub import EvalResult, ModelCardData
    title = DATASETS[config.dataset].title if config.dataset in DATASETS else config.dataset
    results = [
        EvalResult(
            task_type=_TASK,
            task_name="Blind image quality assessment",
            dataset_type=config.dataset,
            dataset_name=title,
            dataset_config=f"split {config.split}" if config.split else None,
            dataset_split="test",
            metric_type=_METRICS[key][0],
            metric_name=_METRICS[key][1],
            metric_value=round(value, 6),
        )
        for key, value in measured.items()
    ]
    data = ModelCardData(
        license=licence,
        library_name="mpiqe",
        tags=list(_TAGS),
        datasets=list(datasets),
        metrics=list(dict.fromkeys(_METRICS[key][0] for key in measured)) or None,
        model_name=name.rpartition("/")[2],
        eval_results=results or None,
        base_model=config.backbone if "/" in config.backbone else None,
    )
    body = _text(config, measured, title, name=name, has_graph=has_graph, count=figures.get("count"))
    return f"---\n{data.to_yaml()}\n---\n\n" + (f"{text.strip()}\n\n" if text else "") + body


def measured_figures(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those of the figures that the card shows and that are numbers; none of them is for a test of few images."""
    return {
        key: float(figures[key])
        for key in _METRICS
        if isinstance(figures.get(key), (int, float)) and math.isfinite(figures[key])
    }


def _text(
    config: CheckpointConfig, measured: Mapping[str, float], title: str, *, name: str, has_graph: bool, count: object
) -> str:
    lines = [
        f"# {name.rpartition('/')[2]}",
        "",
        "Blind image quality assessment with [MP-IQE](https://arxiv.org/abs/2404.14949) by mpiqe: a score for a photo.",
        "",
        "```python",
        "import mpiqe",
        "",
        f'scorer = mpiqe.from_pretrained("{name}")' + ("  # the exported graph: no torch" if has_graph else ""),
        'print(scorer("photo.jpg").score)',
        "```",
        "",
        f"- **Score**: mean opinion score on the scale of {title}, {config.mos_low:.4g} to {config.mos_high:.4g} in "
        "training, higher is better.",
        f"- **Crops**: {config.crops} of a photo, {config.crop_mode}, "
        + {
            "native": "cut at its own resolution.",
            "scaled": f"cut from the photo brought down to at most {config.view.side} x {config.view.side} pixels.",
            "square": f"cut from the whole photo, resized to {config.view.side} x {config.view.side} pixels.",
        }[config.view.kind],
    ]
    if config.interval is not None:
        photos = ", ".join(f"{number} of {of}" for of, number in config.interval.photos.items())
        lines.append(f"- **Interval**: {config.interval.level:.0%}, calibrated on {photos}.")
    learnt = config.training.get("epochs")
    lines += ["", "## Training", "", f"On {title}" + (f", split {config.split}" if config.split else "") + "."]
    if learnt is not None:
        lines[-1] += f" {learnt} epochs, seed {config.training.get('seed')}, learning rate "
        lines[-1] += f"{config.training.get('learning_rate')}, batches of {config.training.get('batch_size')}."
    lines += [f"Backbone: `{config.backbone}`. All settings are in config.json.", "", "## Evaluation", ""]
    if measured:
        lines += [f"On {count or 'the'} test images of {title}, which chose nothing:", ""]
        lines += ["| | |", "|---|---|", *(f"| {_METRICS[key][1]} | {value:.4f} |" for key, value in measured.items())]
    else:
        lines.append("The run has no figures of test images.")
    lines += [
        "",
        "## Limits",
        "",
        "The score tells what people said of photos like those above. It is no measure of aesthetics, content or "
        "people, and photos of another kind (graphics, screenshots, generated images) were not tested.",
        "",
    ]
    return "\n".join(lines)
