"""The processor against an independent one, written with a softmax, without caching or folding."""

import itertools
import math

import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb

from dynaip.adapter.attention import resolve_overlap
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import attach
from dynaip.hosts.sites import BlockBranches, find_sites

TEXT, IMAGE = 5, 12


class NaiveProcessor:
    """Equations 1 to 5 and 9, one sample, one head, one subject at a time."""

    def __init__(self, prompt, index, rows, text):
        self.prompt, self.index, self.rows, self.text = prompt, index, rows, text

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        image_rotary_emb=None,
    ):
        def heads(rows):
            return rows.unflatten(-1, (attn.heads, -1))

        query = attn.norm_q(heads(attn.to_q(hidden_states)))
        key = attn.norm_k(heads(attn.to_k(hidden_states)))
        value = heads(attn.to_v(hidden_states))
        if encoder_hidden_states is not None:
            text = attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states)))
            query = torch.cat([text, query], 1)
            text = attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states)))
            key = torch.cat([text, key], 1)
            text = heads(attn.add_v_proj(encoder_hidden_states))
            value = torch.cat([text, value], 1)
        rotated = [apply_rotary_emb(x, image_rotary_emb, sequence_dim=1) for x in (query, key)]
        output = self.attend(rotated[0], rotated[1].transpose(1, 2), value.transpose(1, 2))
        output = output + self.cross(rotated[0] if self.prompt.query_rope else query)
        if encoder_hidden_states is None:
            return output
        return attn.to_out[0](output[:, self.text :]), attn.to_add_out(output[:, : self.text])

    def attend(self, query, key, value):
        samples = []
        for sample in range(query.shape[0]):
            other = sample % key.shape[0]
            parts = []
            for head in range(query.shape[2]):
                logits = query[sample, :, head] @ key[other, head].T / math.sqrt(query.shape[-1])
                parts.append(torch.softmax(logits, -1) @ value[other, head])
            samples.append(torch.cat(parts, -1))
        return torch.stack(samples)

    def cross(self, query):
        prompt = self.prompt
        total = torch.zeros_like(query.flatten(2))
        for subject in range(prompt.subjects):
            scale = prompt.scale[:, subject]
            scale = scale[:, self.index if scale.shape[-1] > 1 else 0]
            gate = torch.zeros(query.shape[0], query.shape[1])
            if self.rows in ("text", "both"):
                words = torch.ones(1, self.text)
                if prompt.text_mask is not None:
                    words = prompt.text_mask[:, subject]
                gate[:, : self.text] = scale[:, None] * words
            if self.rows in ("image", "both"):
                mask = torch.ones(1, IMAGE)
                if prompt.mask is not None:
                    mask = resolve_overlap(prompt.mask, prompt.overlap)[:, subject]
                gate[:, self.text :] = scale[:, None] * mask
            keys, values = (
                prompt.keys[self.index][:, subject],
                prompt.values[self.index][:, subject],
            )
            total += gate[..., None] * self.attend(query, keys, values)
        return total


def naive(transformer, prompt, branches, run, text=TEXT):
    """The whole model with naive processors; the last block's text rows are left in."""
    sites = find_sites(transformer)
    modules = [transformer.get_submodule(site.name) for site in sites]
    originals = [module.processor for module in modules]
    for site, module in zip(sites, modules, strict=True):
        rows = branches.double if site.kind == "double" else branches.single
        module.set_processor(NaiveProcessor(prompt, site.index, rows, text))
    output = run()
    for module, original in zip(modules, originals, strict=True):
        module.set_processor(original)
    return output


@torch.no_grad()
def test_the_text_length_is_that_of_the_pass(transformer, inputs, run, subject):
    prompt, branches = subject(1), BlockBranches(double="both", single="image")
    for length in (TEXT, 3, 1):
        text = {
            "encoder_hidden_states": inputs["encoder_hidden_states"][:, :length],
            "txt_ids": inputs["txt_ids"][:length],
        }
        wanted = naive(transformer, prompt, branches, lambda text=text: run(**text), length)
        with attach(transformer, prompt, branches=branches):
            torch.testing.assert_close(run(**text), wanted, atol=2e-5, rtol=1e-4)


def one(subject):
    return subject(1)


def scaled_by_block(subject):
    return subject(1).with_scale(torch.tensor([[0.5, 0.0, 2.0, -1.0]]))


def per_sample(subject):
    return subject(1, batch=2).with_scale(torch.tensor([[[0.5]], [[2.0]]]))


def two_masked(subject):
    masks = torch.rand(2, IMAGE, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    return ImagePrompt.join([subject(1), subject(2)]).with_scale([0.7, 1.3]).with_mask(masks)


def three_masked_per_sample(subject):
    joined = ImagePrompt.join([subject(1, batch=2), subject(2), subject(3)])
    masks = torch.rand(2, 3, IMAGE, generator=torch.Generator().manual_seed(0))
    return joined.with_mask(masks, "normalise")


def two_by_their_words(subject):
    words = torch.tensor([[0.0, 1, 1, 0, 0], [0, 0, 0, 0, 1]])
    return ImagePrompt.join([subject(1), subject(2)]).with_scale([0.7, 1.3]).with_text_mask(words)


def masks_and_words_per_sample(subject):
    words = torch.rand(2, 2, TEXT, generator=torch.Generator().manual_seed(0))
    joined = ImagePrompt.join([subject(1, batch=2), subject(2)])
    masks = torch.rand(2, 2, IMAGE, generator=torch.Generator().manual_seed(1))
    return joined.with_mask(masks, "priority").with_text_mask(words)


CASES = [
    one,
    scaled_by_block,
    per_sample,
    two_masked,
    three_masked_per_sample,
]
BY_WORDS = [two_by_their_words, masks_and_words_per_sample]
BRANCHES = [
    BlockBranches(double="image", single="image"),
    BlockBranches(double="both", single="both"),
    BlockBranches(double="text", single="text"),
    BlockBranches(double="image", single="both"),
]
# Words see nothing where image rows alone attend, and are refused there.
USES = [*itertools.product(CASES, BRANCHES), *itertools.product(BY_WORDS, BRANCHES[1:])]


@torch.no_grad()
@pytest.mark.parametrize(
    ("case", "branches"),
    USES,
    ids=[f"{case.__name__}-{rows.double}-{rows.single}" for case, rows in USES],
)
@pytest.mark.parametrize("query_rope", [False, True])
def test_it_is_the_naive_formula(case, branches, query_rope, adapter, transformer, run, subject):
    values = adapter.config.__dict__ | {"query_rope": query_rope}
    adapter.config = type(adapter.config)(**values)
    prompt = case(subject)
    wanted = naive(transformer, prompt, branches, run)
    base = run()
    with attach(transformer, prompt, branches=branches):
        found = run()
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    assert (found - base).abs().max() > 1e-3, "the case must show something"


@pytest.mark.parametrize("name", ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"])
class TestOneSite:
    """What holds at a site, and only there: self-attention mixes rows afterwards."""

    @pytest.fixture
    def at(self, transformer, name):
        """The attention's rows, with a prompt: text and image concatenated."""
        generator = torch.Generator().manual_seed(3)
        module = transformer.get_submodule(name)
        image = torch.randn(2, IMAGE, 32, generator=generator)
        text = torch.randn(2, TEXT, 32, generator=generator)
        angles = torch.randn(TEXT + IMAGE, 8, generator=generator).repeat_interleave(2, -1)
        rotary = (angles.cos(), angles.sin())

        @torch.no_grad()
        def at(prompt, branches="image"):
            with attach(transformer, prompt, branches=branches):
                length = {"image_prompt_text_length": TEXT}
                if name.startswith("single"):
                    rows = torch.cat([text, image], 1)
                    return module(rows, image_rotary_emb=rotary, **length)
                rows = module(image, text, image_rotary_emb=rotary, **length)
                return torch.cat(rows[::-1], 1)

        return at

    def test_affine_in_scale(self, at, prompt):
        off, half, full = (at(prompt.with_scale(scale)) for scale in (0.0, 0.5, 1.0))
        torch.testing.assert_close(half - off, (full - off) / 2, atol=1e-6, rtol=1e-5)
        assert torch.equal(off, at(None))

    def test_image_branch_leaves_text_rows_alone(self, at, prompt):
        off, on = at(None), at(prompt)
        assert torch.equal(on[:, :TEXT], off[:, :TEXT])
        assert not torch.isclose(on[:, TEXT:], off[:, TEXT:]).all(-1).any()

    def test_text_branch_leaves_image_rows_alone(self, at, prompt):
        off, on = at(None), at(prompt, "text")
        assert torch.equal(on[:, TEXT:], off[:, TEXT:])
        assert not torch.isclose(on[:, :TEXT], off[:, :TEXT]).all(-1).any()

    def test_both_is_text_and_image(self, at, prompt):
        both = at(prompt, "both")
        torch.testing.assert_close(both[:, :TEXT], at(prompt, "text")[:, :TEXT])
        torch.testing.assert_close(both[:, TEXT:], at(prompt, "image")[:, TEXT:])

    def test_rows_outside_a_mask_do_not_see_its_subject(self, at, subject):
        mask = torch.zeros(2, IMAGE)
        mask[0, :4], mask[1, 4:] = 1, 1

        def together(first):
            return at(ImagePrompt.join([subject(first), subject(2)]).with_mask(mask))

        before, after = together(1), together(7)
        same = torch.isclose(before, after, atol=0, rtol=0).all(-1)
        assert same[:, TEXT + 4 :].all()
        assert same[:, :TEXT].all()
        assert not same[:, TEXT : TEXT + 4].any()

    def test_only_its_words_see_a_subject(self, at, subject):
        words = torch.zeros(2, TEXT)
        words[0, 1:3], words[1, 3] = 1, 1
        both = ImagePrompt.join([subject(1), subject(2)]).with_text_mask(words)
        off, on = at(None), at(both, "both")
        own = torch.tensor([1, 2, 3])
        assert not torch.isclose(on[:, own], off[:, own]).all(-1).any()
        assert torch.equal(on[:, [0, 4]], off[:, [0, 4]])
        torch.testing.assert_close(on[:, 3], at(subject(2), "both")[:, 3])
        every = at(ImagePrompt.join([subject(1), subject(2)]), "both")
        torch.testing.assert_close(on[:, TEXT:], every[:, TEXT:])
