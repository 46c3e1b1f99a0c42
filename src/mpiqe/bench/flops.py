"""Number of operations of a model, by formula from its shape. A multiplication and its addition count as two.

Counted are matrix products and convolutions; sums, norms, activations and softmax are left out, as is usual.

Letters: L = 1 + N tokens (CLS and N patches), P prompt tokens, W vision width, D joint width, Q queries, I = 1 + N
image tokens before the decoder. A product (a, b) x (b, c) is 2 a b c.

Image tower, a crop: the patches 2 N 3 p^2 W (or the stem's convolutions, 2 k^2 C_in C_out side^2 each); then in each
layer 8 L W^2 for query, key, value and output, 4 L^2 W for attention, 16 L W^2 for the MLP of 4 W.

MP-IQE adds, as the method needs it: in a layer with fresh prompts, 4 L P W, for their keys and values are the same for
every photo; in layers where prompts go in as the last layer's output, and where they are asked for, what a token costs.
Then the projection 2 I W D; in each layer of the decoder 4 I D^2 for keys and values, 4 Q I D for attention, 2 Q D^2
for the output, 16 Q D^2 for its MLP and, in all but the first, 10 Q D^2 + 4 Q^2 D for self-attention and the next
question; the head and the cosines of Eqs. 8 and 10.

The plain model takes prompts as real tokens: L + P in place of L in every layer that has them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The sizes that the number of operations per crop depends on."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    joint_width: int
    prompts: int
    """Prompt tokens in a layer."""
    prompt_depth: int
    """Layers that get fresh ones."""
    scenes: int
    distortions: int
    queries: int
    windows: int
    decoder_layers: int
    stem_channels: tuple[int, ...] = ()
    stem_blocks: tuple[int, ...] = ()

    @property
    def patches(self) -> int:
        """N."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens(self) -> int:
        """L."""
        return 1 + self.patches


def tower(shape: Shape) -> int:
    """The bare image tower on one crop."""
    tokens = shape.tokens
    return embedding(shape) + shape.layers * _layer(shape.width, queries=tokens, keys=tokens, attended=tokens)


def mpiqe(shape: Shape) -> int:
    """The whole model on one crop, with everything that is the same for every photo computed before."""
    tokens, prompts, depth = shape.tokens, shape.prompts, shape.prompt_depth
    if not depth:
        prompts = 0
    total = embedding(shape)
    for index in range(shape.layers):
        fresh = index < depth
        handed_on = prompts if depth and depth - 1 <= index < shape.layers - 1 else 0  # the next layer takes them
        total += _layer(
            shape.width, queries=tokens + handed_on, keys=tokens + (0 if fresh else prompts), attended=tokens + prompts
        )
    return total + answer(shape)


def plain(shape: Shape) -> int:
    """The same with prompts as real tokens, as CLIP's own code would run them."""
    tokens = shape.tokens + (shape.prompts if shape.prompt_depth else 0)
    layers = shape.layers * _layer(shape.width, queries=tokens, keys=tokens, attended=tokens)
    return embedding(shape) + layers + answer(shape)


def embedding(shape: Shape) -> int:
    """Pixels to patches."""
    if not shape.stem_channels:
        return 2 * shape.patches * 3 * shape.patch_size**2 * shape.width
    first = shape.patch_size // 2 ** (len(shape.stem_channels) - 1)
    total, before, side = 0, 3, shape.image_size
    for index, after in enumerate(shape.stem_channels):
        side //= 2 if index else first
        kernel = 3 if index else max(3, 2 * first - 1)
        total += 2 * kernel**2 * before * after * side**2
        total += shape.stem_blocks[index] * 2 * 9 * after**2 * side**2
        before = after
    return total


def answer(shape: Shape) -> int:
    """From the tower's tokens to score and probabilities."""
    tokens, width, joint, queries = shape.tokens, shape.width, shape.joint_width, shape.queries
    layer = 4 * tokens * joint**2 + 4 * queries * tokens * joint + 18 * queries * joint**2
    between = 10 * queries * joint**2 + 4 * queries**2 * joint
    head = 2 * joint * (joint // 4) + 2 * (joint // 4)
    cosines = 2 * joint * (shape.scenes + shape.distortions * shape.windows**2)
    decoder = shape.decoder_layers * layer + (shape.decoder_layers - 1) * between
    return 2 * tokens * width * joint + decoder + head + cosines


def _layer(width: int, *, queries: int, keys: int, attended: int) -> int:
    """One layer: tokens that go on (query, output, MLP), tokens that need a key and a value, and all keys there are."""
    return (4 + 16) * queries * width**2 + 4 * keys * width**2 + 4 * queries * attended * width
