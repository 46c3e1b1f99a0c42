"""Make examples/: photos that come with scikit-image, and degraded versions of each.

    python tools/make_examples.py [examples]

The degradations are the project's own synthetic ones (mpiqe.data.synthetic) at level 4 of 5, seed 0.
"""

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from mpiqe.data.synthetic import distort

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
DEGRADATIONS = {"blur": "gaussian blur", "noise": "white noise", "jpeg": "JPEG", "dark": "darken"}
LEVEL = 4


def main(folder: Path) -> None:
    """Write every photo as NAME.jpg and its degraded versions as NAME-HOW.jpg."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        photo = getattr(data, name)()
        versions = {name: photo}
        versions |= {f"{name}-{how}": distort(photo, kind, LEVEL, seed=0) for how, kind in DEGRADATIONS.items()}
        for stem, pixels in versions.items():
            Image.fromarray(pixels).save(folder / f"{stem}.jpg", quality=92, subsampling=0)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "examples"))
