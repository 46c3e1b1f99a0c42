"""What it costs at start-up to check the digests of the embedded model's files.

    python benchmarks/digests.py

Both ways are measured on a copy: the light one, which hashes the graph and the files that its weights lie in, and
torch's, which hashes the tensors of the checkpoint and of the backbone.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from mpiqe.model.tensor_files import check_safetensors, write_safetensors
from mpiqe.runtimes.graph import check_files, read_card, write_card
from mpiqe.scoring.loading import embedded_folder

REPEATS = 21
HELD_IN = ("mpiqe.safetensors", "backbone/model.safetensors")


def main() -> None:
    """Print median, lowest and highest processor time of both, in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = shutil.copytree(embedded_folder(), Path(name) / "weights")
        for file in HELD_IN:
            write_safetensors(folder / file, load_file(folder / file), {"format": "pt"})
        write_card(folder, read_card(folder), beside=HELD_IN)
        card = read_card(folder)
        size = sum((folder / file).stat().st_size for file in card.digests) / 1e6
        _show(f"the graph's files, {size:.1f} MB", lambda: check_files(folder, card))
        _show("the tensors", lambda: [check_safetensors(folder / file) for file in HELD_IN])


def _show(what: str, check: Callable[[], object]) -> None:
    check()
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        check()
        taken.append(1000 * (time.process_time() - started))
    print(f"{what}: {statistics.median(taken):.0f} ms ({min(taken):.0f} to {max(taken):.0f})")


if __name__ == "__main__":
    main()
