import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks.ten_splits import compare, summary, to_markdown

from benchmarks import ten_splits
from mpiqe.errors import ConfigError, DatasetError

SMALL = ["--windows", "3", "--decoder-layers", "1", "--crops", "2", "--batch-size", "8", "--epochs", "2"]
SMALL += ["--warmup-epochs", "1", "--workers", "0"]
ON_CPU = ["--device", "cpu", "--precision", "fp32"]


def _write(folder: Path, number: int, mpiqe: list[float], probed: list[float], mos: list[float]) -> None:
    run = folder / f"split-{number:02}"
    run.mkdir(parents=True)
    rows = [f"{i}.png,{m!r},{s!r},0.5" for i, (m, s) in enumerate(zip(mos, mpiqe, strict=True))]
    (run / "predictions.csv").write_text("\n".join(["image,mos,score,spread", *rows, ""]))
    rows = [f"{i}.png,{m!r},{s!r}" for i, (m, s) in enumerate(zip(mos, probed, strict=True))]
    (run / "probe.csv").write_text("\n".join(["image,mos,score", *rows, ""]))


def test_the_summary_is_computed_from_the_predictions_alone(tmp_path: Path) -> None:
    mos = [10.0, 20, 30, 40, 50]
    _write(tmp_path, 1, [1.0, 2, 3, 4, 5], [1.0, 2, 3, 5, 4], mos)  # SRCC 1 and 1 - 6 * 2 / 120 = 0.9
    _write(tmp_path, 2, [1.0, 2, 3, 5, 4], [5.0, 4, 3, 2, 1], mos)  # 0.9 and -1
    _write(tmp_path, 3, [2.0, 1, 4, 3, 5], [2.0, 1, 4, 3, 5], mos)  # 1 - 6 * 4 / 120 = 0.8, twice
    (tmp_path / "split-04").mkdir()
    (tmp_path / "split-04" / "predictions.csv").write_text("image,mos,score,spread\n")  # not finished: no probe yet
    found = summary(tmp_path)
    assert [of["split"] for of in found["splits"]] == [1, 2, 3]
    assert [of["mpiqe"]["srcc"] for of in found["splits"]] == pytest.approx([1, 0.9, 0.8])
    assert [of["probe"]["srcc"] for of in found["splits"]] == pytest.approx([0.9, -1, 0.8])
    assert found["splits"][0]["mpiqe"]["rmse"] == pytest.approx((81 * (1 + 4 + 9 + 16 + 25) / 5) ** 0.5)
    assert found["splits"][1]["probe"]["plcc"] == pytest.approx(-1)
    assert found["mpiqe"]["srcc"] == pytest.approx({"median": 0.9, "mean": 0.9, "deviation": 0.1})
    assert {key: found["comparisons"]["probe"][key] for key in ("wins", "ties", "losses")} == {
        "wins": 2,
        "ties": 1,
        "losses": 0,
    }
    assert "| 2 | 0.9000 | -1.0000 |" in to_markdown(found)


def test_predictions_of_different_images_are_not_compared(tmp_path: Path) -> None:
    _write(tmp_path, 1, [1.0, 2, 3], [1.0, 2, 3], [1.0, 2, 3])
    file = tmp_path / "split-01" / "probe.csv"
    file.write_text(file.read_text().replace("2.png", "9.png"))
    with pytest.raises(DatasetError, match="not of the same images"):
        summary(tmp_path)


def test_wilcoxon_is_two_sided_and_paired() -> None:
    found = compare([0.01 * n for n in range(1, 11)])
    assert found["p"] == pytest.approx(2 / 2**10)  # all of ten signs alike, either way
    assert (found["wins"], found["losses"], found["statistic"]) == (10, 0, 0)
    assert compare([-0.01 * n for n in range(1, 11)])["p"] == found["p"]
    assert compare([0.0, 0.0])["p"] is None


def test_split_numbers_are_ranges_and_lists() -> None:
    assert ten_splits.split_numbers("1-3,7") == [1, 2, 3, 7]


def test_finished_splits_stay_and_each_may_have_its_own_backbone(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny1").symlink_to(tiny_folder)
    (tmp_path / "tiny2").symlink_to(tiny_folder)
    command = ["--data", f"csv:{rated_photos}", "--backbone", str(tmp_path / "tiny{split}"), *SMALL, *ON_CPU]
    out = tmp_path / "out"
    ten_splits.main([*command, "--out", str(out), "--splits", "1"])
    assert len(list((out / "features").iterdir())) == 1
    written = {path: path.stat().st_mtime_ns for path in (out / "split-01").iterdir()}
    ten_splits.main([*command, "--out", str(out), "--splits", "1-2"])
    assert {path: path.stat().st_mtime_ns for path in (out / "split-01").iterdir()} == written
    assert len(list((out / "features").iterdir())) == 1  # the same weights, though another folder
    found = json.loads((out / "summary.json").read_text())
    assert found["settings"]["epochs"] == 2
    assert len(set(found["backbone_digests"].values())) == 1
    assert [set(found["alphas"][number]) for number in ("1", "2")] == [{"probe"}, {"probe"}]
    assert set(found["moved"]) == {"moved_contexts", "moved_visual_tokens", "moved_decoder"}
    again = summary(out)
    assert {key: found[key] for key in again} == again
    assert found["splits"][0]["mpiqe"]["srcc"] == json.loads((out / "split-01" / "test.json").read_text())["srcc"]
    assert "2 splits" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="epochs was 2 and is 3 now"):
        ten_splits.main([*command, "--out", str(out), "--splits", "1", "--epochs", "3"])


def test_an_efficientnet_stem_has_a_second_rival(tmp_path: Path) -> None:
    mos = [10.0, 20, 30, 40, 50]
    _write(tmp_path, 1, [1.0, 2, 3, 4, 5], [1.0, 2, 3, 5, 4], mos)
    run = tmp_path / "split-01"
    (run / "pooled.csv").write_text((run / "probe.csv").read_text())
    _write(tmp_path, 2, [1.0, 2, 3, 5, 4], [5.0, 4, 3, 2, 1], mos)  # not finished: no pooled.csv yet
    found = summary(tmp_path)
    assert [of["split"] for of in found["splits"]] == [1]
    assert found["pooled"] == found["probe"]
    assert set(found["comparisons"]) == {"probe", "pooled"}
    assert "SRCC, pooled" in to_markdown(found)
    assert "parameters moved" in to_markdown({**found, "moved": {"moved_contexts": 1.5}})


def test_each_split_chooses_on_its_own_validation_images(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", f"csv:{rated_photos}", "--backbone", str(tiny_folder), *SMALL, *ON_CPU, "--splits", "1"]
    command += ["--out", str(tmp_path), "--try-learning-rate", "1e-4", "3e-2", "--try-epochs", "1"]
    command += ["--warmup-epochs", "0", "--cache-stem"]
    ten_splits.main(command)
    split = tmp_path / "split-01"
    told = json.loads((split / "choice.json").read_text())
    tried = {one["learning_rate"]: one["val_srcc"] for one in told["tried"]}
    assert set(tried) == {1e-4, 3e-2}
    best = max(tried, key=lambda rate: tried[rate])
    assert tried[best] != min(tried.values())  # else any choice would do
    assert told["chosen"] == {"learning_rate": best, "epochs": 1}
    settings = json.loads((split / "config.json").read_text())["settings"]
    assert (settings["learning_rate"], settings["epochs"]) == (best, 1)
    last = json.loads((split / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val_srcc"] == tried[best]
    (left,) = (tmp_path / "candidates" / "split-01").iterdir()
    assert left.name != f"learning_rate={best:g}-epochs=1"
    assert len(list((tmp_path / "stem").iterdir())) == 1  # for both runs
    written = (split / "predictions.csv").stat().st_mtime_ns
    ten_splits.main(command)  # again: nothing is left to do
    assert (split / "predictions.csv").stat().st_mtime_ns == written
    assert f"learning_rate {best:g} and epochs 1 (1 split)" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="not with --no-validation"):
        ten_splits.main([*command, "--out", str(tmp_path / "other"), "--no-validation"])


@pytest.mark.slow
def test_a_split_that_was_killed_goes_on(tmp_path: Path, rated_photos: Path, tiny_folder: Path) -> None:
    command = ["--data", f"csv:{rated_photos}", "--backbone", str(tiny_folder), *SMALL, *ON_CPU, "--splits", "1"]
    ten_splits.main([*command, "--out", str(tmp_path / "straight")])

    def kill(_: object, row: Mapping[str, Any]) -> None:
        if row["epoch"] == 2:  # the last one, before the test
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ten_splits.TerminalReporter, "epoch", kill)
        with pytest.raises(KeyboardInterrupt):
            ten_splits.main([*command, "--out", str(tmp_path / "killed")])
    assert not (tmp_path / "killed" / "split-01" / "test.json").exists()
    ten_splits.main([*command, "--out", str(tmp_path / "killed")])
    assert summary(tmp_path / "killed") == summary(tmp_path / "straight")
