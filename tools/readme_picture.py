"""Draw docs/examples.jpg: the photos of examples/ with the score, scene and distortion that the embedded model gives.

python tools/readme_picture.py
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import mpiqe

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
VERSIONS = ("", "-blur", "-noise", "-jpeg", "-dark")
TILE, LINE, GAP = (300, 225), 25, 12


def main() -> None:
    """One row a photo, one column a version."""
    scorer = mpiqe.load()
    columns, rows = len(VERSIONS), len(PHOTOS)
    width = columns * (TILE[0] + GAP) + GAP
    height = rows * (TILE[1] + 2 * LINE + 2 * GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)
    low, high = scorer.scale.low, scorer.scale.high
    for row, name in enumerate(PHOTOS):
        paths = [ROOT / "examples" / f"{name}{version}.jpg" for version in VERSIONS]
        for column, (path, score) in enumerate(zip(paths, scorer(paths), strict=True)):
            left = GAP + column * (TILE[0] + GAP)
            top = GAP + row * (TILE[1] + 2 * LINE + 2 * GAP)
            with Image.open(path) as photo:
                sheet.paste(_cover(photo.convert("RGB")), (left, top))
            share = min(1.0, max(0.0, (score.score - low) / (high - low)))
            bar = top + TILE[1] + 4
            draw.rectangle((left, bar, left + TILE[0] - 1, bar + 5), fill="#e4e4e4")
            draw.rectangle((left, bar, left + share * (TILE[0] - 1), bar + 5), fill=_colour(share))
            scene, distortion = (
                max(probabilities, key=probabilities.__getitem__) for probabilities in (score.scene, score.distortion)
            )
            draw.text((left, bar + 8), f"{score.score:.1f}", fill="black", font=large)
            draw.text(
                (left + 58, bar + 12),
                f"{scene}, {distortion} {score.distortion[distortion]:.0%}",
                fill="#444",
                font=small,
            )
    sheet.save(ROOT / "docs" / "examples.jpg", quality=88, subsampling=0, optimize=True)


def _cover(photo: Image.Image) -> Image.Image:
    """The middle of a photo, filling a tile."""
    scale = max(TILE[0] / photo.width, TILE[1] / photo.height)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    left, top = (photo.width - TILE[0]) // 2, (photo.height - TILE[1]) // 2
    return photo.crop((left, top, left + TILE[0], top + TILE[1]))


def _colour(share: float) -> tuple[int, int, int]:
    """From red over amber to green."""
    return (round(210 * min(1, 2 - 2 * share)), round(170 * min(1, 2 * share)), 60)


if __name__ == "__main__":
    main()
