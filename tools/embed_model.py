"""Put a trained run and its compact backbone into the package, as what `mpiqe.load()` gives without a name.

    python tools/embed_model.py RUN BACKBONE

RUN is the folder of `mpiqe train --backbone BACKBONE`. Paths of this machine are left out of the copied settings.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from mpiqe.model.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "mpiqe" / "weights"
LIMIT_MB = 25


def main(run: Path, backbone: Path) -> None:
    """Copy, load what was copied, and say how large it is."""
    model, config = load_checkpoint(run, backbone=backbone)
    shutil.rmtree(WEIGHTS / "backbone", ignore_errors=True)
    shutil.copytree(backbone, WEIGHTS / "backbone")
    also = [f"csv:{Path(spec.removeprefix('csv:')).name}" for spec in config.training.get("also", ())]
    training = {**config.training, "root": "ROOT", "labels": "LABELS", "backbone": "backbone", "also": also}
    save_checkpoint(WEIGHTS / FILE_NAME, model, replace(config, backbone="backbone", training=training))
    load_checkpoint(WEIGHTS)
    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) / 1e6
    print(f"{WEIGHTS}: {size:.1f} MB")
    if size > LIMIT_MB:
        sys.exit(f"over the package's limit of {LIMIT_MB} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
