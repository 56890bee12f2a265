"""Prompts by place: against the formula row by row, and cases whose answer is the base's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler

from dynaip.hosts.flux import attach
from dynaip.hosts.regions import RegionalPrompts, attend_by_region

TEXT, IMAGE = 5, 12


def text(seed, tokens=TEXT):
    return torch.randn(1, tokens, 32, generator=torch.Generator().manual_seed(seed))


def regions(masks, base_ratio=0.0, steps=9, tokens=TEXT):
    each = [text(10 + index, tokens) for index in range(len(masks))]
    return RegionalPrompts(
        text=torch.cat(each), masks=torch.tensor(masks).bool(), base_ratio=base_ratio, steps=steps
    )


@pytest.fixture
def attachment(transformer):
    """Attached, with a schedule of two steps; `step` takes one."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(2)
    with attach(transformer) as attachment, torch.no_grad():
        attachment.passes.follow(scheduler)
        # The tests' passes are one a step: none of them is the unconditional one.
        attachment.passes.name = "cond"
        attachment.step = lambda: scheduler.step(
            torch.zeros(1), scheduler.timesteps[attachment.passes.done()], torch.zeros(1)
        )
        yield attachment


def attend(query, key, value, mask):
    rows = (each.transpose(1, 2) for each in (query, key, value))
    return F.scaled_dot_product_attention(*rows, attn_mask=mask).transpose(1, 2)


def seen_by(row, masks, tokens, picture, image):
    """Rows of the regions and the picture that one of them attends to, in words."""
    count = len(masks)

    def places(index):
        if index < count * tokens:
            return {index // tokens}
        index -= count * tokens
        if index >= picture:
            return {"context"}
        return {region for region in range(count) if masks[region][index]} or {"nowhere"}

    own = places(row)
    everything = range(count * tokens + image)
    return [
        other for other in everything if "context" in own | places(other) or own & places(other)
    ]


@pytest.mark.parametrize("image", [6, 9])
def test_it_is_the_formula_row_by_row(image):
    """Two regions that overlap, background, and rows appended to the picture of six."""
    masks, tokens, words, ratio = [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0]], 2, 3, 0.3
    given = regions(masks, base_ratio=ratio, tokens=tokens)
    generator = torch.Generator().manual_seed(0)
    total = words + 4 + image
    query, key, value = (torch.randn(1, total, 1, 8, generator=generator) for _ in range(3))
    found = attend_by_region(attend, query, key, value, given.region(words, image))[0, :, 0]

    def row(index, others):
        logits = query[0, index, 0] @ key[0, others, 0].T / math.sqrt(8)
        return logits.softmax(-1) @ value[0, others, 0]

    prompt = [*range(words), *range(words + 4, total)]
    for index in range(total):
        if index < words:
            wanted = row(index, prompt)
        else:
            others = seen_by(index - words, masks, tokens, 6, image)
            wanted = row(index, [words + other for other in others])
            if index >= words + 4:
                wanted = ratio * row(index, prompt) + (1 - ratio) * wanted
        torch.testing.assert_close(found[index], wanted, msg=f"row {index}")


def test_one_region_of_everything_is_its_prompt(transformer, attachment, run, prompt):
    """With base ratio 0 the picture sees the region's text alone; so beside a reference, too."""
    other = text(10).expand(2, -1, -1)
    everywhere = regions([[1] * IMAGE])
    for reference in (None, prompt):
        attachment.set_prompt(reference)
        attachment.set_regions(None)
        wanted = run(encoder_hidden_states=other)
        attachment.set_regions(everywhere)
        torch.testing.assert_close(run(), wanted, atol=1e-5, rtol=1e-4)


def test_base_ratio_one_is_the_prompt_alone(attachment, run):
    base = run()
    attachment.set_regions(regions([[1] * 6 + [0] * 6], base_ratio=1.0))
    torch.testing.assert_close(run(), base, atol=1e-5, rtol=1e-4)


def test_two_regions_are_between(attachment, run):
    base = run()
    halves = [[1] * 6 + [0] * 6, [0] * 6 + [1] * 6]
    attachment.set_regions(regions(halves, base_ratio=0.3))
    mixed = run()
    attachment.set_regions(regions(halves[::-1], base_ratio=0.3))
    assert not torch.allclose(mixed, base, atol=1e-3)
    assert not torch.allclose(mixed, run(), atol=1e-3)


def test_they_end_with_their_steps(attachment, run):
    base = run()
    attachment.set_regions(regions([[1] * IMAGE], steps=1))
    assert not torch.allclose(run(), base, atol=1e-3)
    attachment.step()
    assert torch.equal(run(), base)


def test_the_unconditional_pass_has_none(attachment, run):
    base = run()
    attachment.set_regions(regions([[1] * IMAGE]))
    attachment.passes.name = "uncond"
    assert torch.equal(run(), base)
    attachment.passes.name = "cond"
    assert not torch.allclose(run(), base, atol=1e-3)


def test_taken_away_they_leave_nothing(attachment, run):
    base = run()
    attachment.set_regions(regions([[1] * IMAGE]))
    run()
    attachment.set_regions(None)
    assert torch.equal(run(), base)


def test_prompts_may_change_their_length(transformer, attachment, sized):
    """What was made for one pass is not used for another with other rows."""
    other = {"encoder_hidden_states": text(10).expand(2, -1, -1), "txt_ids": torch.zeros(TEXT, 3)}
    lengths = [sized(text=TEXT), sized(text=3)]
    wanted = [transformer(**inputs | other).sample for inputs in lengths]
    attachment.set_regions(regions([[1] * IMAGE]))
    for inputs, sample in zip(lengths, wanted, strict=True):
        found = transformer(**inputs).sample
        torch.testing.assert_close(found, sample, atol=1e-5, rtol=1e-4)


def test_another_grid_is_refused(attachment, run):
    attachment.set_regions(regions([[1] * (IMAGE + 1)]))
    with pytest.raises(ValueError, match="cover 13 image tokens, but this picture has 12"):
        run()


def test_without_a_scheduler_nobody_knows_when_they_end(attachment, run):
    attachment.passes.follow(None)
    attachment.set_regions(regions([[1] * IMAGE]))
    with pytest.raises(ValueError, match=r"passes\.follow"):
        run()
