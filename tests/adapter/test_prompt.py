"""The frozen value: scales, masks, several subjects, several samples."""

import dataclasses

import pytest
import torch

from dynaip.adapter.prompt import ImagePrompt


def make(batch=1, seed=0, blocks=2, tokens=5, query_rope=False):
    generator = torch.Generator().manual_seed(seed)
    return ImagePrompt(
        keys=tuple(torch.randn(batch, 1, 2, tokens, 4, generator=generator) for _ in range(blocks)),
        values=tuple(
            torch.randn(batch, 1, 2, tokens, 4, generator=generator) for _ in range(blocks)
        ),
        scale=torch.ones(1, 1, 1),
        query_rope=query_rope,
    )


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().scale = torch.zeros(1, 1, 1)  # type: ignore[misc]


def test_joined_subjects_keep_their_own():
    mask = torch.tensor([[1.0, 0.0, 0.5]])
    dog, mug = make(seed=1).with_scale(0.5).with_mask(mask), make(seed=2)
    both = ImagePrompt.join([dog, mug])
    assert (both.batch, both.subjects, both.blocks) == (1, 2, 2)
    for index in range(2):
        block = both.block(index)
        assert torch.equal(block.key[:, :1], dog.keys[index])
        assert torch.equal(block.value[:, 1:], mug.values[index])
        assert block.image_weight.tolist() == [[[0.5, 0.0, 0.25], [1.0, 1.0, 1.0]]]
        assert block.text_weight.tolist() == [[[0.5], [1.0]]]


def test_joining_nothing_is_no_subject():
    assert ImagePrompt.join([]).subjects == 0
    assert ImagePrompt.join([ImagePrompt.empty(), make()]).subjects == 1


def test_join_spreads_a_shared_reference_over_samples():
    joined = ImagePrompt.join([make(batch=3, seed=1).with_scale(torch.rand(3, 1, 2)), make()])
    assert (joined.batch, joined.subjects) == (3, 2)
    assert joined.scale.shape == (3, 2, 2)
    assert torch.equal(joined.keys[0][2, 1], joined.keys[0][0, 1])


def test_stacked_samples_keep_their_own():
    masked = make(seed=1).with_mask(torch.zeros(1, 3))
    stacked = ImagePrompt.stack([masked, make(seed=2).with_scale(2.0)])
    assert (stacked.batch, stacked.subjects) == (2, 1)
    weights = stacked.block(0).image_weight
    assert weights.tolist() == [[[0, 0, 0]], [[2, 2, 2]]]
    assert torch.equal(stacked.keys[1][1:], make(seed=2).keys[1])


def test_repeats_are_in_diffusers_order():
    repeated = ImagePrompt.stack([make(seed=1), make(seed=2)]).repeat_interleave(2)
    assert repeated.batch == 4
    assert torch.equal(repeated.keys[0][1], make(seed=1).keys[0][0])
    assert torch.equal(repeated.keys[0][2], make(seed=2).keys[0][0])


def test_what_the_samples_share_is_repeated_with_them():
    pair = ImagePrompt.stack([make(seed=1), make(seed=2)])
    repeated = pair.with_scale(0.5).with_mask(torch.ones(1, 3)).repeat_interleave(2)
    assert repeated.block(0).image_weight.shape == (4, 1, 3)
    assert repeated.block(0).text_weight.shape[0] == 4


def test_scales_by_subject_and_block():
    both = ImagePrompt.join([make(seed=1), make(seed=2)])
    assert both.with_scale(0.5).scale[0, :, 0].tolist() == [0.5, 0.5]
    assert both.with_scale([0.5, 0.25]).block(1).text_weight.flatten().tolist() == [0.5, 0.25]
    by_block = both.with_scale(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert by_block.block(0).text_weight.flatten().tolist() == [1, 3]
    assert by_block.block(1).text_weight.flatten().tolist() == [2, 4]


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ([1.0, 1.0], r"2 subject\(s\) and 1 block"),
        (torch.ones(1, 3), r"1 subject\(s\) and 3 block"),
        (torch.ones(4, 1, 1), "for 4 samples"),
        (float("nan"), "not a finite number"),
    ],
)
def test_bad_scales(scale, message):
    with pytest.raises(ValueError, match=message):
        make().with_scale(scale)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 3), r"2 mask\(s\) were given for 1"),
        (torch.full((1, 3), 255.0), "from 0 to 1"),
        (torch.full((1, 3), torch.nan), "from 0 to 1"),
        (torch.ones(3, 1, 3), "for 3 samples"),
    ],
)
def test_bad_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        make().with_mask(mask)


def test_one_mask_serves_samples_with_their_own_scales():
    prompt = make(batch=2).with_mask(torch.tensor([[1.0, 0.5]])).with_scale(torch.ones(2, 1, 1))
    assert prompt.with_scale(torch.tensor([[[1.0]], [[2.0]]])).block(0).image_weight.tolist() == [
        [[1, 0.5]],
        [[2, 1]],
    ]


def test_masks_come_off():
    assert make().with_mask(torch.ones(1, 3)).with_mask(None).mask is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(blocks=3), "one adapter"),
        (make(query_rope=True), "one adapter"),
        (make(tokens=6), "one encoder"),
        (make(batch=2), "batches of different sizes"),
        (make().with_mask(torch.ones(1, 4)), "Masks of different sizes"),
    ],
)
def test_subjects_that_do_not_go_together(other, message):
    with pytest.raises(ValueError, match=message):
        ImagePrompt.join([make(batch=3).with_mask(torch.ones(1, 3)), other])


def test_stack_refuses_other_numbers_of_subjects():
    pair = ImagePrompt.join([make(), make()])
    with pytest.raises(ValueError, match="equally many subjects"):
        ImagePrompt.stack([pair, make()])
    with pytest.raises(ValueError, match="no prompt to stack"):
        ImagePrompt.stack([])


def test_precision_moves_keys_and_values():
    prompt = make().with_mask(torch.ones(1, 3)).to(dtype=torch.bfloat16)
    assert {t.dtype for t in (*prompt.keys, *prompt.values)} == {torch.bfloat16}
    assert prompt.scale.dtype == torch.float32


def test_a_window_says_who_is_there():
    both = ImagePrompt.join([make(seed=1).with_window(0.25, 0.5), make(seed=2)])
    there = [both.active(position).tolist() for position in (0.0, 0.25, 0.49, 0.5)]
    assert there == [[[False, True]], [[True, True]], [[True, True]], [[False, True]]]
    assert make().active(0.5) is None
    off = both.only(both.active(0.0)).block(0)
    assert off.image_weight.tolist() == off.text_weight.tolist() == [[[0.0], [1.0]]]
    for start, end in ((0.5, 0.5), (-0.1, 1), (0, 1.1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="0 <= start < end <= 1"):
            make().with_window(start, end)


def test_who_is_off_covers_nobody():
    """Without masks, too, overlap decides between subjects that share the picture."""
    both = ImagePrompt.join([make(seed=1), make(seed=2)])
    first = dataclasses.replace(both, overlap="priority")
    assert first.block(0).image_weight.flatten().tolist() == [1, 0]
    alone = first.only(torch.tensor([[False, True]]))
    assert alone.block(0).image_weight.flatten().tolist() == [0, 1]
    shared = dataclasses.replace(both, overlap="normalise")
    assert shared.block(0).image_weight.flatten().tolist() == [0.5, 0.5]


def test_rows_beside_the_picture_see_nothing():
    beside = make().beside(3, 2).block(0)
    assert beside.image_weight.tolist() == [[[1, 1, 1, 0, 0]]]
    assert beside.text_weight.tolist() == [[[1]]]
    masked = make().with_mask(torch.tensor([[0.5, 1.0]])).beside(2, 1).block(0)
    assert masked.image_weight.tolist() == [[[0.5, 1, 0]]]


def test_masks_say_who_attends():
    mask = torch.tensor([[1.0, 0.5, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
    pair = ImagePrompt.join([make(seed=1), make(seed=2)])
    assert pair.block(0).cover is None
    first, second = pair.with_mask(mask).block(1).cover.rows
    assert first.tolist() == [[0, 1]]
    assert second.tolist() == [[0, 1, 2, 3]]
    covered = pair.with_mask(mask[[1, 0]], "priority")
    # The second one is covered wholly, and keeps the fewest rows there are.
    assert [rows.shape[1] for rows in covered.cover.rows] == [4, 2]
    assert covered.block(0).cover is covered.block(1).cover


def test_who_is_covered_by_others_attends_by_the_fewest_rows():
    """Rows follow the places that overlap leaves on the token grid, not the masks as given."""
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    pair = ImagePrompt.join([make(seed=1), make(seed=2)])
    assert pair.with_mask(mask).cover.lengths.tolist() == [6, 4]
    assert pair.with_mask(mask, "priority").cover.lengths.tolist() == [6, 2]


def test_joined_references_lie_token_by_token():
    """A kernel for unequal lengths then reads them without a copy."""
    key = ImagePrompt.join([make(seed=1), make(seed=2)]).keys[0]
    assert key.shape == (1, 2, 2, 5, 4)
    assert key.transpose(2, 3).is_contiguous()


def test_who_is_off_attends_by_the_fewest_rows():
    mask = torch.zeros(2, 128)
    mask[0, :64], mask[1, 64:] = 1, 1
    pair = ImagePrompt.join([make(seed=1), make(seed=2)]).with_mask(mask)
    assert pair.cover.lengths.tolist() == [64, 64]
    assert pair.only(torch.tensor([[False, True]])).cover.lengths.tolist() == [2, 64]


def test_text_masks_stay_with_their_subjects_and_samples():
    words = torch.tensor([[0.0, 1.0]])
    dog, mug = make(seed=1).with_scale(0.5).with_text_mask(words), make(seed=2)
    joined = ImagePrompt.join([dog, mug])
    assert joined.block(0).text_weight.tolist() == [[[0, 0.5], [1, 1]]]
    assert joined.block(0).image_weight.tolist() == [[[0.5], [1]]]
    stacked = ImagePrompt.stack([dog, mug]).repeat_interleave(2)
    assert stacked.block(1).text_weight.tolist() == [[[0, 0.5]]] * 2 + [[[1, 1]]] * 2
    assert joined.only(torch.tensor([[False, True]])).block(0).text_weight.tolist() == [
        [[0, 0], [1, 1]]
    ]
    assert torch.equal(dog.expand(3).text_mask, words.expand(3, 1, 2))
    assert dog.with_text_mask(None).block(0).text_weight.tolist() == [[[0.5]]]


def test_bad_text_masks_are_refused():
    with pytest.raises(ValueError, match=r"2 mask\(s\) were given for 1 subject"):
        make().with_text_mask(torch.ones(2, 4))
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        make().with_text_mask(torch.full((1, 4), 2.0))
    with pytest.raises(ValueError, match="Masks for 3 samples"):
        make(batch=2).with_text_mask(torch.ones(3, 1, 4))
    with pytest.raises(ValueError, match="Masks for 3 samples"):
        make().with_text_mask(torch.ones(2, 1, 4)).with_mask(torch.ones(3, 1, 4))
    with pytest.raises(ValueError, match=r"different sizes \(4, 5 text tokens\)"):
        ImagePrompt.join([make().with_text_mask(torch.ones(1, n)) for n in (4, 5)])


def test_prompts_may_share_references_and_have_words_of_their_own():
    words = torch.tensor([[[1.0, 0]], [[0, 1]]])
    shared = make().with_text_mask(words)
    assert (shared.batch, len(shared.keys[0])) == (2, 1)
    assert shared.block(0).text_weight.tolist() == words.tolist()
    doubled = shared.repeat_interleave(2)
    assert (doubled.batch, len(doubled.keys[0])) == (4, 4)
    assert doubled.text_mask.tolist() == words.repeat_interleave(2, 0).tolist()
    stacked = ImagePrompt.stack([shared, make(seed=2)])
    assert (stacked.batch, len(stacked.keys[0])) == (3, 3)
    assert stacked.text_mask.tolist() == [*words.tolist(), [[1, 1]]]
