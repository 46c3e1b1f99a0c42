import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.errors import ConfigError
from mpiqe.model.decoder import Attention, QualityDecoder


def _attention(layer: Attention, queries: Tensor, memory: Tensor) -> Tensor:
    """Softmax of scaled products, head by head, as in the equation."""
    q, k, v = layer.query(queries), layer.key(memory), layer.value(memory)
    size = q.shape[-1] // layer.heads
    heads = []
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / size**0.5
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    return layer.out(torch.cat(heads, dim=-1))


def unfolded(decoder: QualityDecoder, queries: Tensor, image: Tensor) -> Tensor:
    """Eqs. 12 - 14 with the queries repeated for every image."""
    states = queries.expand(len(image), -1, -1)
    for layer in decoder.layers:
        normed = layer.self_norm(states)
        states = states + _attention(layer.self_attention, normed, normed)
        states = states + _attention(layer.cross_attention, layer.cross_norm(states), image)
        first, _, second = layer.feed_forward
        states = states + second(F.gelu(first(layer.feed_norm(states))))
    return decoder.head(decoder.norm(states).mean(dim=1)).squeeze(-1)


def test_the_folded_decoder_equals_the_unfolded_one() -> None:
    torch.manual_seed(0)
    decoder = QualityDecoder(width=16, layers=3, heads=4)
    queries, image = torch.randn(20, 16), torch.randn(5, 10, 16)
    folded = decoder.fold(queries)
    assert folded.states.shape == (1, 20, 16)
    found = decoder.regress(decoder(folded, image))
    torch.testing.assert_close(found, unfolded(decoder, queries, image), atol=1e-6, rtol=1e-5)


def test_attention_by_hand() -> None:
    layer = Attention(width=1, heads=1)
    with torch.no_grad():
        for linear in (layer.query, layer.key, layer.value, layer.out):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
    memory = torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))]]])  # weights 1/4 and 3/4 for a query of one
    answer = layer.attend(layer.query(torch.ones(1, 1, 1)), memory)
    assert answer.item() == pytest.approx(0.75 * 1.0986123, abs=1e-6)


def test_max_pooling_takes_the_largest_answer() -> None:
    decoder = QualityDecoder(width=8, layers=1, heads=2, pooling="max")
    queries, image = torch.randn(3, 8), torch.randn(2, 4, 8)
    states = decoder.norm(decoder.layers[0].cross_attend(decoder.fold(queries), image))
    expected = decoder.head(states.max(dim=1).values).squeeze(-1)
    torch.testing.assert_close(decoder.regress(decoder(decoder.fold(queries), image)), expected)


def test_the_papers_decoder_has_about_12_6_million_parameters() -> None:
    size = sum(parameter.numel() for parameter in QualityDecoder(width=512).parameters())
    by_hand = 3 * (8 * (512 * 512 + 512) + 2 * 4 * 512 * 512 + 4 * 512 + 512 + 3 * 2 * 512)
    head = 2 * 512 + 512 * 128 + 128 + 128 + 1
    assert size == by_hand + head == 12_678_913


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="decoder_heads=8 does not divide the joint width 12"):
        QualityDecoder(width=12)


def test_the_weights_that_are_shown_give_the_attention_that_is_used() -> None:
    torch.manual_seed(0)
    layer = Attention(width=16, heads=4)
    queries, memory = torch.randn(1, 20, 16), 3 * torch.randn(5, 10, 16)
    questions = layer.query(queries)
    weights = layer.weights(questions, memory)
    assert weights.shape == (5, 4, 20, 10)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(5, 4, 20))
    assert weights.max() > 0.5  # far from even, so that a wrong scale would show
    values = layer.value(memory).view(5, 10, 4, 4).transpose(1, 2)
    answers = layer.out((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(answers, layer.attend(questions, memory), atol=1e-6, rtol=1e-5)


def test_the_decoders_attention_is_that_of_every_layer_of_its_own_forward_pass(monkeypatch) -> None:
    torch.manual_seed(0)
    decoder = QualityDecoder(width=16, layers=3, heads=4)
    queries, image = torch.randn(20, 16), 3 * torch.randn(5, 10, 16)
    folded = decoder.fold(queries)
    seen = []

    def recording(layer, questions, memory, attend=Attention.attend):
        answer = attend(layer, questions, memory)
        if memory is image:  # not the queries' attention to each other
            seen.append((layer, answer))
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Attention, "attend", recording)
        decoder(folded, image)
    weights = decoder.attention(folded, image)
    assert weights.shape == (5, 3, 4, 20, 10)
    assert len(seen) == 3
    for index, (layer, used) in enumerate(seen):
        values = layer.value(image).view(5, 10, 4, 4).transpose(1, 2)
        shown = layer.out((weights[:, index] @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(shown, used, atol=1e-6, rtol=1e-5)
