"""Subject cards: the same tokens as the picture, re-weighed, and refused where they do not fit."""

import published
import pytest
import tiny
import torch
from safetensors.torch import save_file

from dynaip.adapter import storage
from dynaip.adapter.card import SubjectCard, encode_card, fusion_sha256
from dynaip.adapter.foreign import ForeignAdapter

FEATURES = torch.randn(3, 2, 5, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def adapter():
    return tiny.adapter().requires_grad_(False)


@pytest.mark.parametrize("granularity", [None, (0.2, 0.3, 0.5)])
def test_a_card_gives_what_the_picture_gives(adapter, granularity, tmp_path):
    encode_card(adapter, FEATURES).save(tmp_path / "rex.safetensors")
    card = SubjectCard.load(tmp_path / "rex.safetensors")
    card.check(adapter)
    expected = adapter.encode(FEATURES, granularity)
    made = card.fuse(granularity)
    assert torch.equal(made.tokens, expected.tokens)
    torch.testing.assert_close(made.coefficients, expected.coefficients)


def test_without_the_class_token():
    adapter = tiny.adapter(class_token=False).requires_grad_(False)
    card = encode_card(adapter, FEATURES)
    assert torch.equal(card.fuse().tokens, adapter.encode(FEATURES).tokens)


def test_a_fused_card_is_smaller_and_final(adapter, tmp_path):
    card = encode_card(adapter, FEATURES, (1, 0, 0), fused=True)
    card.save(tmp_path / "rex.safetensors")
    loaded = SubjectCard.load(tmp_path / "rex.safetensors")
    assert loaded.fused
    assert loaded.tokens.numel() * 3 == encode_card(adapter, FEATURES).tokens.numel()
    assert torch.equal(loaded.fuse().tokens, adapter.encode(FEATURES, (1, 0, 0)).tokens)
    with pytest.raises(ValueError, match="granularity is fixed"):
        loaded.fuse((0, 1, 0))


def test_granularity_that_would_be_lost_is_refused(adapter):
    with pytest.raises(ValueError, match="leaves granularity open"):
        encode_card(adapter, FEATURES, (1, 0, 0))


def test_a_fusion_without_experts_makes_fused_cards_only():
    adapter = tiny.adapter(fusion="concat").requires_grad_(False)
    with pytest.raises(ValueError, match="no experts to weigh"):
        encode_card(adapter, FEATURES)
    card = encode_card(adapter, FEATURES, fused=True)
    assert torch.equal(card.fuse().tokens, adapter.encode(FEATURES).tokens)


def test_another_adapters_card_is_refused(adapter):
    card = encode_card(adapter, FEATURES)
    other = tiny.adapter()
    with torch.no_grad():
        other.fusion.experts[0][0].weight[0, 0] += 1
    with pytest.raises(ValueError, match="another adapter"):
        card.check(other)


def test_a_card_from_before_its_hash_had_a_name_of_its_own_is_read(adapter, tmp_path):
    path = tmp_path / "rex.safetensors"
    encode_card(adapter, FEATURES).save(path)
    tensors, metadata = storage.read(path)
    assert "adapter_sha256" not in metadata
    digest = metadata.pop("fusion_sha256")
    save_file(tensors, path, {**metadata, "adapter_sha256": digest})
    SubjectCard.load(path).check(adapter)


def test_precision_makes_no_other_adapter(adapter):
    full = fusion_sha256(adapter)
    assert fusion_sha256(adapter.bfloat16()) == full


def test_files_that_are_no_cards(adapter, tmp_path):
    path = tmp_path / "rex.safetensors"
    with pytest.raises(ValueError, match="no card at"):
        SubjectCard.load(path)
    save_file({"tokens": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no subject card"):
        SubjectCard.load(path)
    encode_card(adapter, FEATURES).save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated"):
        SubjectCard.load(path)
    metadata = {"format": "dynaip-card", "version": "1", "adapter_sha256": ""}
    save_file({"tokens": torch.zeros(2, 1, 5, 4), "coefficients": torch.ones(1, 3)}, path, metadata)
    with pytest.raises(ValueError, match="damaged card"):
        SubjectCard.load(path)


def test_published_weights_have_cards_too(tmp_path):
    save_file(published.xlabs(), tmp_path / "ip.safetensors")
    adapter = ForeignAdapter.from_file(tmp_path / "ip.safetensors", head_dim=published.HEAD_DIM)
    embeds = published.embeds()
    encode_card(adapter, embeds).save(tmp_path / "rex.safetensors")
    card = SubjectCard.load(tmp_path / "rex.safetensors")
    card.check(adapter)
    wanted, found = (
        adapter.project(tokens) for tokens in (adapter.encode(embeds), card.fuse().tokens)
    )
    assert all(torch.equal(a, b) for a, b in zip(wanted.keys, found.keys, strict=True))
    with pytest.raises(ValueError, match="granularity is fixed"):
        card.fuse((1, 0, 0))
    with pytest.raises(ValueError, match="another adapter"):
        card.check(tiny.adapter())
