"""Run folders of a study: which runs are done, and whether they are of the same study. Loads no model."""

from collections.abc import Mapping

from mpiqe.data import Dataset
from mpiqe.errors import ConfigError
from mpiqe.experiments.study import Run, Study
from mpiqe.model.backbone_digest import same_backbone, what_differs
from mpiqe.training.run_folder import CONFIG, TEST


def other_predictions(name: str) -> str:
    """Return the name of the file with a run's predictions on another dataset."""
    return f"predictions-{name}.csv"


def about_other(name: str) -> str:
    """The file that says which copy of the other dataset these are about."""
    return f"predictions-{name}.json"


def is_tested(study: Study, run: Run) -> bool:
    """Whether a run has scored its own test images."""
    return (run.folder(study.out).path / TEST).exists()


def cross_tests_left(study: Study, run: Run) -> list[str]:
    """The other datasets (Table 3) that a run has still to score."""
    folder = run.folder(study.out).path
    return [name for name in study.others(run) if not (folder / other_predictions(name)).exists()]


def is_done(study: Study, run: Run) -> bool:
    """Whether a run has all its predictions."""
    return is_tested(study, run) and not cross_tests_left(study, run)


def refuse_other_study(study: Study, datasets: Mapping[str, Dataset], backbone_digest: str | None) -> None:
    """Raise ``ConfigError`` where a run that is there was made with other settings, data or weights.

    Without ``backbone_digest`` the weights are not compared.
    """
    faults = []
    digests = {name: dataset.digest for name, dataset in datasets.items()}  # a look at every file: once
    for run in study.runs():
        folder = run.folder(study.out)
        if not (folder.path / CONFIG).exists():
            continue
        try:
            folder.refuse_other_settings(study.options(run).to_mapping(), but=study.free_for_done_runs)
        except ConfigError as error:
            faults.append(str(error))
            continue
        config = folder.config()
        for name in study.others(run):
            about = folder.read_json(about_other(name))
            if about is not None and about["data_digest"] != digests[name]:
                faults.append(f"{folder.path / other_predictions(name)}: {name} is another copy or version now")
        now = {"data_digest": "+".join(digests[name] for name in study.trained_on(run))}
        if backbone_digest is not None:
            now["backbone_digest"] = backbone_digest
        faults += [
            "{}: the {} was {} and is {} now".format(
                folder.path, key.replace("_", " "), *what_differs(str(config.get(key)), value)[1:]
            )
            for key, value in now.items()
            if not same_backbone(str(config.get(key)), value)  # of data, whether they are the same
        ]
    if faults:
        raise ConfigError(
            "the folder holds runs of another study. Give the settings that they were made with, or name another --out:"
            "\n  " + "\n  ".join(faults)
        )
