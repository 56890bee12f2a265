"""What people use with a transformer goes on working: LoRA, compilation, caches, true guidance."""

import inspect
import logging

import jaxtyping
import peft
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
from diffusers.hooks import FirstBlockCacheConfig
from torch._dynamo.testing import CompileCounter

from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import attach

TEXT, IMAGE = 5, 12


class TestBesideDiffusers:
    def test_positional_arguments(self, transformer, prompt, inputs, run):
        order = list(inspect.signature(type(transformer).forward).parameters)[1:7]
        with attach(transformer, prompt):
            positional = transformer(*(inputs[name] for name in order)).sample
            assert torch.equal(positional, run())

    def test_joint_attention_kwargs_are_not_touched(self, transformer, prompt, run, caplog):
        theirs = {"ip_hidden_states": "theirs"}
        passed = []

        def watch(module, args, kwargs):
            passed.append(kwargs["joint_attention_kwargs"]["ip_hidden_states"])

        block = transformer.single_transformer_blocks[0]
        with attach(transformer, prompt), caplog.at_level(logging.WARNING):
            handle = block.register_forward_pre_hook(watch, with_kwargs=True)
            run(joint_attention_kwargs=theirs)
            handle.remove()
        assert theirs == {"ip_hidden_states": "theirs"}
        assert passed == ["theirs"]
        assert "will be ignored" not in caplog.text

    def test_fused_projections(self, transformer, prompt, run):
        with attach(transformer, prompt):
            plain = run()
            transformer.fuse_qkv_projections()
            torch.testing.assert_close(run(), plain, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize(
        ("masked", "grad"), [(True, False), (True, True), (False, False)], ids=str
    )
    def test_regional_compilation_never_compiles_again(
        self, transformer, run, subject, masked, grad, monkeypatch
    ):
        """Whatever the reference, the mask, and the way in which strength and time are given."""
        counter = CompileCounter()
        torch._dynamo.reset()
        # The shape checks of these tests are no part of what is compiled.
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        generator = torch.Generator().manual_seed(0)
        shares = (0.5, 0.2, 1.0, 0.0, 0.8)  # with no row at all it has to work, too
        scales = (None, 0.3, [0.2, 1.0], torch.rand(2, 4), torch.rand(1, 2, 1))
        prompts = []
        for seed, (share, scale) in enumerate(zip(shares, scales, strict=True)):
            prompt = ImagePrompt.join([subject(seed), subject(seed + 10)])
            if masked:
                mask = (torch.rand(2, IMAGE, generator=generator) < share) * 0.7
                prompt = prompt.with_mask(mask)
            prompts.append(prompt if scale is None else prompt.with_scale(scale))
        prompts.append(prompts[0].with_window(0.5, 1.0))
        if masked:
            covers = [tuple(prompt.cover.lengths.tolist()) for prompt in prompts]
            assert len(set(covers)) > 3, "the masks must differ in their number of rows"
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(2)
        with attach(transformer, prompts[0]) as attachment, torch.set_grad_enabled(grad):
            attachment.passes.follow(scheduler)
            attachment.passes.name = "cond"
            eager = run()
            transformer.compile_repeated_blocks(backend=counter, fullgraph=True)
            torch.testing.assert_close(run(), eager, atol=1e-5, rtol=1e-4)
            graphs = counter.frame_count
            assert graphs <= 4
            for prompt in prompts[1:]:
                attachment.set_prompt(prompt)
                run(hidden_states=torch.randn(2, IMAGE, 8), timestep=torch.rand(2))
            scheduler.step(torch.zeros(1), scheduler.timesteps[0], torch.zeros(1))
            run()
            assert counter.frame_count == graphs

    @torch.no_grad()
    def test_a_transformer_compiled_as_a_whole(self, transformer, prompt, inputs, monkeypatch):
        """Attached after it has run compiled, the adapter is not ignored, nor is a pass's name."""
        torch._dynamo.reset()
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        base = transformer(**inputs).sample
        with attach(transformer, prompt):
            on = transformer(**inputs).sample
        compiled = torch.compile(transformer, backend="eager")
        torch.testing.assert_close(compiled(**inputs).sample, base)
        with attach(compiled, prompt):
            torch.testing.assert_close(compiled(**inputs).sample, on)
            with compiled.cache_context("uncond"):
                torch.testing.assert_close(compiled(**inputs).sample, base)
        torch.testing.assert_close(compiled(**inputs).sample, base)

    def test_the_attention_backend_is_obeyed(self, transformer, prompt, run):
        with attach(transformer, prompt):
            for processor in transformer.attn_processors.values():
                processor._attention_backend = "no such backend"
            with pytest.raises(ValueError, match="no such backend"):
                run()

    def test_first_block_cache(self, transformer, prompt, inputs, run):
        """Its contexts pass through ours, and blocks that it skips stay skipped."""
        with attach(transformer, prompt):
            on = run()
        base = run()
        transformer.enable_cache(FirstBlockCacheConfig(threshold=1e-9))
        with attach(transformer, prompt):
            for name, wanted in (("cond", on), ("uncond", base), ("cond", on)):
                with transformer.cache_context(name):
                    torch.testing.assert_close(run(), wanted, atol=1e-6, rtol=1e-5)

    def test_lora(self, transformer, prompt, run):
        """Its scale still arrives, and our processors use its layers."""
        with attach(transformer, prompt):
            plain = run()
            layers = peft.LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
            transformer.add_adapter(layers)
            assert not torch.allclose(run(), plain)
            silent = run(joint_attention_kwargs={"scale": 0.0})
            torch.testing.assert_close(silent, plain)


class TestPasses:
    """True classifier-free guidance in a real `FluxPipeline`: one pass sees the reference."""

    @pytest.fixture
    def pipe(self, transformer):
        autoencoder = AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=2,
            norm_num_groups=2,
        )
        pipe = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(), autoencoder, None, None, None, None, transformer
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def make(self, pipe, **changes):
        def random(seed, *shape):
            return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

        arguments = {
            "prompt_embeds": random(0, 1, TEXT, 32),
            "pooled_prompt_embeds": random(1, 1, 32),
            "height": 16,
            "width": 16,
            "num_inference_steps": 2,
            "generator": torch.Generator().manual_seed(0),
            "output_type": "latent",
        }
        return pipe(**arguments | changes).images

    def negative(self):
        return {
            "negative_prompt_embeds": torch.zeros(1, TEXT, 32),
            "negative_pooled_prompt_embeds": torch.zeros(1, 32),
            "true_cfg_scale": 3.0,
        }

    def test_the_unconditional_pass_sees_no_reference(self, pipe, transformer, prompt):
        seen = []

        def watch(module, args, kwargs):
            unconditional = not kwargs["encoder_hidden_states"].any()
            joint = kwargs["joint_attention_kwargs"]
            seen.append((unconditional, "image_prompt_text_length" in joint))

        with attach(transformer, prompt):
            handle = transformer.register_forward_pre_hook(watch, with_kwargs=True)
            self.make(pipe, **self.negative())
            handle.remove()
        assert seen == [(False, True), (True, False)] * 2

    def test_guidance_is_between_reference_and_base(self, pipe, transformer, prompt):
        """After one step x = x0 - (negative + 3 (positive - negative)) with a plain negative."""
        settings = {"num_inference_steps": 1}
        start = self.make(pipe, **settings, latents=torch.zeros(1, 16, 8))
        empty = {
            "prompt_embeds": torch.zeros(1, TEXT, 32),
            "pooled_prompt_embeds": torch.zeros(1, 32),
        }
        latents = {"latents": torch.zeros(1, 16, 8)}
        base_negative = self.make(pipe, **settings, **empty, **latents)
        with attach(transformer, prompt):
            positive = self.make(pipe, **settings, **latents)
            guided = self.make(pipe, **settings, **self.negative(), **latents)
        wanted = base_negative + 3 * (positive - base_negative)
        torch.testing.assert_close(guided, wanted, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(positive, start)

    def test_the_pipeline_comes_back_as_it_was(self, pipe, transformer, prompt):
        before = self.make(pipe, **self.negative())
        with attach(transformer, prompt):
            assert not torch.equal(self.make(pipe, **self.negative()), before)
        assert torch.equal(self.make(pipe, **self.negative()), before)
