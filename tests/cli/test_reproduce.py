import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.experiments.conftest import QUICK, livec, roots  # noqa: F401  (fixtures)
from typer.testing import CliRunner, Result

from mpiqe.cli.main import app
from mpiqe.experiments import runner
from mpiqe.model.clip import FrozenCLIP


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in QUICK.items()))
    return file


def _arguments(roots: Path, settings: Path, backbone: Path, out: Path, *more: str) -> list[str]:  # noqa: F811
    given = {"--roots": roots, "--config": settings, "--backbone": backbone, "--out": out, "--datasets": "livec"}
    return ["reproduce", *more, *(str(part) for pair in given.items() for part in pair)]


def _scores(out: Path) -> dict[str, str]:
    return {str(file.relative_to(out)): file.read_text() for file in sorted(out.rglob("predictions*.csv"))}


def _done(out: Path) -> dict[str, int]:
    """Every run that is finished, and when it was."""
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.rglob("test.json")}


@pytest.fixture(scope="module")
def reported(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[str], Path, Result]:
    """The arguments of a study of table 2 with figure 4, where it has written, and how it ended."""
    out = tmp_path_factory.mktemp("study") / "out"
    arguments = _arguments(roots, settings, tiny_folder, out, "table2", "figure4", "--repeats", "1")
    return arguments, out, CliRunner().invoke(app, arguments)


def test_the_plan_is_printed_first_and_alone_if_it_is_all_that_is_asked(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(app, _arguments(roots, settings, tiny_folder, tmp_path / "out", "table4", "--plan"))
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["table4", "csiq", "5", "cells", "csiq", "was", "not", "asked", "for"] in lines
    assert ["table4", "livec", "5", "cells", "0", "of", "50", "runs", "done"] in lines
    assert "50 of 50 runs are left" in done.stdout
    assert "how long they take is measured when they start" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_plan_alone_takes_neither_the_hub_nor_transformers(roots: Path, settings: Path, tmp_path: Path) -> None:  # noqa: F811
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('no network is needed for a plan')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from mpiqe.cli.main import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "assert 'transformers' not in sys.modules\n"
    )
    arguments = _arguments(roots, settings, Path("nobody/has-this-clip"), tmp_path / "out", "table4", "--plan")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "50 of 50 runs are left" in done.stdout


@pytest.mark.slow
def test_table_4_survives_a_kill_and_ends_with_the_same_numbers(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    more = ("table4", "--repeats", "1")
    done = CliRunner().invoke(app, _arguments(roots, settings, tiny_folder, straight, *more))
    assert done.exit_code == 0, done.output
    command = [sys.executable, "-m", "mpiqe", *_arguments(roots, settings, tiny_folder, killed, *more)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    ended = time.monotonic() + 120
    while len(_done(killed)) < 2 and time.monotonic() < ended:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = _done(killed)
    assert 2 <= len(kept) < 5
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert _scores(killed) == _scores(straight)
    assert kept.items() <= _done(killed).items()  # what was done is not done again
    assert (killed / "cells.csv").read_text() == (straight / "cells.csv").read_text()


def test_a_report_alone_begins_no_run_and_says_that_they_are_not_done(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    more = ("table4", "--repeats", "1", "--variants", "no-scene", "--report-only")
    done = CliRunner().invoke(app, _arguments(roots, settings, tiny_folder, out, *more))
    assert done.exit_code == 0, done.output
    assert _done(out) == {}
    with (out / "cells.csv").open(newline="") as lines:
        cells = {row["row"]: row for row in csv.DictReader(lines) if row["test"] == "livec"}
    assert (cells["MP-IQE"]["state"], cells["MP-IQE"]["reason"]) == ("not run", "not done yet")
    assert cells["shallow visual prompts"]["reason"] == "shallow-visual was not asked for"
    with (out / "claims.csv").open(newline="") as lines:
        assert list(csv.DictReader(lines)) == []


@pytest.mark.slow
def test_the_report_has_ours_beside_the_papers_and_leaves_what_was_not_run_empty(
    reported: tuple[list[str], Path, Result],
) -> None:
    _, out, done = reported
    assert done.exit_code == 0, done.output
    with (out / "cells.csv").open(newline="") as lines:
        cells = {(row["row"], row["test"]): row for row in csv.DictReader(lines)}
    ours, missing = cells["MP-IQE", "livec"], cells["MP-IQE", "koniq"]
    test = json.loads((out / "runs/livec/mp-iqe/split-01/test.json").read_text())
    assert (ours["state"], ours["repeats"], ours["paper_srcc"]) == ("run", "1", "0.9")
    assert float(ours["srcc_median"]) == pytest.approx(test["srcc"])
    assert float(ours["difference_srcc"]) == pytest.approx(test["srcc"] - 0.9)
    assert (missing["state"], missing["srcc_median"], missing["paper_srcc"]) == ("not run", "", "0.898")
    assert (out / "figure4.png").stat().st_size > 10_000
    sides = json.loads((out / "runs/livec/splits.json").read_text())["mpiqe's 1"]
    assert sum(map(len, sides.values())) == len(set().union(*sides.values())) == 1162
    tested = (out / "runs/livec/mp-iqe/split-01/predictions.csv").read_text().splitlines()[1:]
    assert sides["test"] == [line.split(",")[0] for line in tested]
    page = (out / "report.html").read_text()
    assert "mpiqe reproduce" not in done.stdout
    assert "Figure 4" in page
    assert "<script" not in page


@pytest.mark.slow
def test_a_dataset_with_a_broken_picture_costs_its_cells_alone(
    livec: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "roots.toml").write_text(f'livec = "{livec.as_posix()}"\nbid = "{tmp_path.as_posix()}"\n')
    arguments = _arguments(tmp_path / "roots.toml", settings, tiny_folder, tmp_path / "out", "table1", "--repeats", "1")
    done = CliRunner().invoke(app, arguments[: arguments.index("--datasets")])
    assert done.exit_code == 1, done.output
    assert "bid cannot be used" in done.stdout
    assert "mpiqe: bid: " in done.stderr
    with (tmp_path / "out" / "cells.csv").open(newline="") as lines:
        states = {(row["row"], row["test"]): row["state"] for row in csv.DictReader(lines)}
    for method in ("MP-IQE", "LIQE"):
        assert (states[method, "livec"], states[method, "bid"]) == ("run", "not run")


@pytest.mark.slow
def test_other_settings_on_the_same_folder_are_refused(reported: tuple[list[str], Path, Result]) -> None:
    arguments, _, done = reported
    assert done.exit_code == 0
    other = CliRunner().invoke(app, [*arguments, "--epochs", "2"])
    assert other.exit_code == 2
    assert "epochs was 1 and is 2 now" in other.stderr


def test_a_backbone_that_has_seen_the_data_is_told(roots: Path, settings: Path, tmp_path: Path) -> None:  # noqa: F811
    clip = FrozenCLIP.from_pretrained("embedded")
    clip.add_pretraining_data([{"data": "livec", "split": 1, "train_on_all": True}])
    clip.save(tmp_path / "backbone")
    done = CliRunner().invoke(
        app, _arguments(roots, settings, tmp_path / "backbone", tmp_path / "out", "table4", "--plan", "--repeats", "1")
    )
    assert done.exit_code == 0, done.output
    assert "careful: The backbone was pretrained on livec (all but the validation images of split 1)" in done.stdout


def test_nothing_to_read_is_said_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "table4", "--roots", str(tmp_path / "roots.toml")])
    assert done.exit_code == 2
    assert "roots.toml" in done.stderr


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, do = tmp_path / "out", runner.do

    def do_one(*arguments: Any) -> None:
        if _done(out):
            raise KeyboardInterrupt
        do(*arguments)

    monkeypatch.setattr(runner, "do", do_one)
    done = CliRunner().invoke(app, _arguments(roots, settings, tiny_folder, out, "table4", "--repeats", "3"))
    assert done.exit_code == 130
    assert "stopped; what is done is in" in done.stderr
    assert len(_done(out)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
    jobs: str,
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "mpiqe",
        *_arguments(roots, settings, tiny_folder, out, "table4", "--repeats", "3", "--jobs", jobs),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    ended = time.monotonic() + 120
    while not _done(out) and time.monotonic() < ended:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; what is done is in" in errors
    assert "Traceback" not in errors
    assert 1 <= len(_done(out)) < 15


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
def test_workers_end_with_their_parent_and_the_same_command_goes_on(
    roots: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    arguments = _arguments(roots, settings, tiny_folder, out, "table4", "--repeats", "2", "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "mpiqe", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ended = time.monotonic() + 120
    while not _done(out) and time.monotonic() < ended:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)  # the parent alone
    process.wait()
    ended = time.monotonic() + 30
    while _group(process.pid) and time.monotonic() < ended:
        time.sleep(0.1)
    assert _group(process.pid) == []
    assert len(_done(out)) < 10
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert len(_done(out)) == 10


def _group(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, _, group = rest.split()[:3]
        if int(group) == leader and state != "Z":
            found.append(int(name.split(" ")[0]))
    return found


@pytest.mark.slow
def test_a_broken_picture_of_the_other_dataset_costs_table_3_alone(
    livec: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    koniq = tmp_path / "koniq-10k"
    (koniq / "1024x768").mkdir(parents=True)
    rows = ["image_name,MOS,MOS_zscore", *(f"{n}.jpg,{1 + n % 5},{n % 100}" for n in range(10_073))]
    (koniq / "koniq10k_scores_and_distributions.csv").write_text("\n".join(rows) + "\n")
    for number in range(10_073):
        (koniq / "1024x768" / f"{number}.jpg").write_bytes(b"no picture")
    (tmp_path / "roots.toml").write_text(f'livec = "{livec.as_posix()}"\nkoniq = "koniq-10k"\n')
    out = tmp_path / "out"
    arguments = _arguments(tmp_path / "roots.toml", settings, tiny_folder, out, "table3", "table4", "--repeats", "1")
    done = CliRunner().invoke(app, arguments[: arguments.index("--datasets")])
    assert done.exit_code == 1, done.output
    with (out / "cells.csv").open(newline="") as lines:
        states = {(r["row"], r["train"], r["test"]): r["state"] for r in csv.DictReader(lines)}
    assert states["MP-IQE", "livec", "livec"] == "run"
    assert states["w/o scene prompts", "livec", "livec"] == "run"
    assert states["MP-IQE", "livec", "koniq"] == "not run"


def test_a_dataset_that_lacks_a_file_is_left_out_of_the_plan_and_stops_nothing(
    livec: Path,  # noqa: F811
    settings: Path,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "koniq-10k" / "1024x768").mkdir(parents=True)
    rows = ["image_name,MOS,MOS_zscore", *(f"{n}.jpg,{1 + n % 5},{n % 100}" for n in range(10_073))]
    (tmp_path / "koniq-10k" / "koniq10k_scores_and_distributions.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "roots.toml").write_text(f'livec = "{livec.as_posix()}"\nkoniq = "koniq-10k"\n')
    arguments = _arguments(tmp_path / "roots.toml", settings, tiny_folder, tmp_path / "out", "table2", "--plan")
    done = CliRunner().invoke(app, arguments[: arguments.index("--datasets")])
    assert done.exit_code == 0, done.output
    assert "koniq cannot be used" in done.stdout
    assert "30 of 30 runs are left" in done.stdout
