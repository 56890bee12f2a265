"""Equations 2 to 5 and 9 against the same formulas written out with a softmax."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaip.adapter.attention import (
    add_to_rows,
    cross_attention,
    resolve_overlap,
    subject_attention,
)


def naive_attention(query, key, value):
    """softmax(QKᵀ/√d)V for "n h d" queries and "h m d" keys of one sample, head by head."""
    heads = []
    for head in range(query.shape[1]):
        logits = query[:, head] @ key[head].T / math.sqrt(query.shape[-1])
        heads.append(torch.softmax(logits, dim=-1) @ value[head])
    return torch.cat(heads, dim=-1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("references", [1, 3])
def test_cross_attention_is_the_naive_formula(references, generator):
    query = random(3, 7, 2, 4, generator=generator)
    key, value = (random(references, 2, 5, 4, generator=generator) for _ in range(2))
    found = cross_attention(query, key, value)
    for sample in range(3):
        reference = sample % references
        wanted = naive_attention(query[sample], key[reference], value[reference])
        torch.testing.assert_close(found[sample], wanted)


def test_subjects_are_separate_softmaxes_weighted_and_summed(generator):
    query = random(2, 6, 2, 4, generator=generator)
    key, value = (random(2, 3, 2, 5, 4, generator=generator) for _ in range(2))
    weight = torch.rand(2, 3, 6, generator=generator, dtype=torch.float64)
    found = subject_attention(query, key, value, weight)
    for sample in range(2):
        wanted = sum(
            weight[sample, subject, :, None]
            * naive_attention(query[sample], key[sample, subject], value[sample, subject])
            for subject in range(3)
        )
        torch.testing.assert_close(found[sample], wanted)


@pytest.mark.parametrize("start", [0, 2, 4])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_only_the_named_rows_change(start, requires_grad, generator):
    attended = random(2, 6, 8, generator=generator)
    before = attended.clone()
    cross = random(2, 2, 8, generator=generator).requires_grad_(requires_grad)
    found = add_to_rows(attended, cross, start)
    wanted = before.clone()
    wanted[:, start : start + 2] += cross.detach()
    assert torch.equal(found.detach(), wanted)
    assert (found is attended) != requires_grad
    if requires_grad:
        assert torch.equal(attended, before)
        found.sum().backward()
        assert torch.equal(cross.grad, torch.ones_like(cross))


masks = st.lists(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=4),
    min_size=1,
    max_size=4,
).map(lambda rows: torch.tensor(rows)[None])


@settings(max_examples=60, deadline=None)
@given(masks)
def test_overlaps(mask):
    assert torch.equal(resolve_overlap(mask, "sum"), mask)

    shared = resolve_overlap(mask, "normalise")
    crowded = mask.sum(1, keepdim=True) > 1
    torch.testing.assert_close(shared, torch.where(crowded, mask / mask.sum(1, keepdim=True), mask))
    assert (shared.sum(1) <= 1 + 1e-6).all()

    ranked = resolve_overlap(mask, "priority")
    left = torch.ones_like(mask[:, 0])
    for subject in range(mask.shape[1]):
        torch.testing.assert_close(ranked[:, subject], mask[:, subject] * left)
        left = left * (1 - mask[:, subject])


def test_unknown_overlap_is_refused():
    # Unwrapped: under test, the import hook would refuse the word first.
    with pytest.raises(ValueError, match="sum, normalise, priority"):
        inspect.unwrap(resolve_overlap)(torch.ones(1, 1, 2), "max")
