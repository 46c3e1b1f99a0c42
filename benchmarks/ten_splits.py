"""MP-IQE against ridge regressions on the same frozen backbone, on the ten splits of LIVE Challenge.

    python benchmarks/ten_splits.py --root DIR --labels LIQE_DIR --backbone B --out OUT [--splits 1-10] [--epochs 30 ..]

Settings of `mpiqe train` come from --config (TOML) and from flags of the same names. {split} in --backbone stands for
the number of the split, for backbones that must not have seen its test images. With --try-learning-rate and
--try-epochs each split takes, of all their combinations, the one with the highest SRCC on its own validation images
after the last epoch; choice.json of the split has them all. The others stay in OUT/candidates; what they score on test
images is not read.

`probe` is a ridge regression on the mean, over the crops that evaluation takes, of CLS and mean patch after CLIP's
projection, side by side, standardised on the images that it learns from (`mpiqe.training.linear_probe`). `pooled` is
the same on the pooled features of an EfficientNet stem, where the backbone has one. The alpha of each is the one of
`ALPHAS` there with the least RMSE on the split's validation images (by SRCC nothing would keep the scores from
shrinking to the mean); the test images are looked at once, after that. With --no-validation MP-IQE learns from the
validation images too, and so do the regressions once their alpha is chosen.

OUT holds a run folder for each split (`mpiqe train`'s, with probe.csv, pooled.csv and probe.json in it), the features,
summary.json and summary.md, which also say how far MP-IQE's parameters went in units of their initial deviation. A
finished split is not done again, a half one goes on. `summary(OUT)` needs nothing but the predictions.
"""

import argparse
import csv
import hashlib
import io
import json
import math
import statistics
import sys
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.stats import wilcoxon

from mpiqe import metrics
from mpiqe.cli.reporter import TerminalReporter
from mpiqe.data import Dataset, check, choose_split, describe_split, fraction, read_dataset, without_val
from mpiqe.errors import ConfigError, DatasetError, MPIQEError
from mpiqe.experiments.protocol import measure, read_predictions, summarize
from mpiqe.model.backbone_digest import same_backbone
from mpiqe.model.checkpoint import versions
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import LossOptions, ModelOptions
from mpiqe.model.tensor_files import write_safetensors
from mpiqe.parse import parse_toml
from mpiqe.training.device import accelerator_for, resolve_precision
from mpiqe.training.linear_probe import POOLED, PROBE, Floats, Probed, extract_features, probe
from mpiqe.training.options import RunOptions, TrainOptions, read_toml, resolve
from mpiqe.training.reporter import Reporter
from mpiqe.training.run_folder import CONFIG, PREDICTIONS, TEST, RunFolder, as_path
from mpiqe.training.stem_cache import Stored, stored_stem
from mpiqe.training.train import train

PROBE_NOTES = "probe.json"
RIVALS = {PROBE: "probe.csv", POOLED: "pooled.csv"}
NAMES = {"mpiqe": "MP-IQE", "probe": "probe", "pooled": "pooled"}
FIGURES = metrics.NAMES
CHOICE, CANDIDATES = "choice.json", "candidates"
CHOSEN = ("learning_rate", "epochs")
"""What --try-learning-rate and --try-epochs choose."""
_OWN = ("split", "splits", "backbone")  # not flags of their own here


def cached_features(
    clip: FrozenCLIP, dataset: Dataset, options: TrainOptions, folder: Path, reporter: Reporter
) -> dict[str, Floats]:
    """``extract_features``, once for each backbone, dataset, choice of crops and precision."""
    settings = options.run
    cut = f"{settings.crops} {settings.crop_mode} view {settings.view.to_json()}"
    about = (clip.digest(), dataset.digest, cut, settings.precision)
    file = folder / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        accelerator = accelerator_for(device=settings.device, precision=settings.precision)
        found = extract_features(clip, dataset.records, settings, accelerator=accelerator, reporter=reporter)
        notes = dict(zip(("backbone_digest", "data_digest", "crops", "precision"), map(str, about), strict=True))
        write_safetensors(file, {name: torch.from_numpy(values) for name, values in found.items()}, notes)
    return {name: np.asarray(values.numpy()) for name, values in load_file(file).items()}


def do_split(
    options: TrainOptions, out: Path, reporter: Reporter, *, candidates: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Train and test MP-IQE where that is not done, then its rivals.

    Of ``candidates`` the settings that are best on the split's validation images are taken; without any, ``options``.
    """
    settings = options.run
    run = RunFolder(out / f"split-{settings.split:02}")
    if (run.path / TEST).exists():
        run.refuse_other_settings(options.to_mapping(), but=CHOSEN if candidates else ())
        reporter.note(f"split {settings.split}: MP-IQE is done")
    elif candidates:
        choose(options, candidates, run, out, reporter)
    else:
        train_one(options, run, out, reporter)
    clip = FrozenCLIP.from_pretrained(settings.backbone)
    before = run.config()["backbone_digest"]
    if not same_backbone(before, clip.digest()):
        raise ConfigError(f"{run.path} was trained on {before}, {settings.backbone} is {clip.digest()} now")
    if (run.path / PROBE_NOTES).exists():
        return
    dataset = read_dataset(settings.data, root=as_path(settings.root), labels=as_path(settings.labels))
    features = cached_features(clip, dataset, options, out / "features", reporter)
    split = choose_split(dataset, settings.split, source=settings.splits)
    seen = fraction(split if settings.validation else without_val(split), settings.fraction, seed=settings.seed)
    split = fraction(split, settings.fraction, seed=settings.seed)
    mos = np.array([record.mos for record in dataset.records])
    notes: dict[str, Any] = {
        "split": describe_split(dataset, settings.split, source=settings.splits),
        "learned_from": len(seen.train),
    }
    names = [dataset.records[index].name for index in split.test]
    for rival, values in features.items():
        probed = probe(values, mos, split, trained=seen.train)
        run.write_text(RIVALS[rival], to_csv(names, mos[list(split.test)], probed))
        notes[rival] = {
            "alpha": probed.alpha,
            "validation_rmse": {f"{alpha:g}": value for alpha, value in probed.validation.items()},
            "features": values.shape[1],
        }
    run.write_json(PROBE_NOTES, notes)  # last: it says that the probe is done


def train_one(options: TrainOptions, run: RunFolder, out: Path, reporter: Reporter) -> None:
    """Train and test MP-IQE in ``run``, or go on with what was begun there."""
    settings = options.run
    if (run.path / TEST).exists():
        run.refuse_other_settings(options.to_mapping())
        return
    reporter.note(f"split {settings.split}: training MP-IQE on {settings.backbone} in {run.path}")
    stored = cached_stem(options, out / "stem", reporter)
    train(
        options, run, resume=(run.path / CONFIG).exists(), checked=stored is not None, stored=stored, reporter=reporter
    )


def cached_stem(options: TrainOptions, folder: Path, reporter: Reporter) -> Stored | None:
    """What the frozen stem makes of every image, for the runs of all splits; ``None`` without ``cache_stem``."""
    settings = options.run
    if not settings.cache_stem or options.model.tune != "prompts" or settings.extra_data:
        return None
    dataset = read_dataset(settings.data, root=as_path(settings.root), labels=as_path(settings.labels))
    if not folder.exists():
        check(dataset)
    accelerator = accelerator_for(device=settings.device, precision=settings.precision)
    clip = FrozenCLIP.from_pretrained(settings.backbone)
    clip.fuse()

    def progress(done: int, total: int) -> None:
        if done % 400 == 0 or done == total:
            reporter.note(f"the stem has embedded {done} of {total} images")

    return stored_stem(
        folder, dataset, clip.to(accelerator.device), settings, accelerator=accelerator, progress=progress
    )


def choose(
    options: TrainOptions, candidates: Sequence[Mapping[str, Any]], run: RunFolder, out: Path, reporter: Reporter
) -> None:
    """Train every candidate and make the best one on validation images ``run``, with ``CHOICE`` in it.

    Raises:
        ConfigError: the options keep no validation images back.
    """
    if not options.run.validation:
        raise ConfigError("--try-learning-rate and --try-epochs choose on validation images: not with --no-validation")
    folder = out / CANDIDATES / run.path.name
    tried: list[dict[str, Any]] = []
    for candidate in candidates:
        name = "-".join(f"{key}={value:g}" for key, value in candidate.items())
        one = RunFolder(folder / name)
        train_one(replace(options, run=replace(options.run, **candidate)), one, out, reporter)
        last = one.metrics()[-1]
        tried.append({**candidate, "val_srcc": last["val_srcc"], "val_plcc": last["val_plcc"], "folder": name})
    best = max(tried, key=lambda one: -math.inf if one["val_srcc"] is None else one["val_srcc"])
    chosen = RunFolder(folder / best["folder"])
    shown = [{key: value for key, value in one.items() if key != "folder"} for one in tried]
    chosen.write_json(CHOICE, {"tried": shown, "chosen": {name: best[name] for name in candidates[0]}})
    chosen.path.rename(run.path)


def to_csv(names: Sequence[str], mos: Floats, probed: Probed) -> str:
    """``image,mos,score`` lines, exact to the last bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "mos", "score"])
    writer.writerows(zip(names, mos.tolist(), probed.scores.tolist(), strict=True))
    return text.getvalue()


def summary(folder: Path) -> dict[str, Any]:
    """Every figure of every split that has the predictions of MP-IQE and of its rivals, computed from these alone."""
    rivals = [rival for rival, name in RIVALS.items() if any(folder.glob(f"split-*/{name}"))]
    files = {"mpiqe": PREDICTIONS, **{rival: RIVALS[rival] for rival in rivals}}
    splits = []
    for run in sorted(folder.glob("split-*")) if rivals else ():
        if all((run / name).exists() for name in files.values()):
            tables = {model: read_predictions(run / name) for model, name in files.items()}
            rated = [{image: mos for image, (mos, _) in table.items()} for table in tables.values()]
            if any(other != rated[0] for other in rated):
                raise DatasetError(f"{run}: {', '.join(files.values())} are not of the same images and ratings")
            measured = {model: measure(table) for model, table in tables.items()}
            splits.append({"split": int(run.name.removeprefix("split-")), "images": len(rated[0]), **measured})
    if not splits:
        raise DatasetError(f"{folder}: no split-NN folder holds {PREDICTIONS} and {RIVALS['probe']}")
    whole = {
        model: {figure: asdict(summarize([of[model][figure] for of in splits])) for figure in FIGURES}
        for model in files
    }
    found = {}
    for rival in rivals:
        pairs = [(of["mpiqe"]["srcc"], of[rival]["srcc"]) for of in splits]
        found[rival] = compare([mine - other for mine, other in pairs if None not in (mine, other)])
    return {"splits": splits, **whole, "comparisons": found}


def moved(folder: Path) -> dict[str, float]:
    """Mean over the splits of how far each part of MP-IQE went, in units of its initial deviation."""
    last = [RunFolder(run).metrics()[-1] for run in sorted(folder.glob("split-*")) if (run / TEST).exists()]
    parts = [key for key in last[0] if key.startswith("moved_")] if last else []
    return {part: statistics.fmean(row[part] for row in last) for part in parts}


def compare(differences: Sequence[float]) -> dict[str, Any]:
    """Wilcoxon's signed-rank test, paired and two-sided, of MP-IQE's SRCC minus a rival's over splits."""
    counts = {
        "wins": sum(value > 0 for value in differences),
        "ties": sum(value == 0 for value in differences),
        "losses": sum(value < 0 for value in differences),
    }
    if counts["ties"] == len(differences):
        return {**counts, "median_difference": 0.0, "statistic": None, "p": None}
    found = wilcoxon(differences)
    median = statistics.median(differences)
    return {**counts, "median_difference": median, "statistic": float(found.statistic), "p": float(found.pvalue)}


def to_markdown(result: dict[str, Any]) -> str:
    """One line a split, then median, mean and deviation, then the tests in words."""
    heads = ["SRCC", "PLCC", "PLCC fitted", "KRCC", "RMSE", "RMSE fitted"]
    models = ["mpiqe", *result["comparisons"]]
    lines = [
        "| split | " + " | ".join(f"{head}, {NAMES[model]}" for head in heads for model in models) + " |",
        "|---|" + "---:|" * (len(models) * len(heads)),
    ]
    for of in result["splits"]:
        cells = [_cell(figure, of[model][figure]) for figure in FIGURES for model in models]
        lines.append(f"| {of['split']} | {' | '.join(cells)} |")
    for what in ("median", "mean", "deviation"):
        cells = [_cell(figure, result[model][figure][what]) for figure in FIGURES for model in models]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    for rival, test in result["comparisons"].items():
        p = "not defined" if test["p"] is None else f"{test['p']:.4g}"
        lines += [
            "",
            f"SRCC of MP-IQE minus that of `{rival}` over {len(result['splits'])} splits: median "
            f"{test['median_difference']:+.4f}, {test['wins']} wins, {test['ties']} ties, {test['losses']} losses; "
            f"Wilcoxon signed-rank, two-sided: p = {p}.",
        ]
    lines += ["", "The splits share images, so they are no independent samples and p flatters."]
    if result.get("moved"):
        parts = [
            f"{part.removeprefix('moved_').replace('_', ' ')} {value:.2f}" for part, value in result["moved"].items()
        ]
        lines += ["", f"MP-IQE's parameters moved, in units of their initial deviation: {', '.join(parts)}."]
    if result.get("chosen"):
        settings = Counter(
            " and ".join(f"{name} {value:g}" for name, value in one.items()) for one in result["chosen"].values()
        )
        parts = [f"{text} ({times} split{'' if times == 1 else 's'})" for text, times in settings.most_common()]
        lines += ["", f"Chosen by SRCC on each split's own validation images: {', '.join(parts)}."]
    return "\n".join([*lines, ""])


def _cell(figure: str, value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if figure.startswith("rmse") else f"{value:.4f}"


def split_numbers(text: str) -> list[int]:
    """``1-3,7`` -> 1, 2, 3, 7"""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _value(text: str) -> Any:
    """A flag's text as TOML would read it, else as it stands."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", type=split_numbers, default="1-10", help="1-10, or 1,3,5-7")
    parser.add_argument("--backbone", help="CLIP by hub id or folder; {split} stands for the split's number")
    parser.add_argument("--config", type=Path, help="TOML file of settings; flags go before it")
    parser.add_argument("--try-learning-rate", type=float, nargs="+", default=[], metavar="X", help="to choose from")
    parser.add_argument("--try-epochs", type=int, nargs="+", default=[], metavar="N", help="to choose from")
    settings = parser.add_argument_group("settings of mpiqe train")
    for kind in (RunOptions, ModelOptions, LossOptions):
        hints = typing.get_type_hints(kind)
        for item in fields(kind):
            if item.name not in _OWN:
                how: dict[str, Any] = {"type": _value, "metavar": "X"}
                if hints[item.name] is bool:
                    how = {"action": argparse.BooleanOptionalAction}
                flag = "--" + item.name.replace("_", "-")
                text = item.metadata["help"].replace("%", "%%")
                settings.add_argument(flag, help=text, default=argparse.SUPPRESS, **how)
    return parser


def _notes(options: TrainOptions, out: Path, numbers: Sequence[int], *, own: Sequence[str] = ()) -> dict[str, Any]:
    """What is not in the predictions: from what they came. Splits of other settings, but ``own``, are refused."""
    shared = {key: value for key, value in options.to_mapping().items() if key not in ("split", "backbone", *own)}
    digests, alphas, choices = {}, {}, {}
    for number in numbers:
        run = RunFolder(out / f"split-{number:02}")
        run.refuse_other_settings(shared)
        digests[number] = run.config()["backbone_digest"]
        notes = json.loads((run.path / PROBE_NOTES).read_text(encoding="utf-8"))
        alphas[number] = {rival: notes[rival]["alpha"] for rival in RIVALS if rival in notes}
        if own:
            choices[number] = run.read_json(CHOICE)["chosen"]
    chosen = {"chosen": choices} if own else {}
    return {"settings": shared, **chosen, "backbone_digests": digests, "alphas": alphas, "versions": versions()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is not done yet, split by split; the summary is written after each."""
    given = vars(_parser().parse_args(arguments))
    out, numbers, config, backbone = (given.pop(name) for name in ("out", "splits", "config", "backbone"))
    rates, epochs = given.pop("try_learning_rate"), given.pop("try_epochs")
    own = {name: values for name, values in zip(CHOSEN, (rates, epochs), strict=True) if values}
    candidates = [dict(zip(own, values, strict=True)) for values in product(*own.values())] if own else []
    given = {**(read_toml(config) if config else {}), **given}
    backbone = backbone or given.get("backbone", RunOptions().backbone)
    with TerminalReporter() as reporter:
        for number in numbers:
            options = resolve({**given, "split": number, "backbone": backbone.replace("{split}", str(number))})
            precision = resolve_precision(device=options.run.device, precision=options.run.precision)
            options = replace(options, run=replace(options.run, precision=precision))  # as `train` writes it down
            do_split(options, out, reporter, candidates=candidates)
            found = {**summary(out), "moved": moved(out)}
            done = [of["split"] for of in found["splits"]]
            notes = {"backbone": backbone, **_notes(options, out, done, own=tuple(own))}
            text = to_markdown({**found, **notes})
            RunFolder(out).write_json("summary.json", {**found, **notes})
            RunFolder(out).write_text("summary.md", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except MPIQEError as error:
        sys.exit(f"benchmarks/ten_splits.py: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
