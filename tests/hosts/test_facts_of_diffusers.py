"""What the host relies on in diffusers, so that an upgrade fails here first."""

import inspect

import torch
from diffusers.models.transformers.transformer_flux import (
    FluxAttention,
    FluxAttnProcessor,
)
from torch import nn

from dynaip.hosts.flux import attach
from dynaip.hosts.sites import find_sites

TEXT, IMAGE = 5, 12


class TestFactsOfDiffusers:
    def test_processors_get_only_the_kwargs_they_name(self, transformer):
        class Greedy:
            def __call__(self, attn, hidden_states, *args, wanted=None, **others):
                self.seen = (wanted, others)
                return hidden_states

        attention = transformer.single_transformer_blocks[0].attn
        attention.set_processor(Greedy())
        attention(torch.zeros(1, 2, 32), wanted=1, other=2)
        assert attention.processor.seen == (1, {})

    def test_single_blocks_put_text_first_and_do_not_say_how_long_it_is(self, transformer):
        seen = {}

        class Spy(FluxAttnProcessor):
            def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args):
                seen["encoder_hidden_states"] = encoder_hidden_states
                seen["rows"] = hidden_states.shape[1]
                return hidden_states

        block = transformer.single_transformer_blocks[0]
        block.attn.set_processor(Spy())
        block.norm = nn.Identity()
        block.norm.forward = lambda rows, emb: (seen.setdefault("first", rows), torch.ones(1, 32))
        text, image = torch.zeros(1, TEXT, 32), torch.ones(1, IMAGE, 32)
        block(image, text, torch.zeros(1, 32))
        assert seen["encoder_hidden_states"] is None
        assert seen["rows"] == TEXT + IMAGE
        assert not seen["first"][:, :TEXT].any()
        assert seen["first"][:, TEXT:].all()

    def test_double_blocks_take_image_then_text(self, transformer):
        block = transformer.transformer_blocks[0]
        image, text = block.attn(
            torch.zeros(1, IMAGE, 32), encoder_hidden_states=torch.zeros(1, TEXT, 32)
        )
        assert (image.shape[1], text.shape[1]) == (IMAGE, TEXT)

    def test_text_rows_of_the_last_block_are_dead(self, transformer, run):
        base = run()

        class Loud(FluxAttnProcessor):
            def __call__(self, *args, **kwargs):
                rows = super().__call__(*args, **kwargs)
                return torch.cat([rows[:, :TEXT] + 100, rows[:, TEXT:]], 1)

        transformer.single_transformer_blocks[0].attn.set_processor(Loud())
        assert not torch.equal(run(), base)
        transformer.single_transformer_blocks[0].attn.set_processor(FluxAttnProcessor())
        transformer.single_transformer_blocks[1].attn.set_processor(Loud())
        assert torch.equal(run(), base)

    def test_our_processor_takes_what_theirs_takes(self, transformer, prompt):
        theirs = list(inspect.signature(FluxAttnProcessor.__call__).parameters)
        with attach(transformer, prompt):
            ours = list(
                inspect.signature(
                    type(next(iter(transformer.attn_processors.values()))).__call__
                ).parameters
            )
        assert ours[: len(theirs)] == theirs

    def test_sites_are_diffusers_own_order(self, transformer):
        names = [f"{site.name}.processor" for site in find_sites(transformer)]
        assert names == list(transformer.attn_processors)
        assert all(
            isinstance(transformer.get_submodule(site.name), FluxAttention)
            for site in find_sites(transformer)
        )
