"""Rows under masks: both kernels against the naive formula, and only the rows asked for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaip.adapter import grouping
from dynaip.adapter.attention import add_to_rows, resolve_overlap, subject_attention
from dynaip.adapter.grouping import add_to_covered_rows, cover_rows

TEXT, HEADS, WIDTH, TOKENS = 3, 2, 8, 5


def varlen_by_softmax(query, key, value, ends, key_ends, longest, longest_key):
    """What torch's kernel promises, written out: it has none for CPUs."""
    assert query.shape[0] == ends[-1]
    assert longest >= (ends[1:] - ends[:-1]).max()
    assert longest_key == (key_ends[1:] - key_ends[:-1]).max()
    parts = []
    for segment in range(len(ends) - 1):
        own = query[ends[segment] : ends[segment + 1]]
        reference = slice(key_ends[segment], key_ends[segment + 1])
        logits = torch.einsum("qhd,khd->hqk", own, key[reference]) / math.sqrt(query.shape[-1])
        parts.append(torch.einsum("hqk,khd->qhd", logits.softmax(-1), value[reference]))
    return torch.cat(parts)


@pytest.fixture(params=["each", "packed"], scope="module")
def add(request):
    """The function under test, in the kernel of the parameter."""

    def add(*inputs, places):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_by_softmax)
            *inputs, weight = inputs
            cover = cover_rows(places, packed=request.param == "packed")
            return add_to_covered_rows(*inputs, weight, cover, TEXT)

    return add


def make(batch, references, subjects, image, seed=0, **kind):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(**kind)

    query = random(batch, TEXT + image, HEADS, WIDTH)
    key, value = (random(references, subjects, HEADS, TOKENS, WIDTH) for _ in range(2))
    return random(batch, TEXT + image, HEADS * WIDTH), query, key, value


def naive(attended, query, key, value, weight):
    cross = subject_attention(query[:, TEXT:], key, value, weight)
    return add_to_rows(attended.clone(), cross, TEXT)


numbers = st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0])


@st.composite
def cases(draw):
    """Masks of one to four subjects on up to 40 rows, for all samples or one each."""
    image, subjects = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    batch = draw(st.integers(1, 3))
    each = draw(st.sampled_from([1, batch]))
    rows = st.lists(numbers, min_size=image, max_size=image)
    masks = st.lists(rows, min_size=subjects, max_size=subjects)
    mask = torch.tensor(draw(st.lists(masks, min_size=each, max_size=each)), dtype=torch.float64)
    return mask, batch, draw(st.sampled_from([1, batch]))


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(["sum", "normalise", "priority"]))
def test_it_is_the_naive_formula(add, case, overlap):
    mask, batch, references = case
    _, subjects, image = mask.shape
    attended, *inputs = make(batch, references, subjects, image)
    places = resolve_overlap(mask, overlap)
    scale = torch.linspace(0.5, 2, subjects, dtype=torch.float64)[None, :, None]
    wanted = naive(attended, *inputs, scale * places)
    before = attended.clone()
    found = add(attended, *inputs, scale * places, places=places)
    torch.testing.assert_close(found, wanted)
    nobody = torch.cat([torch.ones(batch, TEXT), (places == 0).all(1).expand(batch, -1)], 1).bool()
    assert torch.equal(found[nobody], before[nobody])


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_rows_of_a_subject(case):
    mask = case[0]
    image = mask.shape[-1]
    cover = cover_rows(mask)
    step = max(2, image // 64)
    for subject, (rows, length) in enumerate(zip(cover.rows, cover.lengths, strict=True)):
        most = int(mask[:, subject].count_nonzero(-1).max())
        assert rows.shape[-1] == length
        assert most <= length <= max(step, most + step - 1)
        assert length <= image
        assert length == image or length % step == 0
        for sample, own in zip(mask[:, subject], rows, strict=True):
            assert own.unique().numel() == length
            assert set(sample.nonzero().flatten().tolist()) <= set(own.tolist())


def test_eight_disjoint_subjects_cost_what_one_does(monkeypatch):
    attended_rows = []

    def count(query, key, value):
        attended_rows.append(query.shape[0] * query.shape[1])
        return query.new_zeros(*query.shape[:2], HEADS * WIDTH)

    monkeypatch.setattr(grouping, "cross_attention", count)
    stripes = torch.eye(8).repeat_interleave(16, 1)[None]
    for mask in (torch.ones(1, 1, 128), stripes):
        attended_rows.append(0)
        attended, *inputs = make(1, 1, mask.shape[1], 128, dtype=torch.float32)
        add_to_covered_rows(attended, *inputs, mask, cover_rows(mask), TEXT)
    assert attended_rows == [0, 128, 0, *[16] * 8]


@pytest.mark.parametrize("trainable", ["attended", "key"])
def test_gradients(add, trainable):
    mask = torch.tensor([[[1, 0, 0.5, 0, 0, 0], [0, 1, 1, 0, 0, 0]]], dtype=torch.float64)
    attended, query, key, value = make(2, 1, 2, 6)
    tensors = {"attended": attended, "key": key}
    leaf = tensors[trainable].requires_grad_()
    found, wanted = (
        torch.autograd.grad(output.square().sum(), leaf)[0]
        for output in (
            add(attended, query, key, value, mask, places=mask),
            naive(attended, query, key, value, mask),
        )
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("references", [1, 3])
def test_torchs_own_kernel_takes_what_is_packed(references):
    """On the meta device: its checks of types and shapes, which the formula above does not make."""
    mask = torch.ones(1, 2, 12, device="meta")
    inputs = make(3, references, 2, 12, device="meta", dtype=torch.bfloat16)
    rows = tuple(torch.zeros(1, p, dtype=torch.long, device="meta") for p in (4, 10))
    cover = grouping.Cover(rows, torch.zeros(2, dtype=torch.long, device="meta"), packed=True)
    assert add_to_covered_rows(*inputs, mask, cover, TEXT).shape == (3, TEXT + 12, HEADS * WIDTH)


def test_references_are_not_copied_for_the_packed_kernel():
    by_token = torch.randn(1, 2, TOKENS, HEADS, WIDTH).transpose(2, 3)
    assert grouping._end_to_end(by_token, torch.float32).data_ptr() == by_token.data_ptr()


def test_cpus_have_no_packed_kernel():
    assert not grouping.can_pack(torch.zeros(1, 1, 2, 5, 64, dtype=torch.bfloat16))


@pytest.mark.gpu
@pytest.mark.parametrize("references", [1, 2])
def test_the_packed_kernel_is_the_naive_formula(references):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    mask = torch.zeros(1, 3, 64, device="cuda", dtype=torch.bfloat16)
    mask[0, 0, :32], mask[0, 1, 30:40], mask[0, 2, 63] = 1, 0.5, 1
    attended, *inputs = make(2, references, 3, 64, device="cuda", dtype=torch.bfloat16)
    cover = cover_rows(mask, grouping.can_pack(inputs[1]))
    assert cover.packed
    wanted = naive(attended, *inputs, mask)
    found = add_to_covered_rows(attended, *inputs, mask, cover, TEXT)
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)
