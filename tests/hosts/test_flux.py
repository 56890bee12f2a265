"""On and off again, exactly; masks, batches, training; and what is refused."""

import dataclasses
import inspect

import pytest
import torch
from diffusers.models._modeling_parallel import (
    ContextParallelConfig,
    ParallelConfig,
    TensorParallelConfig,
)
from diffusers.models.transformers.transformer_flux import (
    FluxAttnProcessor,
    FluxIPAdapterAttnProcessor,
)

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import attach
from dynaip.hosts.regions import RegionalPrompts
from dynaip.hosts.sites import BlockBranches, check_base, find_sites

TEXT, IMAGE = 5, 12
BRANCHES = ["image", "text", "both"]


def processors(transformer):
    return [transformer.get_submodule(site.name).processor for site in find_sites(transformer)]


class TestComingOff:
    """Invariant 1: nothing is left behind."""

    def test_detach_restores_everything(self, transformer, prompt, run):
        before = {
            "processors": [id(processor) for processor in processors(transformer)],
            "keys": list(transformer.state_dict()),
            "repr": repr(transformer),
            "hooks": len(transformer._forward_pre_hooks),
            "attributes": set(vars(transformer)),
        }
        output = run()
        with attach(transformer, prompt):
            assert list(transformer.state_dict()) == before["keys"]
            assert not torch.equal(run(), output)
        assert [id(processor) for processor in processors(transformer)] == before["processors"]
        assert list(transformer.state_dict()) == before["keys"]
        assert repr(transformer) == before["repr"]
        assert len(transformer._forward_pre_hooks) == before["hooks"]
        assert set(vars(transformer)) == before["attributes"]
        assert torch.equal(run(), output)

    def test_twice_is_once(self, transformer, prompt):
        attachment = attach(transformer, prompt)
        attachment.detach()
        attachment.detach()
        attach(transformer, prompt).detach()

    def test_what_is_given_afterwards_is_refused(self, transformer, prompt):
        attachment = attach(transformer, prompt)
        attachment.detach()
        regions = RegionalPrompts(
            text=torch.zeros(1, TEXT, 32),
            masks=torch.ones(1, IMAGE).bool(),
            base_ratio=0.5,
            steps=1,
        )
        for give, value in ((attachment.set_prompt, prompt), (attachment.set_regions, regions)):
            with pytest.raises(ValueError, match="is detached, so it would have no effect"):
                give(value)
            give(None)

    def test_an_error_inside_detaches(self, transformer, prompt, run):
        output = run()
        with pytest.raises(KeyError), attach(transformer, prompt):
            raise KeyError
        assert torch.equal(run(), output)

    def test_wrong_order_is_refused(self, transformer, prompt):
        attachment = attach(transformer, prompt)
        name = attachment.sites[2].name
        ours = transformer.get_submodule(name).processor
        transformer.get_submodule(name).set_processor(FluxAttnProcessor())
        with pytest.raises(ValueError, match="take those off first"):
            attachment.detach()
        transformer.get_submodule(name).set_processor(ours)
        attachment.detach()

    def test_a_backend_chosen_meanwhile_stays(self, transformer, prompt, run):
        attachment = attach(transformer, prompt)
        on = run()
        transformer.set_attention_backend("native")
        assert {p._attention_backend for p in processors(transformer)} == {"native"}
        torch.testing.assert_close(run(), on)
        attachment.detach()
        assert {p._attention_backend for p in processors(transformer)} == {"native"}
        with attach(transformer, prompt):
            assert {p._attention_backend for p in processors(transformer)} == {"native"}


class TestExactlyOff:
    """Invariants 2 and 3: the base, bit for bit."""

    @pytest.mark.parametrize("branches", BRANCHES)
    def test_a_fresh_adapter(self, fresh, transformer, run, branches):
        tokens = torch.randn(2, 5, 20)
        base = run()
        with attach(transformer, fresh.project(tokens), branches=branches):
            assert torch.equal(run(), base)

    @pytest.mark.parametrize("branches", BRANCHES)
    def test_scale_zero_no_prompt_no_subject_zero_tokens(
        self, adapter, transformer, prompt, run, branches
    ):
        base = run()
        off = [
            prompt.with_scale(0.0),
            None,
            ImagePrompt.empty(),
            adapter.project(torch.zeros(1, 5, 20)),
        ]
        with attach(transformer, prompt, branches=branches) as attachment:
            for nothing in off:
                attachment.set_prompt(nothing)
                assert torch.equal(run(), base)
            attachment.set_prompt(prompt)
            assert not torch.equal(run(), base)


class TestMasks:
    """Invariants 4 and 5, on the whole model."""

    @pytest.mark.parametrize("branches", BRANCHES)
    def test_ones_are_no_mask(self, transformer, prompt, run, branches):
        with attach(transformer, prompt, branches=branches) as attachment:
            free = run()
            attachment.set_prompt(prompt.with_mask(torch.ones(1, IMAGE)))
            torch.testing.assert_close(run(), free, atol=1e-6, rtol=0)

    def test_zeros_are_the_base(self, transformer, prompt, run):
        base = run()
        with attach(transformer, prompt.with_mask(torch.zeros(1, IMAGE))):
            assert torch.equal(run(), base)

    def test_one_subject_twice_is_once_under_the_union(self, transformer, prompt, run):
        mask = torch.zeros(2, IMAGE)
        mask[0, 2:5], mask[1, 7:] = 1, 1
        with attach(transformer, prompt.with_mask(mask.sum(0, keepdim=True))) as attachment:
            union = run()
            attachment.set_prompt(ImagePrompt.join([prompt, prompt]).with_mask(mask))
            torch.testing.assert_close(run(), union, atol=1e-6, rtol=0)

    def test_another_grid_is_refused(self, transformer, prompt, run):
        with (
            attach(transformer, prompt.with_mask(torch.ones(1, IMAGE + 1))),
            pytest.raises(ValueError, match="cover 13 image tokens, but this picture has 12"),
        ):
            run()


class TestTextMasks:
    """The same over the text rows."""

    def test_ones_are_no_mask(self, transformer, prompt, run):
        with attach(transformer, prompt, branches="both") as attachment:
            free = run()
            attachment.set_prompt(prompt.with_text_mask(torch.ones(1, TEXT)))
            torch.testing.assert_close(run(), free, atol=1e-6, rtol=0)

    def test_zeros_are_decoupling(self, transformer, prompt, run):
        """Where no word sees it, `"both"` is `"image"`, but for rounding."""
        with attach(transformer, prompt, branches="image") as attachment:
            decoupled = run()
            attachment.branches = "both"
            assert not torch.equal(run(), decoupled)
            attachment.set_prompt(prompt.with_text_mask(torch.zeros(1, TEXT)))
            torch.testing.assert_close(run(), decoupled, atol=1e-6, rtol=0)

    def test_they_need_text_rows(self, transformer, prompt, run):
        masked = prompt.with_text_mask(torch.ones(1, TEXT))
        with pytest.raises(ValueError, match="no reference with branches 'image'"):
            attach(transformer, masked)
        beside = dataclasses.replace(
            masked, keys=masked.keys[:2], values=masked.values[:2], insertion="post_ff"
        )
        with pytest.raises(ValueError, match="leave the subjects' phrases out"):
            attach(transformer, beside, branches="image")

    def test_another_length_is_refused(self, transformer, prompt, run):
        with (
            attach(transformer, prompt.with_text_mask(torch.ones(1, TEXT + 1)), branches="both"),
            pytest.raises(ValueError, match="among 6 text tokens, but this pass has 5"),
        ):
            run()


class TestBatches:
    def test_samples_see_their_own_reference(self, transformer, inputs, run, subject):
        stacked = ImagePrompt.stack([subject(1), subject(2)])
        with attach(transformer, stacked) as attachment:
            together = run()
            for sample, seed in enumerate((1, 2)):
                attachment.set_prompt(subject(seed))
                torch.testing.assert_close(together[sample], run()[sample], atol=1e-5, rtol=1e-4)

    def test_pictures_may_grow_beside_rows_of_others(self, transformer, prompt, sized):
        """One prompt, four rows of context: what was made for six rows is not used for eight."""
        found = []
        for rows in ((6, 8), (8,)):
            with attach(transformer, prompt) as attachment, attachment.record() as norms:
                for picture in rows:
                    inputs = sized(image=picture + 4)
                    inputs["img_ids"][picture:, 0] = 1
                    transformer(**inputs)
                found.append(norms[0].cross)
        assert torch.equal(*found)

    def test_other_numbers_are_refused(self, transformer, run, subject):
        with (
            attach(transformer, subject(1, batch=3)),
            pytest.raises(ValueError, match="references for 3 samples, but 2 are being made"),
        ):
            run()


class TestProjectedOnce:
    """Invariant 6: a prompt is its own cache."""

    @torch.no_grad()
    def test_it_equals_projecting_every_step(self, transformer, adapter, run):
        tokens = torch.randn(1, 5, 20)
        times = [torch.full((2,), t) for t in (1.0, 0.6, 0.2)]
        with attach(transformer, adapter.project(tokens)) as attachment:
            once = [run(timestep=time) for time in times]
            again = []
            for time in times:
                attachment.set_prompt(adapter.project(tokens))
                again.append(run(timestep=time))
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


class TestTraining:
    """Invariant 7 and what training needs."""

    def gradients(self, adapter, loss):
        adapter.zero_grad()
        loss.backward()
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in adapter.named_parameters()
        }

    def project(self, adapter, seed=0):
        features = torch.randn(3, 2, 5, 12, generator=torch.Generator().manual_seed(seed))
        return adapter.project(adapter.encode(features).tokens)

    def test_all_of_the_adapter_and_nothing_of_the_base_learns(self, transformer, adapter, run):
        with attach(transformer, self.project(adapter), branches="both"):
            gradients = self.gradients(adapter, run().square().mean())
        assert [name for name, gradient in gradients.items() if not gradient.any()] == []
        assert all(parameter.grad is None for parameter in transformer.parameters())

    def test_a_fresh_adapter_begins_with_its_values(self, transformer, fresh, run):
        with attach(transformer, self.project(fresh), branches="both"):
            gradients = self.gradients(fresh, run().square().mean())
        moving = {name for name, gradient in gradients.items() if gradient.any()}
        assert moving == {f"blocks.{index}.to_v.weight" for index in range(4)}

    @pytest.mark.parametrize("branches", BRANCHES)
    def test_gradient_checkpointing_changes_nothing(self, transformer, adapter, run, branches):
        transformer.train()
        found = []
        with attach(transformer, branches=branches) as attachment:
            for checkpointing in (False, True):
                if checkpointing:
                    transformer.enable_gradient_checkpointing()
                attachment.set_prompt(self.project(adapter))
                found.append(self.gradients(adapter, run().square().mean()))
        for name in found[0]:
            torch.testing.assert_close(found[1][name], found[0][name], msg=name)

    def test_checkpointing_survives_a_new_prompt_and_another_text_length(
        self, transformer, adapter, inputs, run
    ):
        """Two losses, one backward pass: each block runs again with what it saw the first time."""
        transformer.train()
        short = {
            "encoder_hidden_states": inputs["encoder_hidden_states"][:, :3],
            "txt_ids": inputs["txt_ids"][:3],
        }
        found = []
        with attach(transformer, branches="image") as attachment:
            for checkpointing in (False, True):
                if checkpointing:
                    transformer.enable_gradient_checkpointing()
                attachment.set_prompt(self.project(adapter, seed=0))
                first = run()
                attachment.set_prompt(self.project(adapter, seed=1))
                second = run(**short)
                attachment.set_prompt(None)
                loss = first.square().mean() - 2 * second.square().mean()
                found.append(self.gradients(adapter, loss))
        for name in found[0]:
            torch.testing.assert_close(found[1][name], found[0][name], msg=name)

    def test_checkpointing_keeps_the_queries_of_the_first_run(self, transformer, adapter, run):
        """Also where they are rotated, and the prompt is gone before the backward pass."""
        transformer.train()
        adapter.config = dataclasses.replace(adapter.config, query_rope=True)
        found = []
        with attach(transformer) as attachment:
            for checkpointing in (False, True):
                if checkpointing:
                    transformer.enable_gradient_checkpointing()
                attachment.set_prompt(self.project(adapter))
                loss = run().square().mean()
                attachment.set_prompt(None)
                found.append(self.gradients(adapter, loss))
        for name in found[0]:
            torch.testing.assert_close(found[1][name], found[0][name], msg=name)

    def test_autocast(self, transformer, adapter, run):
        with (
            torch.autocast("cpu", torch.bfloat16),
            attach(transformer, self.project(adapter), branches="both"),
        ):
            loss = run().float().square().mean()
        gradients = self.gradients(adapter, loss)
        assert all(torch.isfinite(g).all() and g.any() for g in gradients.values())


class TestBranches:
    def test_they_can_change_between_passes(self, transformer, prompt, run):
        outputs = {}
        for branches in BRANCHES:
            with attach(transformer, prompt, branches=branches):
                outputs[branches] = run()
        with attach(transformer, prompt) as attachment:
            for branches in BRANCHES:
                attachment.branches = branches
                assert torch.equal(run(), outputs[branches])
        assert not torch.equal(outputs["image"], outputs["both"])

    def test_text_rows_of_the_last_block_are_left_out(self, transformer, prompt, run):
        with attach(transformer, prompt, branches="both") as attachment:
            with attachment.record() as norms:
                run()
            assert [p.rows for p in processors(transformer)] == ["both"] * 3 + ["image"]
            assert sorted(norms) == [0, 1, 2, 3]
            attachment.branches = "text"
            assert [p.rows for p in processors(transformer)] == ["text"] * 3 + [None]

    def test_other_words_are_refused(self):
        with pytest.raises(ValueError, match="image, text, both; got 'images'"):
            inspect.unwrap(BlockBranches.__post_init__)(
                type("Any", (), {"double": "images", "single": "image"})
            )


class TestRecord:
    def test_norms_are_those_of_the_rows(self, transformer, prompt, run):
        with attach(transformer, prompt) as attachment:
            plain = run()
            with attachment.record() as single:
                assert torch.equal(run(), plain)
            attachment.set_prompt(prompt.with_scale(2.0))
            with attachment.record() as double:
                run()
        torch.testing.assert_close(double[0].cross, 2 * single[0].cross)
        torch.testing.assert_close(double[0].own, single[0].own)
        assert all(norms.cross > 0 and norms.own > 0 for norms in single.values())

    def test_it_stops(self, transformer, prompt, run):
        with attach(transformer, prompt) as attachment:
            with attachment.record() as norms:
                run()
            norms.clear()
            run()
            assert not norms


class TestWhatIsRefused:
    def test_attaching_twice(self, transformer, prompt, run):
        with attach(transformer, prompt):
            on = run()
            with pytest.raises(ValueError, match="attached to this transformer already"):
                attach(transformer, prompt)
            assert torch.equal(run(), on)

    def test_a_stock_ip_adapter(self, transformer, prompt):
        attention = transformer.transformer_blocks[0].attn
        stock = FluxIPAdapterAttnProcessor(hidden_size=32, cross_attention_dim=32)
        attention.set_processor(stock)
        with pytest.raises(ValueError, match="FluxIPAdapterAttnProcessor"):
            attach(transformer, prompt)
        assert attention.processor is stock
        assert type(processors(transformer)[1]) is FluxAttnProcessor

    @pytest.mark.parametrize(
        "config",
        [ContextParallelConfig(ulysses_degree=2), TensorParallelConfig()],
        ids=["context", "tensor"],
    )
    def test_a_transformer_shared_by_several_devices(self, transformer, prompt, run, config):
        kind = "context" if isinstance(config, ContextParallelConfig) else "tensor"
        parallel = ParallelConfig(**{f"{kind}_parallel_config": config})
        attachment = attach(transformer, prompt)
        # What `enable_parallelism` records; it needs the other devices to go further.
        transformer._parallel_config = parallel
        with pytest.raises(ValueError, match="tensor or context parallelism"):
            run()
        attachment.detach()
        with pytest.raises(ValueError, match="tensor or context parallelism"):
            attach(transformer, prompt)
        assert {type(p) for p in processors(transformer)} == {FluxAttnProcessor}
        del transformer._parallel_config
        attach(transformer, prompt).detach()

    @pytest.mark.parametrize(
        "change", [{"double_blocks": 1}, {"heads": 4, "head_dim": 8}, {"head_dim": 8}]
    )
    def test_an_adapter_for_another_base(self, transformer, adapter, change, run):
        config = DynaIPConfig(**(vars(adapter.config) | change))
        base = run()
        with pytest.raises(ValueError, match="This adapter is for a base of"):
            check_base(transformer, config)
        check_base(transformer, adapter.config)
        other = DynaIPAdapter(config).project(torch.zeros(1, 5, 20))
        with pytest.raises(ValueError, match="projected for a base of"):
            attach(transformer, other)
        assert {type(p) for p in processors(transformer)} == {FluxAttnProcessor}
        assert torch.equal(run(), base)
