"""Equations 6 to 8, granularity by hand, expert drop, and the rivals."""

import inspect
import itertools

import pytest
import torch

from dynaip.adapter.choices import check_granularity
from dynaip.adapter.fusion import FUSIONS, LEVELS, MixtureFusion, build_fusion


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    fusion = MixtureFusion(3, 12, 20, 8)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    return fusion


def build(kind):
    torch.manual_seed(0)
    return build_fusion(kind, levels=3, input_dim=12, token_dim=20, router_dim=8)


def test_fresh_router_is_undecided(features):
    coefficients = build("moe")(features).coefficients
    torch.testing.assert_close(coefficients, torch.full((2, 3), 1 / 3))


def test_equation_8(mixture, features):
    """Φ = Σ w_l e_l, with e_l computed by hand and w_l a softmax over the router's outputs."""
    fused = mixture(features)
    scores = []
    for level in range(3):
        first, _, last = mixture.router.levels[level]
        token = features[level][:, 0]
        token = (token - token.mean(-1, keepdim=True)) / (
            token.var(-1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        scores.append(last(torch.tanh(first(token))))
    weights = torch.softmax(torch.cat(scores, -1), -1)
    torch.testing.assert_close(fused.coefficients, weights)
    wanted = sum(
        weights[:, level, None, None] * mixture.experts[level](features[level])
        for level in range(3)
    )
    torch.testing.assert_close(fused.tokens, wanted)


def test_equation_6(mixture, features):
    """Linear, then GELU, then normalisation."""
    linear, _, norm = (mixture.experts[1].get_submodule(str(i)) for i in range(3))
    rows = features[1] @ linear.weight.T + linear.bias
    rows = rows * 0.5 * (1 + torch.erf(rows / 2**0.5))
    rows = (rows - rows.mean(-1, keepdim=True)) / (
        rows.var(-1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(mixture.experts[1](features[1]), rows * norm.weight + norm.bias)


def test_coefficients_belong_to_samples(mixture, features):
    together = mixture(features).coefficients
    assert not torch.allclose(together[0], together[1])
    alone = mixture(features[:, 1:]).coefficients
    torch.testing.assert_close(alone[0], together[1])


def test_coefficients_follow_their_levels(mixture, features):
    """Permuting levels with their experts and routers permutes the coefficients, nothing else."""
    before = mixture(features)
    order = [2, 0, 1]
    mixture.experts = torch.nn.ModuleList(mixture.experts[i] for i in order)
    mixture.router.levels = torch.nn.ModuleList(mixture.router.levels[i] for i in order)
    after = mixture(features[order])
    torch.testing.assert_close(after.coefficients, before.coefficients[:, order])
    torch.testing.assert_close(after.tokens, before.tokens)


def test_granularity_by_hand(mixture, features):
    one_hot = mixture(features, (0.0, 1.0, 0.0))
    torch.testing.assert_close(one_hot.tokens, mixture.experts[1](features[1]))
    assert one_hot.coefficients.tolist() == [[0, 1, 0]] * 2
    rows = torch.tensor([[1.0, 0, 0], [0.5, 0.25, 0.25]])
    assert torch.equal(mixture(features, rows).coefficients, rows)
    # What misses 1 by rounding is made to sum to 1, as it is for a `Subject`.
    rounded = (0.333, 0.333, 0.3325)
    found = mixture(features, rounded).coefficients[0].tolist()
    assert found == pytest.approx(check_granularity(rounded))


@pytest.mark.parametrize(
    ("granularity", "message"),
    [
        ((0.5, 0.6, 0.2), r"sum to 1; .* divide each by their sum, 1.3\.$"),
        ((0.0, 0.0, 0.0), r"sum to 1; got 0, 0, 0\.$"),
        ((1.5, -0.5, 0.0), "none negative"),
        ((float("nan"), 0.5, 0.5), "none negative"),
        ((0.5, 0.5), "3 numbers"),
        (torch.full((3, 3), 1 / 3), "for 3 samples, but there are 2"),
    ],
)
def test_bad_granularity(mixture, features, granularity, message):
    with pytest.raises(ValueError, match=message):
        mixture(features, granularity)


@pytest.mark.parametrize("kept", [k for k in itertools.product([0, 1], repeat=3) if any(k)])
def test_dropped_experts_leave_the_rest_in_proportion(mixture, features, kept):
    keep = torch.tensor([kept, (1, 1, 1)]).bool()
    free, dropped = mixture(features).coefficients, mixture(features, keep=keep).coefficients
    share = free[0] * keep[0]
    torch.testing.assert_close(dropped[0], share / share.sum())
    torch.testing.assert_close(dropped[1], free[1])


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_fusion_returns_tokens_and_coefficients(kind, features):
    fused = build(kind)(features, keep=torch.tensor([[True, False, True], [True, True, True]]))
    assert fused.tokens.shape == (2, 5, 20)
    torch.testing.assert_close(fused.coefficients.sum(-1), torch.ones(2))


def test_add_is_the_mean_of_its_experts(features):
    fusion = build("add")
    experts = [expert(x) for expert, x in zip(fusion.experts, features, strict=True)]
    torch.testing.assert_close(fusion(features).tokens, sum(experts) / 3)
    keep = torch.tensor([[True, False, True]] * 2)
    kept = fusion(features, keep=keep)
    torch.testing.assert_close(kept.tokens, (experts[0] + experts[2]) / 2)


def test_concat_sees_all_levels_but_the_dropped(features):
    fusion = build("concat")
    wanted = fusion.expert(torch.cat(list(features), dim=-1))
    torch.testing.assert_close(fusion(features).tokens, wanted)
    keep = torch.tensor([[True, False, True]] * 2)
    other = features.clone()
    other[1] += 1
    assert torch.equal(fusion(features, keep=keep).tokens, fusion(other, keep=keep).tokens)
    assert not torch.equal(fusion(features).tokens, fusion(other).tokens)


@pytest.mark.parametrize("level", range(3))
def test_single_levels_see_nothing_else(level, features):
    fusion = build(LEVELS[level])
    torch.testing.assert_close(fusion(features).tokens, fusion.expert(features[level]))
    assert fusion(features).coefficients.argmax(-1).tolist() == [level, level]


def test_rivals_have_as_many_weights_as_the_mixture():
    """Within the router's share; single levels are a third by nature."""
    sizes = {kind: sum(p.numel() for p in build(kind).parameters()) for kind in FUSIONS}
    router = sum(p.numel() for p in build("moe").router.parameters())
    assert sizes["add"] == sizes["moe"] - router
    assert sizes["add"] - sizes["concat"] == 2 * 3 * 20  # biases and norms of two more experts
    assert 3 * sizes["low"] == sizes["add"]


@pytest.mark.parametrize("kind", [kind for kind in FUSIONS if kind != "moe"])
def test_rivals_have_no_granularity(kind, features):
    with pytest.raises(ValueError, match="no granularity to set"):
        build(kind)(features, (1.0, 0.0, 0.0))


def test_unknown_fusions_are_refused():
    with pytest.raises(ValueError, match="fusion is one of moe"):
        # Unwrapped: under test, the import hook would refuse the word first.
        inspect.unwrap(build_fusion)("sum", levels=3, input_dim=2, token_dim=2, router_dim=2)
    with pytest.raises(ValueError, match="needs three taps"):
        build_fusion("low", levels=2, input_dim=2, token_dim=2, router_dim=2)
