import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpiqe import images
from mpiqe.data import choose_split, read_livec
from mpiqe.errors import ConfigError
from mpiqe.experiments import runner
from mpiqe.experiments.protocol import read_predictions
from mpiqe.experiments.results import gather
from mpiqe.experiments.run_files import is_done, other_predictions, refuse_other_study
from mpiqe.experiments.runner import STEM, check_images, do, do_all
from mpiqe.experiments.study import Place, Run, Study
from mpiqe.experiments.variants import FULL
from mpiqe.metrics import srcc
from mpiqe.model.clip import FrozenCLIP
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction
from mpiqe.training.linear_probe import extract_features, ridge
from mpiqe.training.reporter import Silent
from mpiqe.view import View

Make = Callable[..., Study]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ready")


def test_a_run_leaves_its_predictions_and_weights_and_not_the_optimisers_state(make_study: Make, livec: Path) -> None:
    study, run = make_study("table4"), Run(1, "livec", "no-scene")
    assert not is_done(study, run)
    do(study, run, Silent())
    folder = run.folder(study.out).path
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metrics.jsonl",
        "mpiqe.safetensors",
        "predictions.csv",
        "test.json",
    ]
    dataset = read_livec(livec)
    tested = [dataset.records[index].name for index in choose_split(dataset, 1).test]
    assert [line.split(",")[0] for line in (folder / "predictions.csv").read_text().splitlines()[1:]] == tested
    assert is_done(study, run)


@pytest.mark.slow
def test_a_linear_probe_learns_from_the_whole_training_side_and_takes_no_steps(make_study: Make, livec: Path) -> None:
    study, run = make_study("lines", settings={"crops": 2}), Run(1, "livec", "linear-probe")
    do(study, run, Silent())
    assert is_done(study, run)
    folder = run.folder(study.out).path
    names = ["config.json", "predictions.csv", "probe.json", "test.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    dataset, options = read_livec(livec), study.options(run)
    accelerator = accelerator_for(device="cpu", precision="fp32")
    features = extract_features(
        FrozenCLIP.from_pretrained(study.settings["backbone"]),
        dataset.records,
        options.run,
        accelerator=accelerator,
        reporter=Silent(),
    )["probe"]
    split, notes = choose_split(dataset, 1), json.loads((folder / "probe.json").read_text())
    learnt = [*split.train, *split.val]
    assert (notes["learned_from"], notes["features"]) == (len(learnt), features.shape[1])
    mos = np.array([record.mos for record in dataset.records])
    (fit,) = ridge(features[learnt], mos[learnt], [notes["alpha"]])
    rated = read_predictions(folder / "predictions.csv")
    assert list(rated) == [dataset.records[index].name for index in split.test]
    assert [score for _, score in rated.values()] == pytest.approx(fit(features[list(split.test)]))
    outcome = next(o for o in gather(study, {}).tables[0][1] if o.cell.variant == "linear-probe")
    assert outcome.figures["srcc"].median == srcc([score for _, score in rated.values()], mos[list(split.test)])
    assert outcome.figures["srcc"].median > 0.5  # bright photos are rated well, and a random tower sees brightness


@pytest.mark.slow
def test_what_is_not_trained_sees_photos_as_what_is(make_study: Make, livec: Path) -> None:
    settings = {"crops": 2, "view_side": 32, "crop_mode": "grid"}
    study = make_study("table2", "table3", settings=settings, repeats=1)
    study.places["koniq"] = Place("livec", livec)  # type: ignore[index]
    seen = []

    def looked_at(*_: object, crop_mode: str, view: View, records: object = None, **__: object) -> list[Prediction]:
        seen.append((crop_mode, view))
        return [Prediction(f"{number}", number, number, 0.0) for number in range(3)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "predict", looked_at)
        do(study, Run(1, "livec", "clip-iqa"), Silent())  # zero-shot
        do(study, Run(1, "livec", FULL), Silent())  # and on another dataset
    assert seen == [("grid", View.of_side(32))] * 2


def test_other_settings_are_refused(make_study: Make) -> None:
    study, run = make_study("table4"), Run(1, "livec", "no-scene")
    do(study, run, Silent())
    clip = FrozenCLIP.from_pretrained(study.settings["backbone"])
    datasets = {"livec": study.read("livec")}
    refuse_other_study(study, datasets, clip.digest())
    other = make_study("table4", settings={"learning_rate": 0.5})
    with pytest.raises(ConfigError, match=r"another study.*\n.*no-scene.*learning_rate was 0.01 and is 0.5 now"):
        refuse_other_study(other, datasets, clip.digest())
    with pytest.raises(ConfigError, match="backbone digest was"):
        refuse_other_study(study, datasets, "0" * 64)


@pytest.mark.slow
def test_the_runs_of_a_dataset_share_what_the_frozen_stem_makes_of_it(
    make_study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study("table2", settings={"cache_stem": True})
    do(study, Run(1, "livec", FULL), Silent())
    (file,) = (study.out / STEM).iterdir()

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("an image was read again")

    monkeypatch.setattr(images, "read_crops", refuse)
    for run in (Run(2, "livec", FULL), Run(1, "livec", "clip-iqa"), Run(1, "livec", "clip-iqa-plus")):
        do(study, run, Silent())
        assert len(read_predictions(run.folder(study.out).path / "predictions.csv")) == 232
    assert list((study.out / STEM).iterdir()) == [file]


@pytest.mark.slow
def test_several_at_a_time_end_with_the_numbers_of_one_after_another_but_for_rounding(
    make_study: Make, tmp_path: Path
) -> None:
    alone, together = (make_study("table2", datasets=("livec",), out=tmp_path / name, repeats=1) for name in "ab")
    assert {done.fault for done in do_all(alone, alone.runs(), jobs=1, reporter=Silent())} == {None}
    assert {done.fault for done in do_all(together, together.runs(), jobs=2, reporter=Silent())} == {None}
    for run in alone.runs():
        first, second = (
            read_predictions(run.folder(study.out).path / "predictions.csv") for study in (alone, together)
        )
        assert list(first) == list(second), run
        scores = [[score for _, score in rated.values()] for rated in (first, second)]
        assert scores[0] == pytest.approx(scores[1], abs=0.05), run  # fewer threads a process add up in another order


@pytest.mark.slow
def test_one_failing_run_is_told_and_the_others_go_on(make_study: Make) -> None:
    variants = ("no-visual", "shallow-visual")  # and the full model
    study = make_study("table4", repeats=1, variants=variants, own={"no-visual": {"windows": 7}})  # of 4 x 4 patches
    ends = {done.run.variant: done.fault for done in do_all(study, study.runs(), jobs=1, reporter=Silent())}
    assert "windows=7" in (ends.pop("no-visual") or "")
    assert ends == {FULL: None, "shallow-visual": None}
    outcomes = {
        outcome.cell.variant: outcome
        for outcome in gather(study, {"livec no-visual split 1": "windows=7 is too many"}).tables[0][1]
        if outcome.cell.test == "livec"
    }
    assert (outcomes["no-visual"].state, outcomes["no-visual"].reason) == ("not run", "windows=7 is too many")
    assert (outcomes[FULL].state, outcomes[FULL].repeats) == ("run", 1)


@pytest.mark.slow
def test_table_3_scores_every_image_of_the_other_dataset(make_study: Make, livec: Path, tmp_path: Path) -> None:
    study = make_study("table3", repeats=1)
    study.places["koniq"] = Place("livec", livec)  # stands for a second dataset  # type: ignore[index]
    run = Run(1, "livec", FULL)
    assert study.others(run) == ["koniq"]
    do(study, run, Silent())
    lines = (run.folder(study.out).path / other_predictions("koniq")).read_text().splitlines()
    assert len(lines) == 1 + 1162
    outcome = next(o for o in gather(study, {}).tables[0][1] if (o.cell.train, o.cell.variant) == ("livec", FULL))
    rows = [line.split(",") for line in lines[1:]]
    assert outcome.figures["srcc"].median == srcc([float(row[2]) for row in rows], [float(row[1]) for row in rows])
    assert outcome.cell.paper == {"srcc": 0.781}


@pytest.mark.slow
def test_a_mixture_is_trained_on_both_sets_and_scores_every_image_of_the_third(make_study: Make, livec: Path) -> None:
    study = make_study("mixture", repeats=1)
    for name in ("bid", "koniq"):
        study.places[name] = Place("livec", livec)  # stands for further datasets  # type: ignore[index]
    run = Run(1, "livec", "without-koniq")
    do(study, run, Silent())
    assert is_done(study, run)
    folder = run.folder(study.out).path
    row = json.loads((folder / "metrics.jsonl").read_text())
    assert row["loss_ranking"] > 0
    assert row["loss_plcc"] > 0
    assert len((folder / other_predictions("koniq")).read_text().splitlines()) == 1 + 1162
    outcome = next(o for o in gather(study, {}).tables[0][1] if o.cell.test == "koniq")
    assert (outcome.state, outcome.cell.train, outcome.figures["srcc"].median is not None) == ("run", "livec", True)
    datasets = {name: study.read(name) for name in study.places}
    refuse_other_study(study, datasets, None)
    assert json.loads((folder / "config.json").read_text())["data_digest"].count("+") == 1


def test_images_are_looked_at_once_in_a_studys_life(make_study: Make, livec: Path, tmp_path: Path) -> None:
    study, told = make_study("table4"), list[str]()
    study.out.mkdir()
    assert check_images(study, ["livec"], told.append) == {}
    assert check_images(study, ["livec"], told.append) == {}
    assert told == ["livec: checking 1162 images"]
    broken = tmp_path / "broken"
    shutil.copytree(livec, broken)
    (broken / "ChallengeDB_release" / "Images" / "7.bmp").write_bytes(b"BM")
    study.places["livec"] = Place("livec", broken)  # type: ignore[index]
    assert "7.bmp" in check_images(study, ["livec"], told.append)["livec"]


@pytest.mark.slow
def test_best_on_test_stands_beside_and_changes_nothing(make_study: Make) -> None:
    study = make_study("table4", repeats=1, settings={"test_each_epoch": True, "epochs": 2})
    run = Run(1, "livec", FULL)
    do(study, run, Silent())
    rows = [json.loads(line) for line in (run.folder(study.out).path / "metrics.jsonl").read_text().splitlines()]
    outcome = next(o for o in gather(study, {}).tables[0][1] if o.cell.variant == FULL and o.cell.test == "livec")
    assert outcome.best_on_test["srcc"].median == max(row["test_srcc"] for row in rows)
    assert outcome.figures["srcc"].median == pytest.approx(rows[-1]["test_srcc"])


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_study_with_a_sentence(make_study: Make, tmp_path: Path) -> None:
    study = make_study("table4", repeats=3, settings={"epochs": 200})

    def kill_a_child() -> None:
        ended = time.monotonic() + 60
        while not any(study.out.rglob("metrics.jsonl")) and time.monotonic() < ended:
            time.sleep(0.05)
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_a_child)
    killer.start()
    with pytest.raises(ConfigError, match="killed from outside"):
        list(do_all(study, study.runs(), jobs=2, reporter=Silent()))
    killer.join()
