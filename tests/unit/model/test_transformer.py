"""The transformer: causality, the loss, the cache, and its start."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tilth.errors import DataError
from tilth.model import IGNORE_INDEX, KVCache, ModelConfig, Projection, Transformer
from tilth.model.loss import linear_cross_entropy, token_losses

CONFIGS = {
    "rope": ModelConfig(vocab_size=60, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, context_length=24),
    "nope": ModelConfig(vocab_size=60, d_model=32, n_layers=2, n_heads=4, rope_theta=None, context_length=24),
}


def all_random(model: Transformer) -> Transformer:
    """Fills the matrices that a new model has at zero, so that every part of it counts."""
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


def model_of(kind: str) -> Transformer:
    torch.manual_seed(0)
    return all_random(Transformer(CONFIGS[kind]).eval())


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 60, shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_future_does_not_matter(kind: str) -> None:
    model, ids = model_of(kind), random_ids(2, 20)
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 60
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_positions_matter_only_with_rope() -> None:
    ids = random_ids(1, 10)
    swapped = ids.clone()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    with torch.no_grad():
        # One layer, so that the order can't reach the last token through what the others have seen.
        for theta, differs in ((10000.0, True), (None, False)):
            torch.manual_seed(0)
            config = ModelConfig(vocab_size=60, d_model=32, n_layers=1, n_heads=4, rope_theta=theta)
            model = all_random(Transformer(config))
            assert torch.allclose(model(ids)[:, -1], model(swapped)[:, -1], atol=1e-6) is not differs


@pytest.mark.parametrize("kind", CONFIGS)
def test_cached_decoding_gives_the_same_logits(kind: str) -> None:
    model, ids = model_of(kind), random_ids(3, 20)
    cache = KVCache(model.config, batch=3, capacity=20)
    with torch.no_grad():
        pieces = [model(ids[:, :7], cache), *(model(ids[:, i : i + 1], cache) for i in range(7, 20))]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_left_padding_changes_nothing(kind: str) -> None:
    model, short, long = model_of(kind), random_ids(1, 5), random_ids(1, 11)
    padded = torch.cat((F.pad(short, (6, 0)), long))
    cache = KVCache(model.config, batch=2, capacity=12, padding=torch.tensor([6, 0]))
    next_ids = random_ids(2, 1)
    with torch.no_grad():
        model(padded, cache)
        step = model(next_ids, cache)
        cache.keep_rows(torch.tensor([0]))
        assert cache.longest() == 6
        for row, prompt in enumerate((short, long)):
            alone = model(torch.cat((prompt, next_ids[row : row + 1]), dim=1))
            torch.testing.assert_close(step[row, -1], alone[0, -1], atol=1e-5, rtol=1e-5)


def test_more_than_the_context_is_refused() -> None:
    model = model_of("rope")
    with pytest.raises(DataError, match="25 tokens"):
        model(random_ids(1, 25))
    assert model_of("nope")(random_ids(1, 25)).shape == (1, 25, 60)


def test_loss_starts_near_that_of_a_uniform_guess_and_ignores_what_it_should() -> None:
    torch.manual_seed(0)
    model, ids = Transformer(CONFIGS["rope"]), random_ids(4, 20)
    targets = random_ids(4, 20).roll(1, 0)
    targets[:, ::3] = IGNORE_INDEX
    expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(model(ids, targets=targets), expected)
    assert abs(expected.item() - math.log(60)) < 0.3
    losses = model.token_losses(ids, targets)
    assert (losses[:, ::3] == 0).all()
    torch.testing.assert_close(losses.sum() / (targets != IGNORE_INDEX).sum(), expected)


@pytest.mark.parametrize("vocab_size", [7, 5000])
def test_fused_cross_entropy_equals_the_plain_one(vocab_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(700, 16, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(vocab_size, 16, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(0, vocab_size, (700,), generator=generator)
    targets[::5] = IGNORE_INDEX
    fused = linear_cross_entropy(hidden, weight, targets)
    plain = F.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(
        torch.autograd.grad(3 * fused, (hidden, weight)), torch.autograd.grad(3 * plain, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_nothing_to_predict_is_a_loss_of_zero() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(5, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.full((3,), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None and not hidden.grad.any()
    assert token_losses(hidden, weight, torch.full((3,), IGNORE_INDEX)).tolist() == [0, 0, 0]


def test_the_same_seed_gives_the_same_weights_in_the_stated_size() -> None:
    config = ModelConfig(vocab_size=300, d_model=256, n_layers=2, n_heads=4)
    torch.manual_seed(5)
    first = Transformer(config)
    torch.manual_seed(5)
    second = Transformer(config)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert sum(p.numel() for p in first.parameters()) == config.n_params
    assert first.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    state = first.state_dict()
    assert state["blocks.0.attention.qkv.weight"].std().item() == pytest.approx(1 / 16, rel=0.05)
    assert not state["blocks.1.attention.out.weight"].any()
    assert not state["blocks.1.feed_forward.down.weight"].any()
    assert (state["norm.weight"] == 1).all()


def test_weights_say_how_much_each_target_counts() -> None:
    model, ids, targets = model_of("rope"), random_ids(2, 10), random_ids(2, 10).roll(1, 1)
    weights = torch.rand(2, 10, generator=torch.Generator().manual_seed(0))
    targets[0, :4] = IGNORE_INDEX
    losses = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="none").view(2, 10)
    expected = (losses * weights).sum()
    loss = model(ids, targets=targets, weights=weights)
    torch.testing.assert_close(loss, expected)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_segments_and_a_cache_exclude_each_other() -> None:
    model, ids = model_of("rope"), random_ids(1, 4)
    with pytest.raises(ValueError, match="segments"):
        model(ids, KVCache(model.config, batch=1, capacity=8), segments=torch.zeros_like(ids))


def test_matrices_say_the_parts_they_are_made_of() -> None:
    model = Transformer(CONFIGS["rope"])
    parts = {name: module.parts for name, module in model.named_modules() if isinstance(module, Projection)}
    assert parts["blocks.0.attention.qkv"] == (32, 16, 16)
    assert parts["blocks.1.feed_forward.gate_up"] == (96, 96)
    assert len(parts) == 8
