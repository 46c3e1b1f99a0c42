"""``mpiqe score --engine ray`` on a real cluster of two workers: the file of the local engine, whatever dies meanwhile.

Each run is a process of its own, as a user's is, so that Ray's threads and warnings stay out of this one.
"""

import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mpiqe.batch.lock import alone
from mpiqe.batch.parquet_sink import parts_folder
from mpiqe.batch.ray.parts import finished, part_of
from mpiqe.batch.ray.shards import cut
from mpiqe.batch.resume import settings_file
from mpiqe.batch.sinks import COLUMNS
from mpiqe.sources.find import find_closed

pytest.importorskip("ray", reason="needs the extra [ray]")

MPIQE = [sys.executable, "-m", "mpiqe", "score", "--crops", "1"]
CLUSTER = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 28,
         _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a cluster with two processors, and the folder by which its processes are told from others."""
    patches = pytest.MonkeyPatch()
    patches.setenv("RAY_AUTH_MODE", "token")  # for the cluster and for the runs that come to it
    patches.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = Path("/tmp") / f"mpiqe-test-{os.getpid()}"  # noqa: S108 # a socket's path has 107 letters at most
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process.stdout.readline().decode().strip(), str(folder)
        process.stdin.close()
        process.wait(60)
    patches.undo()
    shutil.rmtree(folder)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with a broken file, a tar and a table of bytes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)

    def png():
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(content, "PNG")
        return content.getvalue()

    (tmp_path / "photos").mkdir()
    for number in range(8):
        (tmp_path / "photos" / f'{number}, "ü".png').write_bytes(png())
    (tmp_path / "photos" / "5-broken.jpg").touch()
    with tarfile.open("some.tar", "w") as archive:
        for number in range(6):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(content := png())
            archive.addfile(member, io.BytesIO(content))
    pq.write_table(pa.table({"image": [png() for _ in range(15)]}), "table.parquet", row_group_size=4)
    return ["photos", "some.tar", "table.parquet"]


def many(tmp_path):
    """A list of so many photos that there is time to kill something."""
    (tmp_path / "list.txt").write_text('photos/1, "ü".png\nphotos/5-broken.jpg\nphotos/2, "ü".png\n' * 60)
    return ["@list.txt"]


def run(*arguments, **options):
    done = subprocess.run([*MPIQE, *map(str, arguments)], capture_output=True, check=False, timeout=240, **options)
    return done.returncode, done.stderr.decode()


def parts_at_least(number, output, process):
    deadline = time.monotonic() + 120
    while len(finished(output)) < number and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return finished(output)


def workers_of(folder):
    """The processes of a cluster's actors: those whose parent was told the cluster's folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            is_actor = b"ShardScorer" in (entry / "cmdline").read_bytes()
            if is_actor and folder.encode() in Path("/proc", parent, "cmdline").read_bytes():
                yield int(entry.name)


@pytest.mark.slow
def test_a_cluster_of_its_own_writes_what_the_local_engine_writes_and_says_nothing_else(photos, tmp_path):
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    names = "\n".join(photos).encode()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    ray = ["--engine", "ray", "--shard-size", "13"]
    status, err = run("-", "--output", here, input=names)
    failed = "mpiqe: 1 of 30 photos could not be scored; their rows say why\n"
    assert (status, err.splitlines(keepends=True)[1:]) == (1, [failed])
    status, err = run("-", "--output", there, *ray, input=names, env=environment)
    assert (status, err.splitlines(keepends=True)[1:]) == (1, [failed])
    assert there.read_bytes() == here.read_bytes()
    assert settings_file(there).read_bytes() == settings_file(here).read_bytes()
    assert not parts_folder(there).exists()
    assert run("-", "--output", there, *ray, "--resume", input=names)[0] == 1
    assert run("-", "--output", there, "--resume", input=names)[0] == 1
    assert there.read_bytes() == here.read_bytes()


@pytest.mark.slow
def test_a_run_that_is_interrupted_and_killed_goes_on_from_its_shards(photos, tmp_path, cluster):
    sources = many(tmp_path)
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    assert run(*sources, "--output", here)[0] == 1
    ray = ["--engine", "ray", "--shard-size", "10", "--address", cluster[0], "--output", str(there)]
    with subprocess.Popen([*MPIQE, *sources, *ray], stderr=subprocess.PIPE, start_new_session=True) as process:
        parts_at_least(1, there, process)
        os.killpg(process.pid, signal.SIGINT)
        err = process.stderr.read().decode()
    assert process.returncode == 130
    assert "rows are written; the same command with --resume goes on from there" in err
    assert err.count("\n") == 1
    before = finished(there)
    assert 1 <= len(before) < 15
    marked = parts_folder(there) / before[0].name
    first = json.loads(marked.read_bytes().splitlines()[0])
    mark = json.dumps(first | {"path": "marked"}).encode() + b"\n"
    marked.write_bytes(mark + marked.read_bytes())

    with subprocess.Popen([*MPIQE, *sources, *ray, "--resume"], stderr=subprocess.PIPE) as process:
        parts_at_least(len(before) + 2, there, process)
        process.kill()
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL
    assert not there.exists()
    assert len(finished(there)) < 15
    assert run(*sources, *ray, "--resume")[0] == 1
    assert there.read_bytes().replace(mark, b"") == here.read_bytes()
    assert b"marked" in there.read_bytes()  # that shard was not scored again
    assert not parts_folder(there).exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing(photos, tmp_path, cluster):
    sources = [*many(tmp_path), *photos]
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    assert run(*sources, "--output", here)[0] == 1
    ray = ["--engine", "ray", "--shard-size", "15", "--address", cluster[0], "--output", str(there)]
    with subprocess.Popen([*MPIQE, *sources, *ray], stderr=subprocess.PIPE) as process:
        parts_at_least(2, there, process)
        killed = list(workers_of(cluster[1]))
        os.kill(killed[0], signal.SIGKILL)
        assert len(finished(there)) < 12
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert err.endswith("mpiqe: 61 of 210 photos could not be scored; their rows say why\n")
    assert pq.read_table(there).to_pylist() == pq.read_table(here).to_pylist()
    assert pq.read_schema(there).equals(pq.read_schema(here), check_metadata=True)


@pytest.fixture
def score():
    """In a process of its own: Ray's libraries and those of the models' runtimes are not to meet in pytest's."""
    return run


@pytest.mark.slow
def test_other_settings_are_refused_by_name(score, photos, tmp_path):
    rows = tmp_path / "rows.csv"
    assert score(*photos, "--output", rows)[0] == 1
    settings = json.loads(settings_file(rows).read_bytes())
    rows.unlink()
    parts_folder(rows).mkdir()
    (parts_folder(rows) / f"shard-{0:09}-{'0' * 16}-4-0-onnx_fp32_cpu.csv").touch()
    settings_file(rows).write_text(json.dumps(settings | {"shard_size": 10, "seed": 1}))
    status, err = score(*photos, "--output", rows, "--engine", "ray", "--resume")
    assert status == 2
    assert "shard_size was 10 and is 4096" in err
    assert "seed was 1 and is 0" in err
    for arguments in (["--engine", "ray"], ["--resume"], []):
        status, err = score(*photos, "--output", rows, *arguments)
        assert status == 2
        assert "continue it with --engine ray --resume, or start anew with --overwrite" in err


@pytest.mark.slow
def test_shards_that_nodes_compute_differently_are_told_and_stay(score, photos, tmp_path, cluster):
    rows = tmp_path / "rows.csv"
    ray = ["--engine", "ray", "--shard-size", "10", "--address", cluster[0], "--output", rows]
    assert score(*photos, "--output", rows)[0] == 1
    settings = json.loads(settings_file(rows).read_bytes())
    rows.unlink()
    del settings["computes"]  # of each shard it is in the name
    settings_file(rows).write_text(json.dumps(settings | {"shard_size": 10, "columns": len(COLUMNS)}))
    parts_folder(rows).mkdir()
    for shard in islice(cut(find_closed(photos, stdin=None), size=10), 2):
        words = "openvino bf16 cpu" if shard.number else "onnx fp32 cpu"
        part = part_of(shard, rows=10, failed=0, computes=words, last=None, form="csv")
        (parts_folder(rows) / part.name).touch()
    there = finished(rows)
    status, err = score(*photos, *ray, "--resume")
    assert status == 2
    assert "shard 0 was computed with 'onnx fp32 cpu' and shard 1 with 'openvino bf16 cpu'" in err
    assert finished(rows) == there
    (parts_folder(rows) / there[1].name).unlink()
    status, err = score(*photos, *ray, "--resume", "--runtime", "torch")
    assert status == 2
    assert "computes with 'torch fp32 cpu', and the shards that are there were computed with 'onnx fp32 cpu'" in err
    assert err.count("\n") == 1
    assert finished(rows) == there[:1]


@pytest.mark.slow
def test_rows_without_shards_are_left_to_the_local_engine(score, photos, tmp_path):
    rows = tmp_path / "rows.csv"
    assert score("photos", "--output", rows)[0] == 1
    before = rows.read_bytes()
    status, err = score(*photos, "--output", rows, "--engine", "ray", "--resume")
    assert status == 2
    assert "has 9 rows and no shards" in err
    assert rows.read_bytes() == before


def test_a_file_that_another_run_writes_is_left_to_it(score, photos, tmp_path):
    rows = tmp_path / "rows.csv"
    parts_folder(rows).mkdir()
    shard = parts_folder(rows) / f"shard-{0:09}-{'0' * 16}-4-0-onnx_fp32_cpu.csv"
    shard.touch()
    with alone(rows):
        for options in ([], ["--resume"]):
            status, err = score(*photos, "--output", rows, "--engine", "ray", *options)
            assert (status, err.count("\n")) == (2, 1)
            assert f"{rows} is being written by another run (process {os.getpid()} on" in err
    assert list(parts_folder(rows).iterdir()) == [shard]


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "--engine ray writes a file"),
    *(pytest.param(arguments, said, marks=pytest.mark.slow) for arguments, said in (
        (["--output", "rows.txt"], "--engine ray writes a file"),
        (["--output", "rows.csv", "--explain", "why"], "--explain draws on this machine"),
        (["--output", "rows.csv", "--device", "cuda"], "scores on processors"),
        (["--output", "rows.csv", "--shard-size", "0"], "--shard-size must be at least 1"),
    )),
])  # fmt: skip
def test_what_a_cluster_cannot_do_is_refused(score, photos, arguments, said):
    status, err = score(*photos, "--engine", "ray", *arguments)
    assert status == 2
    assert said in err


@pytest.mark.parametrize(("arguments", "said"), [
    (["--address", "here:6379"], "--address: of use only on a Ray cluster"),
    (["--shard-size", "5"], "--shard-size: of use only on a Ray cluster"),
])  # fmt: skip
def test_options_of_a_cluster_without_one_are_refused(score, photos, arguments, said):
    status, err = score(*photos, *arguments)
    assert status == 2
    assert f"{said}; add --engine ray, or leave that away" in err


def test_without_ray_the_extra_is_named(photos):
    code = "import sys; sys.modules['ray'] = None; from mpiqe.cli.main import main; main()"
    command = [sys.executable, "-c", code, "score", *photos, "--engine", "ray", "--output", "rows.csv"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "pip install 'mpiqe[ray]'" in done.stderr.decode()
