"""Number of operations of a model, by formula from its shape. A multiplication and its addition count as two.

Counted are matrix products and convolutions; sums, norms, activations and softmax are left out, as is usual.

Letters: L = 1 + N tokens (CLS and N patches), P prompt tokens, W vision width, D joint width, Q queries, I = 1 + N
image tokens before the decoder. A product (a, b) x (b, c) is 2 a b c.

Image tower, a crop: the patches 2 N 3 p^2 W (or the stem's convolutions, 2 k^2 C_in C_out side^2 each, one filter a
channel where they are depthwise); then in each layer 8 L W^2 for query, key, value and output, 4 L^2 W for attention,
16 L W^2 for the MLP of 4 W.

MP-IQE adds, as the method needs it: in a layer with fresh prompts, 4 L P W, for their keys and values are the same for
every photo; in layers where prompts go in as the last layer's output, and where they are asked for, what a token costs.
Then the projection 2 I W D; in each layer of the decoder 4 I D^2 for keys and values, 4 Q I D for attention, 2 Q D^2
for the output, 16 Q D^2 for its MLP and, in all but the first, 10 Q D^2 + 4 Q^2 D for self-attention and the next
question; the head and the cosines of Eqs. 8 and 10. With heads on a stem's F pooled features: 2 F H + 2 H C each for H
hidden units and C outputs (2 F C without hidden ones, 2 H^2 more for a second layer of them) and, where features are
pooled over the mirror image too, the stem's convolutions a second time.

The plain model takes prompts as real tokens: L + P in place of L in every layer that has them.
"""

from dataclasses import dataclass

from mpiqe.model.efficientnet_shape import FIRST_CHANNELS, HEAD_CHANNELS, STRIDE, stages_of, token_features


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
    efficientnet: str = ""
    """The EfficientNet-Lite that the stem is."""
    pooled_width: int = 0
    """F, where there are heads on pooled features."""
    pooled_mirrored: bool = False
    stem_head_width: int = 0
    """H, 0 without hidden units."""
    stem_head_layers: int = 1
    """Of hidden units."""
    stem_heads: tuple[int, ...] = ()
    """C of each."""

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
    return total + pooling(shape) + answer(shape)


def plain(shape: Shape) -> int:
    """The same with prompts as real tokens, as CLIP's own code would run them."""
    tokens = shape.tokens + (shape.prompts if shape.prompt_depth else 0)
    layers = shape.layers * _layer(shape.width, queries=tokens, keys=tokens, attended=tokens)
    return embedding(shape) + layers + pooling(shape) + answer(shape)


def embedding(shape: Shape) -> int:
    """Pixels to patches."""
    if shape.efficientnet:
        return network(shape) + 2 * token_features(shape.efficientnet) * shape.width * shape.patches
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


def network(shape: Shape) -> int:
    """The convolutions of an EfficientNet-Lite, tokens' projection left out."""
    side = _halved(shape.image_size)
    total, before = 2 * 9 * 3 * FIRST_CHANNELS * side**2, FIRST_CHANNELS
    for stage in stages_of(shape.efficientnet):
        for index in range(stage.blocks):
            wide = before * stage.expansion
            if stage.expansion > 1:
                total += 2 * before * wide * side**2
            side = _halved(side) if stage.stride == 2 and not index else side
            total += 2 * stage.kernel**2 * wide * side**2 + 2 * wide * stage.channels * side**2
            before = stage.channels
    return total + 2 * before * HEAD_CHANNELS * (shape.image_size // STRIDE) ** 2


def pooling(shape: Shape) -> int:
    """What heads on pooled features add: themselves, and the stem's look at the mirror image."""
    if not shape.stem_heads:
        return 0
    features, hidden = shape.pooled_width, shape.stem_head_width
    between = (shape.stem_head_layers - 1) * hidden
    heads = sum(
        2 * hidden * (features + between + outputs) if hidden else 2 * features * outputs
        for outputs in shape.stem_heads
    )
    return heads + (network(shape) if shape.pooled_mirrored else 0)


def answer(shape: Shape) -> int:
    """From the tower's tokens to score and probabilities."""
    tokens, width, joint, queries = shape.tokens, shape.width, shape.joint_width, shape.queries
    layer = 4 * tokens * joint**2 + 4 * queries * tokens * joint + 18 * queries * joint**2
    between = 10 * queries * joint**2 + 4 * queries**2 * joint
    head = 2 * joint * (joint // 4) + 2 * (joint // 4)
    cosines = 2 * joint * (shape.scenes + shape.distortions * shape.windows**2)
    decoder = shape.decoder_layers * layer + (shape.decoder_layers - 1) * between
    return 2 * tokens * width * joint + decoder + head + cosines


def _halved(side: int) -> int:
    return (side + 1) // 2


def _layer(width: int, *, queries: int, keys: int, attended: int) -> int:
    """One layer: tokens that go on (query, output, MLP), tokens that need a key and a value, and all keys there are."""
    return (4 + 16) * queries * width**2 + 4 * keys * width**2 + 4 * queries * attended * width
