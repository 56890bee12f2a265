"""Published weights give their publishers' results: their formulas, stated again, naively."""

import math

import published
import pytest
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from safetensors.torch import save_file

from dynaip.adapter.foreign import ForeignAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import attach
from dynaip.hosts.sites import BlockBranches, find_sites

TEXT, IMAGE = 5, 12
EMBEDS = published.embeds()


def attention(query, key, value):
    """Softmax attention of "b h n d"."""
    return torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), -1) @ value


class InstantXProcessor:
    """InstantX's attention processor: the base's, with `hidden_states + scale * ip` before to_out.

    `gate` weighs the rows of the addition; `None` is as published.
    """

    def __init__(self, weights, index, tokens, scale, gate=None):
        self.weights, self.index, self.tokens = weights, index, tokens
        self.scale, self.gate = scale, gate

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        image_rotary_emb=None,
    ):
        def heads(rows):
            return rows.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query, key = heads(attn.to_q(hidden_states)), heads(attn.to_k(hidden_states))
        query, key, value = attn.norm_q(query), attn.norm_k(key), heads(attn.to_v(hidden_states))
        ip_key = heads(self.tokens @ self.weights[f"{self.index}.to_k_ip.weight"].T)
        ip_key = ip_key * torch.rsqrt(ip_key.pow(2).mean(-1, keepdim=True) + 1e-5)
        ip_value = heads(self.tokens @ self.weights[f"{self.index}.to_v_ip.weight"].T)
        # In single blocks these queries are the text's too.
        ip = attention(query, ip_key, ip_value).transpose(1, 2).flatten(2) * self.scale
        if encoder_hidden_states is not None:
            text = [
                heads(project(encoder_hidden_states))
                for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            ]
            query = torch.cat([attn.norm_added_q(text[0]), query], 2)
            key = torch.cat([attn.norm_added_k(text[1]), key], 2)
            value = torch.cat([text[2], value], 2)
        query, key = (
            apply_rotary_emb(query, image_rotary_emb),
            apply_rotary_emb(key, image_rotary_emb),
        )
        rows = attention(query, key, value).transpose(1, 2).flatten(2)
        if self.gate is not None:
            ip = ip * self.gate[-ip.shape[1] :, None]
        if encoder_hidden_states is None:
            return rows + ip
        text_rows, image_rows = rows[:, :TEXT], rows[:, TEXT:]
        return attn.to_out[0](image_rows + ip), attn.to_add_out(text_rows)


def instantx_tokens(weights):
    hidden = F.gelu(EMBEDS @ weights["proj.0.weight"].T + weights["proj.0.bias"])
    tokens = (hidden @ weights["proj.2.weight"].T + weights["proj.2.bias"]).reshape(1, 3, 10)
    return F.layer_norm(tokens, (10,), weights["norm.weight"], weights["norm.bias"])


@pytest.fixture
def instantx(tmp_path):
    torch.save(published.instantx(), tmp_path / "ip-adapter.bin")
    return ForeignAdapter.from_file(tmp_path / "ip-adapter.bin", head_dim=published.HEAD_DIM)


def published_instantx(transformer, run, scale, gate=None):
    checkpoint = published.instantx()
    tokens = instantx_tokens(checkpoint["image_proj"]).expand(2, -1, -1)
    sites = find_sites(transformer)
    modules = [transformer.get_submodule(site.name) for site in sites]
    originals = [module.processor for module in modules]
    for site, module in zip(sites, modules, strict=True):
        weights = checkpoint["ip_adapter"]
        module.set_processor(InstantXProcessor(weights, site.index, tokens, scale, gate))
    output = run()
    for module, original in zip(modules, originals, strict=True):
        module.set_processor(original)
    return output


@torch.no_grad()
def test_instantx_is_the_published_formula(transformer, run, instantx):
    wanted = published_instantx(transformer, run, 0.7)
    prompt = instantx.project(instantx.encode(EMBEDS)).with_scale(0.7)
    base = run()
    with attach(transformer, prompt, branches=BlockBranches(**instantx.branches)) as attachment:
        torch.testing.assert_close(run(), wanted, atol=2e-5, rtol=1e-4)
        # The paper's decoupling on weights that people have: no text row of a single block attends.
        attachment.branches = "image"
        decoupled = run()
    assert (wanted - base).abs().max() > 1e-2
    assert (decoupled - wanted).abs().max() > 1e-3
    gate = torch.cat([torch.zeros(TEXT), torch.ones(IMAGE)])
    wanted = published_instantx(transformer, run, 0.7, gate)
    torch.testing.assert_close(decoupled, wanted, atol=2e-5, rtol=1e-4)
    assert torch.equal(run(), base)


@torch.no_grad()
def test_masks_and_subjects_work_on_instantx(transformer, run, instantx):
    mask = torch.rand(IMAGE, generator=torch.Generator().manual_seed(0))
    prompt = instantx.project(instantx.encode(EMBEDS))
    gate = torch.cat([torch.zeros(TEXT), mask])
    wanted = published_instantx(transformer, run, 1.0, gate)
    with attach(transformer, prompt.with_mask(mask[None])) as attachment:
        torch.testing.assert_close(run(), wanted, atol=2e-5, rtol=1e-4)
        # Two subjects, the same picture, sharing it: one subject everywhere.
        both = ImagePrompt.join([prompt, prompt]).with_mask(torch.stack([mask, 1 - mask]))
        attachment.set_prompt(both)
        everywhere = published_instantx_image_rows(transformer, run, attachment, prompt)
        torch.testing.assert_close(run(), everywhere, atol=2e-5, rtol=1e-4)


def published_instantx_image_rows(transformer, run, attachment, prompt):
    """One subject everywhere, then back to the prompt that was set."""
    before = attachment.prompt
    attachment.set_prompt(prompt)
    output = run()
    attachment.set_prompt(before)
    return output


def xlabs_case(tmp_path, inputs, tokens, token_dim):
    """A transformer that diffusers loaded the file into, the same without, and our reading."""
    save_file(published.xlabs(tokens=tokens, token_dim=token_dim), tmp_path / "ip.safetensors")
    transformers = []
    for _ in range(2):
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel(
            in_channels=8,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=token_dim,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        )
        transformers.append(transformer.eval().requires_grad_(False))
    parts = dict.fromkeys(
        ["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    )
    pipe = FluxPipeline(transformer=transformers[0], **parts)
    pipe.load_ip_adapter(
        str(tmp_path),
        weight_name="ip.safetensors",
        subfolder="",
        image_encoder_pretrained_model_name_or_path=None,
    )
    ours = ForeignAdapter.from_file(tmp_path / "ip.safetensors", head_dim=published.HEAD_DIM)
    text = torch.randn(2, TEXT, token_dim, generator=torch.Generator().manual_seed(4))
    return pipe, transformers[1], ours, {**inputs, "encoder_hidden_states": text}


@torch.no_grad()
@pytest.mark.parametrize(("tokens", "token_dim"), [(4, 32), (16, 4096)], ids=["v1", "v2"])
def test_xlabs_is_what_diffusers_makes_of_the_file(tmp_path, inputs, tokens, token_dim):
    pipe, transformer, ours, inputs = xlabs_case(tmp_path, inputs, tokens, token_dim)
    pipe.set_ip_adapter_scale([0.7, 0.3])
    embeds = {"ip_adapter_image_embeds": [EMBEDS.expand(2, -1)[:, None]]}
    wanted = pipe.transformer(**inputs, joint_attention_kwargs=embeds).sample
    base = transformer(**inputs).sample
    prompt = ours.project(ours.encode(EMBEDS)).with_scale(torch.tensor([[0.7, 0.3]]))
    with attach(transformer, prompt, branches=BlockBranches(**ours.branches)):
        found = transformer(**inputs).sample
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5)
    assert (wanted - base).abs().max() > 1e-2
    assert torch.equal(transformer(**inputs).sample, base)


@pytest.fixture
def xlabs(tmp_path):
    save_file(published.xlabs(), tmp_path / "ip.safetensors")
    adapter = ForeignAdapter.from_file(tmp_path / "ip.safetensors", head_dim=published.HEAD_DIM)
    return adapter.project(adapter.encode(EMBEDS))


@torch.no_grad()
def test_masks_and_subjects_work_on_xlabs(transformer, xlabs):
    """At the block: after the feed-forward, ungated, what a mask leaves out keeps its bits."""
    block = transformer.transformer_blocks[1]
    generator = torch.Generator().manual_seed(3)
    image, text = (torch.randn(1, n, 32, generator=generator) for n in (IMAGE, TEXT))
    temb = torch.randn(1, 32, generator=generator)
    angles = torch.randn(TEXT + IMAGE, 8, generator=generator).repeat_interleave(2, -1)

    def at(prompt):
        with attach(transformer, prompt):
            return block(
                image,
                text,
                temb,
                (angles.cos(), angles.sin()),
                {"image_prompt_text_length": TEXT},
            )

    mask = torch.rand(2, IMAGE, generator=generator)
    mask[:, :3] = 0
    two = ImagePrompt.join([xlabs, xlabs]).with_scale([0.5, 2.0]).with_mask(mask)
    (base_text, base), (_, full), (text_rows, found) = at(None), at(xlabs), at(two)
    query = block.norm1(image, emb=temb)[0]
    query = block.attn.norm_q(block.attn.to_q(query).unflatten(-1, (2, 16))).transpose(1, 2)
    cross = attention(query, xlabs.keys[1][:, 0], xlabs.values[1][:, 0])
    cross = cross.transpose(1, 2).flatten(2)
    torch.testing.assert_close(full - base, cross, atol=1e-5, rtol=1e-4)
    weight = 0.5 * mask[0] + 2.0 * mask[1]
    torch.testing.assert_close(found - base, cross * weight[:, None], atol=1e-5, rtol=1e-4)
    assert torch.equal(found[:, :3], base[:, :3])
    assert torch.equal(text_rows, base_text)


@torch.no_grad()
def test_xlabs_norms_are_recorded_in_double_blocks(transformer, run, xlabs):
    with attach(transformer, xlabs) as attachment, attachment.record() as norms:
        run()
    assert sorted(norms) == [0, 1]
    assert all(norm.cross > 0 and norm.own > 0 for norm in norms.values())


@pytest.mark.parametrize("branches", ["text", "both"])
def test_xlabs_has_no_text_rows(transformer, run, xlabs, branches):
    with pytest.raises(ValueError, match="use branches 'image'"):
        attach(transformer, xlabs, branches=branches)
    with attach(transformer, xlabs) as attachment:
        with pytest.raises(ValueError, match="use branches 'image'"):
            attachment.branches = branches
        assert attachment.branches.double == "image"
    with attach(transformer, branches=branches) as attachment:
        with pytest.raises(ValueError, match="use branches 'image'"):
            attachment.set_prompt(xlabs)
        assert attachment.prompt is None


def test_xlabs_gradients_survive_checkpointing(transformer, run, xlabs):
    """The recomputed block sees the conditioning of its first run."""
    values = tuple(value.clone().requires_grad_() for value in xlabs.values)
    prompt = ImagePrompt(
        keys=xlabs.keys, values=values, scale=xlabs.scale, insertion=xlabs.insertion
    )

    def gradients():
        with attach(transformer, prompt) as attachment:
            loss = run().square().sum()
            attachment.set_prompt(None)
            return torch.autograd.grad(loss, values)

    wanted = gradients()
    transformer.enable_gradient_checkpointing()
    for found, plain in zip(gradients(), wanted, strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(found, plain)


def test_weights_for_another_base_are_refused(transformer, tmp_path):
    save_file(published.xlabs(blocks=3), tmp_path / "ip.safetensors")
    adapter = ForeignAdapter.from_file(tmp_path / "ip.safetensors", head_dim=published.HEAD_DIM)
    with pytest.raises(ValueError, match="3 double blocks"):
        attach(transformer, adapter.project(adapter.encode(EMBEDS)))


@torch.no_grad()
@pytest.mark.parametrize("family", ["instantx", "xlabs"])
def test_they_come_and_go(transformer, run, family, request):
    """A start and an end work on published weights: of two steps only the second shows them."""
    weights = request.getfixturevalue(family)
    if family == "instantx":
        weights = weights.project(weights.encode(EMBEDS))
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(2)
    base = run()
    with attach(transformer, weights) as attachment:
        on = run()
        attachment.set_prompt(weights.with_window(0.5, 1))
        attachment.passes.follow(scheduler)
        attachment.passes.name = "cond"
        assert torch.equal(run(), base)
        scheduler.step(torch.zeros(1), scheduler.timesteps[0], torch.zeros(1))
        assert torch.equal(run(), on)
