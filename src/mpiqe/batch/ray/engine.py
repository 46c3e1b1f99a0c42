"""The Ray side: a pipeline of Ray Data in which one task cuts the sources into shards and actors score them.

The cutting is a lazy read task, so that the first shards are scored while the rest are still being found and no list of
all photos is ever held. The actors are single-threaded, one for each processor: photos do not need each other, so
nothing is lost between threads. A shard whose actor dies is given to another one.
"""

import contextlib
import inspect
import logging
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from importlib import import_module
from typing import Any

from mpiqe.batch.ray.parts import Part, part_named
from mpiqe.batch.ray.worker import Job, ShardScorer, planned
from mpiqe.errors import ConfigError, MPIQEError
from mpiqe.extras import needing
from mpiqe.parse import parse_json
from mpiqe.sources.passed_over import PassedOver

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns that this will change
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_STORE = 256 << 20  # bytes; only references to photos and names of files go through a local cluster's store


@contextlib.contextmanager
def cluster(address: str | None, *, processors: int | None = None) -> Iterator[int]:
    """Be connected to a cluster; gives the number of its processors.

    It is the one at ``address``, or that of ``RAY_ADDRESS``, or else one on this machine, started for the time, with
    ``processors`` if given. Raises ``ConfigError`` where Ray is not installed or no cluster answers.
    """
    chosen = address or os.environ.get("RAY_ADDRESS") or "local"
    with _environment(own=chosen == "local"), needing("to score on a Ray cluster"):
        ray = _imported("ray")
        _imported("ray.data")
        options: dict[str, Any] = {"address": chosen, "log_to_driver": False, "logging_level": logging.ERROR}
        with contextlib.ExitStack() as until_down:
            if chosen == "local":
                short = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108 # a socket's path has 107 letters at most
                folder = until_down.enter_context(
                    tempfile.TemporaryDirectory(prefix="mpiqe-ray-", dir=short, ignore_cleanup_errors=True)
                )
                options |= {"_temp_dir": folder, "include_dashboard": False, "object_store_memory": _STORE}
                options |= {"num_cpus": processors} if processors else {}
            until_down.callback(ray.shutdown)
            with _quietly():
                try:
                    with _errors_aside():
                        ray.init(**options)
                except Exception as error:  # Ray raises a bare one where its processes do not start in time
                    raise ConfigError(
                        f"cannot reach the Ray cluster at {chosen}: {_first_line(error)}; does ray status find it "
                        "from here, with RAY_AUTH_MODE and its token where it wants one? Without --address and "
                        "RAY_ADDRESS a cluster is started here"
                    ) from error
                yield int(ray.cluster_resources().get("CPU", 0)) or 1


def scored(job: Job, finished: Iterable[Part], *, actors: int, left_out: PassedOver) -> Generator[Part, None, None]:
    """Score what is not ``finished`` on the cluster that this process is connected to; the parts, as they come.

    Each of ``actors`` takes a processor. What finding the photos left out is added to ``left_out``. Raises
    ``MPIQEError`` for what a node could not do, or Ray.
    """
    ray = _imported("ray")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # bytes: each shard is a block, handed on as soon as it is cut
    there = {part.number: part.digest for part in finished}
    remote = {"num_cpus": 0}  # the actors take all there are
    named = "num_cpus" in inspect.signature(ray.data.read_datasource).parameters  # since Ray 2.5x
    shards = ray.data.read_datasource(
        _datasource(job, there), override_num_blocks=1, **(remote if named else {"ray_remote_args": remote})
    )
    answers = shards.map_batches(
        ShardScorer,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
    )
    try:
        with closing(_each(answers.iter_rows())) as rows:
            for answer in rows:
                if answer["error"]:
                    raise MPIQEError(answer["error"])
                if answer["left_out"]:
                    left_out.add_all(parse_json(answer["left_out"]))
                    continue
                yield part_named(answer["part"])
    except ray.exceptions.RayError as error:
        raise MPIQEError(
            f"Ray gave up: {_first_line(error)}; --resume goes on from the shards that are done"
        ) from error


def _each(rows: Iterable[Any]) -> Generator[dict[str, Any], None, None]:
    yield from rows


def _datasource(job: Job, finished: dict[int, str]) -> Any:
    import pyarrow as pa

    data, block = _imported("ray.data"), _imported("ray.data.block")

    class Shards(data.Datasource):  # type: ignore[misc, name-defined] # typed here and there only, as is all of Ray
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            def read() -> Iterator[Any]:
                for shard in planned(job, finished):
                    yield pa.table({name: [value] for name, value in shard.items()})

            unknown = block.BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [data.ReadTask(read, unknown)]

    return Shards()


@contextlib.contextmanager
def _environment(*, own: bool) -> Iterator[None]:
    """What Ray reads when it is imported and when it starts processes.

    A cluster of our ``own`` answers to nobody else: it has a password that is made for it and kept nowhere, unless the
    user has said whether there shall be one.
    """
    variables = dict(_QUIET)
    if own and "RAY_AUTH_MODE" not in os.environ:
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep Ray's own messages off the terminal; what went wrong is raised.

    All logging is off meanwhile: Ray Data sets up its loggers anew with each run.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _errors_aside() -> Iterator[None]:
    """Keep away what Ray's C++ writes to stderr, even when its log level says nothing."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _imported(name: str) -> Any:
    """A module that is installed with an extra, without its types: they differ from version to version."""
    return import_module(name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
