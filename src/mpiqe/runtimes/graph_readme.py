"""The README beside an exported graph: what goes in, what comes out, and how to run it without this package."""

from collections.abc import Sequence
from typing import Literal, Protocol

from mpiqe.images import REDUCING_GAP
from mpiqe.option_types import ModelCropMode
from mpiqe.runtimes.graph import ONNX, OPENVINO, GraphCard

_MEANINGS = {
    "score": "(N,) float32, {unit}, about {low:.3g} to {high:.3g}, higher is better",
    "scene": "(N, {scenes}) float32, probabilities of `scenes` in mpiqe.json",
    "distortion": "(N, {distortions}) float32, probabilities of `distortions` in mpiqe.json",
    "similarity": "(N, w, w, {distortions}) float32, cosines of windows and distortion prompts (Eq. 10)",
    "attention": "(N, g, g) float32, the decoder's attention to each patch, 1 where the share is even",
}
_RUNS = {
    "onnx": f'''import onnxruntime

session = onnxruntime.InferenceSession("{ONNX}")


def run(pixels):
    return dict(zip(OUTPUTS, session.run(OUTPUTS, {{"pixels": pixels}})))
''',
    "onnx int8": f'''import onnxruntime

session = onnxruntime.InferenceSession("{ONNX}")


def run(pixels):
    calls = [session.run(OUTPUTS, {{"pixels": crop[None]}}) for crop in pixels]  # eight bits have one scale a call
    return {{name: np.concatenate(parts) for name, parts in zip(OUTPUTS, zip(*calls))}}
''',
    "openvino": f'''import openvino

core = openvino.Core()
whole = core.read_model("{OPENVINO}")
part = openvino.Model([whole.output(name) for name in OUTPUTS], whole.get_parameters())
model = core.compile_model(part, "CPU")


def run(pixels):
    answer = model([pixels])
    return {{name: answer[name] for name in OUTPUTS}}
''',
}
_PLACES: dict[ModelCropMode, str] = {
    "seeded": '''def places(across, down, count, width, height, seed=0):
    """Where mpiqe cuts crops, left and top: the same places for photos of one size."""
    for i in range(count):
        digest = hashlib.blake2b(f"{seed}:{width}x{height}/{i}".encode(), digest_size=16).digest()
        left, top = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        yield left % (across + 1), top % (down + 1)
''',
    "grid": '''def places(across, down, count, width, height):
    """Where mpiqe cuts crops, left and top: in rows from edge to edge."""
    rows = min(count, max(1, round((count * height / width) ** 0.5)))
    if not (across and down):
        rows = count if down else 1
    for row, top in enumerate(spread(down, rows)):
        for left in spread(across, count // rows + (row < count % rows)):
            yield left, top


def spread(room, count):
    return [room // 2] if count == 1 else [i * room // (count - 1) for i in range(count)]
''',
}
_SCALED = '''

def view(photo, size={size}, side={side}):
    """The photo brought down, never up, to at most side x side pixels; its short side stays at least size."""
    width, height = photo.size
    if width * height <= side**2 or min(width, height) <= size:
        return photo
    small = math.isqrt(side**2 * width // height), math.isqrt(side**2 * height // width)
    if min(small) < size:
        small = tuple(max(size, round(length * size / min(width, height))) for length in (width, height))
    return photo.resize(small, Image.Resampling.LANCZOS, reducing_gap={gap})
'''
_SQUARE = '''

def view(photo, side={side}):
    """The whole photo, whatever its shape, resized to side x side pixels."""
    if photo.size == (side, side):
        return photo
    return photo.resize((side, side), Image.Resampling.LANCZOS, reducing_gap={gap})
'''
_SCRIPT = '''{imports}import sys

import numpy as np
from PIL import Image

{run}

{places}{scaled}

def crops(photo, size={size}, count={count}):
    """The crops that mpiqe cuts from an RGB photo of at least size x size."""
    width, height = photo.size
    pixels = np.asarray(photo)
    found = places(width - size, height - size, count, width, height)
    return np.stack([pixels[top : top + size, left : left + size] for left, top in found])


for path in sys.argv[1:]:
    answer = run(crops({photo}))
    print(path, *(f"{{value:.4f}}" for value in [answer["score"].mean(), answer["score"].std()]))
'''


class _Checked(Protocol):
    @property
    def precision(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def probability(self) -> float: ...


def readme(card: GraphCard, *, form: Literal["onnx", "openvino"], checked: Sequence[_Checked], photos: int) -> str:
    """The text, in Markdown; its Python block is a whole script."""
    shown = [name for name in card.outputs if name in ("score", "scene", "distortion")]
    how = form if card.precision == "fp32" else f"{form} {card.precision}"
    side, photo = card.view.side, 'Image.open(path).convert("RGB")'
    scaled = {"native": "", "scaled": _SCALED, "square": _SQUARE}[card.view.kind]
    script = _SCRIPT.format(
        imports="import hashlib\n" * (card.crop_mode == "seeded") + "import math\n" * (card.view.kind == "scaled"),
        run=f"OUTPUTS = {shown!r}\n" + _RUNS[how],
        places=_PLACES[card.crop_mode],
        scaled=scaled.format(size=card.crop_size, side=side, gap=REDUCING_GAP),
        size=card.crop_size,
        count=card.crops,
        photo=photo if side is None else f"view({photo})",
    )
    shown_of = {
        "native": "at native resolution",
        "scaled": f"brought down, never up, to at most {side} x {side} pixels of any shape (`view` in mpiqe.json)",
        "square": f"resized as a whole to {side} x {side} pixels, up or down (`view` in mpiqe.json)",
    }[card.view.kind]
    facts = {"unit": card.unit, "low": card.low, "high": card.high}
    facts |= {"scenes": len(card.scenes), "distortions": len(card.distortions)}
    outputs = "\n".join(f"- `{name}`: {_MEANINGS[name].format(**facts)}" for name in card.outputs)
    found = "\n".join(
        f"- {entry.precision}: at most {entry.score:.1e} of the score's range, {entry.probability:.1e} in a probability"
        for entry in checked
    )
    return f"""# An exported MP-IQE scorer

Blind image quality: RGB crops in, a score and probabilities out. `{ONNX if form == "onnx" else OPENVINO}` is the whole
model, its text side folded in; `mpiqe.json` says what its numbers mean. With mpiqe installed,
`mpiqe score photos/ --weights .` runs it in this folder.

Input: `pixels`, (N, {card.crop_size}, {card.crop_size}, 3) uint8, RGB crops of upright photos {shown_of}.
Outputs, one entry a crop; a photo's score is the mean over its crops ({card.crops} in training):

{outputs}

## Without mpiqe

`pip install {"onnxruntime" if form == "onnx" else "openvino"} numpy pillow`, then `python run.py photo.jpg ..` with
this as `run.py` prints the mean and the deviation over the crops, as `mpiqe score` does. (mpiqe also turns photos by
their EXIF tag, lays transparency over white, enlarges small ones, and refuses what is damaged.)

```python
{script}```

## Checked

On {photos} photos, against PyTorch in fp32, when this was written:

{found}
"""
