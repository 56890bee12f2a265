"""Published checkpoints: recognised by their tensors, read safely, converted without loss."""

import pickle

import published
import pytest
import torch
from safetensors.torch import load_file, save_file

from dynaip.adapter.convention import INSTANTX, XLABS, recognise
from dynaip.adapter.foreign import ForeignAdapter, convert, read_tensors
from dynaip.adapter.prompt import ImagePrompt


@pytest.fixture
def instantx(tmp_path):
    torch.save(published.instantx(), tmp_path / "ip-adapter.bin")
    return tmp_path / "ip-adapter.bin"


@pytest.fixture
def xlabs(tmp_path):
    save_file(published.xlabs(), tmp_path / "ip_adapter.safetensors")
    return tmp_path / "ip_adapter.safetensors"


def read(path):
    return ForeignAdapter.from_file(path, head_dim=published.HEAD_DIM)


def true_shapes_of_instantx():
    """The published file's own list, written out."""
    shapes = {
        "image_proj.proj.0.weight": (2304, 1152),
        "image_proj.proj.0.bias": (2304,),
        "image_proj.proj.2.weight": (524288, 2304),
        "image_proj.proj.2.bias": (524288,),
        "image_proj.norm.weight": (4096,),
        "image_proj.norm.bias": (4096,),
    }
    for index in range(57):
        shapes[f"ip_adapter.{index}.to_k_ip.weight"] = (3072, 4096)
        shapes[f"ip_adapter.{index}.to_v_ip.weight"] = (3072, 4096)
    return shapes


def true_shapes_of_xlabs(tokens):
    shapes = {
        "ip_adapter_proj_model.proj.weight": (tokens * 4096, 768),
        "ip_adapter_proj_model.proj.bias": (tokens * 4096,),
        "ip_adapter_proj_model.norm.weight": (4096,),
        "ip_adapter_proj_model.norm.bias": (4096,),
    }
    for index in range(19):
        for kind in "kv":
            name = f"double_blocks.{index}.processor.ip_adapter_double_stream_{kind}_proj"
            shapes |= {f"{name}.weight": (3072, 4096), f"{name}.bias": (3072,)}
    return shapes


def test_instantx_is_recognised_at_its_true_size():
    config = recognise(true_shapes_of_instantx())
    assert (config.name, config.convention) == ("InstantX", INSTANTX)
    assert (config.tokens, config.embed_dim, config.blocks) == (128, 1152, 57)
    with torch.device("meta"):
        adapter = ForeignAdapter(config)
    assert sum(p.numel() for p in adapter.ip_adapter.parameters()) == 1_434_451_968
    assert sum(p.numel() for p in adapter.parameters()) == 1_434_451_968 + 1_211_148_544


@pytest.mark.parametrize(("tokens", "name"), [(4, "XLabs v1"), (16, "XLabs v2")])
def test_xlabs_is_recognised_at_its_true_size(tokens, name):
    config = recognise(true_shapes_of_xlabs(tokens))
    assert (config.name, config.convention) == (name, XLABS)
    assert (config.tokens, config.embed_dim, config.blocks) == (tokens, 768, 19)


def test_the_conventions():
    found = [
        (c.insertion, c.gated, c.double_rows, c.single_rows, c.key_norm_eps, c.query_rope)
        for c in (INSTANTX, XLABS)
    ]
    assert found == [
        ("pre_out", True, "image", "both", 1e-5, False),
        ("post_ff", False, "image", None, None, False),
    ]


def test_other_weights_are_not_taken_for_an_adapter():
    assert recognise({"transformer_blocks.0.attn.to_q.weight": (8, 8)}) is None


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"image_proj.x": (1,), "ip_adapter.0.norm_ip_q.weight": (128,)}, "InstantCharacter"),
        ({"image_proj.latents": (1, 4, 8)}, "resampler"),
        ({"image_proj.proj.weight": (8, 2), "ip_adapter.1.to_k_ip.weight": (4, 2)}, "another base"),
    ],
)
def test_other_families_are_refused_by_name(shapes, words):
    with pytest.raises(ValueError, match=words):
        recognise(shapes)


def test_missing_unknown_and_wrong_tensors_are_said():
    whole = true_shapes_of_instantx()
    short = {n: s for n, s in whole.items() if n != "ip_adapter.56.to_v_ip.weight"}
    with pytest.raises(ValueError, match=r"lacks ip_adapter\.56\.to_v_ip\.weight"):
        recognise(short)
    with pytest.raises(ValueError, match=r"has an unknown image_proj\.extra"):
        recognise(whole | {"image_proj.extra": (1,)})
    with pytest.raises(ValueError, match=r"ip_adapter\.3\.to_v_ip\.weight has the shape \(1, 2\)"):
        recognise(whole | {"ip_adapter.3.to_v_ip.weight": (1, 2)})


def test_a_pickle_and_its_conversion_give_the_same(instantx, tmp_path):
    convert(instantx, tmp_path / "converted.safetensors")
    first, second = (read(path) for path in (instantx, tmp_path / "converted.safetensors"))
    assert first.config == second.config
    written = load_file(tmp_path / "converted.safetensors")
    assert written.keys() == first.state_dict().keys()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
        assert torch.equal(tensor, written[name])


def test_a_pickle_is_measured_without_its_numbers(instantx):
    tensors = read_tensors(instantx, "meta")
    assert all(tensor.is_meta for tensor in tensors.values())
    assert tensors["ip_adapter.0.to_k_ip.weight"].shape == (published.INNER, 10)


class Evil:
    """Unpickling it would raise another error than ours."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


@pytest.mark.parametrize("content", [Evil(), {"a": torch.ones(1), "b": "text"}, [torch.ones(1)]])
def test_a_pickle_of_more_than_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "bad.bin")
    with pytest.raises(ValueError, match="plain tensors"):
        read(tmp_path / "bad.bin")


def test_a_plain_pickle_that_runs_code_is_refused(tmp_path):
    (tmp_path / "bad.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="plain tensors"):
        read(tmp_path / "bad.bin")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_damaged_files_are_said(instantx, xlabs, keep):
    for path in (instantx, xlabs):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match=r"damaged|truncated"):
            read(path)


def test_missing_and_unrelated_files_are_said(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read(tmp_path / "none.bin")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="no image-prompt adapter"):
        read(tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="nothing was written"):
        convert(tmp_path / "a.bin", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_embeds_of_another_encoder_are_refused(xlabs):
    with pytest.raises(ValueError, match=r"image_embeds of openai/clip-vit-large-patch14"):
        read(xlabs).encode(torch.ones(1, 7))


def test_another_head_width_is_refused(xlabs):
    with pytest.raises(ValueError, match="heads of 128"):
        ForeignAdapter.from_file(xlabs)


def test_families_do_not_mix_in_one_prompt(tmp_path):
    torch.save(published.instantx(blocks=2, tokens=4, token_dim=32), tmp_path / "i.bin")
    save_file(published.xlabs(), tmp_path / "x.safetensors")
    adapters = [read(tmp_path / name) for name in ("i.bin", "x.safetensors")]
    prompts = [adapter.project(adapter.encode(published.embeds())) for adapter in adapters]
    with pytest.raises(ValueError, match="convention"):
        ImagePrompt.join(prompts)
