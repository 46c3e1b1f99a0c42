"""Distortion maps as transparent images to lay over a photo."""

import io

import numpy as np
from PIL import Image

from mpiqe.scoring.explanation import Explanation
from mpiqe.scoring.render import colours

_LONGEST = 384  # pixels; a window of the map is some thirty of the photo's wide
_QUALITY = 70


def map_picture(explanation: Explanation) -> bytes | None:
    """The map of the likeliest distortion as a WebP file with transparency; ``None`` for a model without distortions.

    As in the figures of ``mpiqe explain``: Inferno's colours, the root of the weights, the higher the denser.
    """
    if explanation.distortion_map is None:
        return None
    height, width = explanation.distortion_map.shape
    factor = min(1.0, _LONGEST / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(explanation.distortion_map).resize(size, Image.Resampling.BILINEAR)
    values = np.sqrt(np.asarray(small, dtype=np.float32).clip(0, 1))
    pixels = np.concatenate([colours(values), 255 * (0.30 + 0.45 * values[..., None])], axis=-1)
    content = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8), "RGBA").save(content, "WEBP", quality=_QUALITY, method=4)
    return content.getvalue()
