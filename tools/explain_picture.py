"""Draw docs/explain.jpg: what `mpiqe explain` shows of a photo whose right half is blurred.

python tools/explain_picture.py
"""

from pathlib import Path

from PIL import Image
from skimage import data

import mpiqe
from mpiqe.data.synthetic import distort

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 1400


def main() -> None:
    """The astronaut, blurred at level 4 from the middle to the right."""
    photo = data.astronaut()
    middle = photo.shape[1] // 2
    photo[:, middle:] = distort(photo, "gaussian blur", 4, seed=0)[:, middle:]
    picture = mpiqe.draw(mpiqe.explain(mpiqe.load(), photo))
    height = round(picture.height * WIDTH / picture.width)
    small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.save(ROOT / "docs" / "explain.jpg", quality=88, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
