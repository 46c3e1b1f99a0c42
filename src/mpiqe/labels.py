"""The nine scenes and eleven distortions of MP-IQE, and the names that published label files use for them."""

from mpiqe.errors import DatasetError

SCENES: tuple[str, ...] = (
    "animal",
    "cityscape",
    "human",
    "indoor scene",
    "landscape",
    "night scene",
    "plant",
    "still-life",
    "others",
)

DISTORTIONS: tuple[str, ...] = (
    "blur",
    "color-related",
    "contrast",
    "JPEG compression",
    "JPEG2000 compression",
    "noise",
    "over-exposure",
    "quantization",
    "under-exposure",
    "spatially-localized",
    "others",
)

_SCENE_NAMES: dict[str, str] = {
    "indoor": "indoor scene",
    "night": "night scene",
    "still_life": "still-life",
}

# LIQE's label files, all six datasets; the classes are LIQE's own mapping (its "shifting" is blur).
_DISTORTION_NAMES: dict[str, str] = {
    "realistic blur": "blur",
    "gaussian blur": "blur",
    "lens": "blur",
    "motion": "blur",
    "shifting": "blur",
    "diffusion": "color-related",
    "desaturation": "color-related",
    "oversaturation": "color-related",
    "realistic contrast change": "contrast",
    "sharpness": "contrast",
    "jpeg compression": "JPEG compression",
    "jpeg2000 compression": "JPEG2000 compression",
    "realistic noise": "noise",
    "white noise": "noise",
    "fnoise": "noise",
    "white with color": "noise",
    "impulse": "noise",
    "multiplicative": "noise",
    "white noise with denoise": "noise",
    "overexposure": "over-exposure",
    "brighten": "over-exposure",
    "color quantization": "quantization",
    "underexposure": "under-exposure",
    "darken": "under-exposure",
    "jitter": "spatially-localized",
    "noneccentricity patch": "spatially-localized",
    "pixelate": "spatially-localized",
    "color blocking": "spatially-localized",
    "other realistic": "others",
    "shifting the mean": "others",
}


def scene(name: str) -> str:
    """The scene class that ``name`` stands for: one of ``SCENES`` or a published file's word for it.

    Raises ``DatasetError`` for a word that is neither.
    """
    return _look_up(name, SCENES, _SCENE_NAMES, "scene")


def distortion(name: str) -> str:
    """The distortion class that ``name`` stands for: one of ``DISTORTIONS`` or a published file's word for it.

    Raises ``DatasetError`` for a word that is neither.
    """
    return _look_up(name, DISTORTIONS, _DISTORTION_NAMES, "distortion")


def _look_up(name: str, classes: tuple[str, ...], published: dict[str, str], kind: str) -> str:
    wanted = name.strip().casefold()
    for known in classes:
        if wanted == known.casefold():
            return known
    if wanted in published:
        return published[wanted]
    raise DatasetError(f"{name!r} is no {kind} of MP-IQE; known are {', '.join(classes)}")
