"""Files: what is written comes back; what was changed is found; a failed write loses nothing."""

import json
import os
import stat
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dynaip.adapter import storage
from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter


@pytest.fixture
def folder(adapter, tmp_path):
    adapter.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def rewrite(folder, change):
    """Saves changed tensors under a right checksum, as another writer would."""
    path = folder / storage.WEIGHTS
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, metadata={storage.DIGEST: storage.digest(tensors)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(adapter, features, tmp_path, dtype):
    adapter.to(dtype).save_pretrained(tmp_path)
    loaded = DynaIPAdapter.from_pretrained(tmp_path)
    assert loaded.config == adapter.config
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    features = features.to(dtype)
    assert torch.equal(loaded.encode(features).tokens, adapter.encode(features).tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_precision_can_be_chosen(folder):
    loaded = DynaIPAdapter.from_pretrained(folder, dtype=torch.float16)
    assert {p.dtype for p in loaded.parameters()} == {torch.float16}


def test_missing_files(folder, tmp_path):
    (folder / storage.WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        DynaIPAdapter.from_pretrained(folder)
    (folder / storage.CONFIG).unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        DynaIPAdapter.from_pretrained(folder)
    with pytest.raises(ValueError, match="There is no adapter folder"):
        DynaIPAdapter.from_pretrained(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(folder):
    with pytest.raises(ValueError, match="is a file; give the adapter's folder"):
        DynaIPAdapter.from_pretrained(folder / storage.CONFIG)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated(folder, kept):
    path = folder / storage.WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        DynaIPAdapter.from_pretrained(folder)


def test_every_kind_of_flipped_bit(folder):
    """In the header's length, in its text, in the first, a middle and the last weight."""
    path = folder / storage.WEIGHTS
    whole = path.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    start = 8 + header
    for place in (1, 9, 40, 8 + header // 2, start, (start + len(whole)) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[place] ^= 1
        path.write_bytes(bytes(broken))
        with pytest.raises(ValueError, match=r"copy it again|lacks|does not know|asks for"):
            DynaIPAdapter.from_pretrained(folder)


def test_not_finite(folder, adapter):
    rewrite(folder, lambda tensors: tensors["blocks.1.to_v.weight"].view(-1)[3:4].fill_(torch.nan))
    with pytest.raises(ValueError, match=r"blocks\.1\.to_v\.weight holds values that are not"):
        DynaIPAdapter.from_pretrained(folder)


def test_a_broken_adapter_is_not_saved_over_a_good_one(folder, adapter):
    before = (folder / storage.WEIGHTS).read_bytes()
    with torch.no_grad():
        adapter.blocks[0].to_k.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        adapter.save_pretrained(folder)
    assert (folder / storage.WEIGHTS).read_bytes() == before


def test_weights_of_another_adapter(folder):
    rewrite(folder, lambda tensors: tensors.pop("blocks.1.to_v.weight"))
    with pytest.raises(ValueError, match=r"lacks blocks\.1\.to_v\.weight"):
        DynaIPAdapter.from_pretrained(folder)
    rewrite(folder, lambda tensors: tensors.update({"blocks.1.to_v.weight": torch.ones(2, 2)}))
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        DynaIPAdapter.from_pretrained(folder)
    rewrite(folder, lambda tensors: tensors.update({"extra": torch.ones(1)}))
    with pytest.raises(ValueError, match="holds extra"):
        DynaIPAdapter.from_pretrained(folder)


def test_a_config_of_another_shape(folder):
    path = folder / storage.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"token_dim": 24}))
    with pytest.raises(ValueError, match=r"config\.json asks for"):
        DynaIPAdapter.from_pretrained(folder)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not text"):
        DynaIPAdapter.from_pretrained(folder)


def test_a_failed_write_leaves_the_old_files(folder, adapter, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full_disk)
    with torch.no_grad():
        adapter.blocks[0].to_k.weight.zero_()
    with pytest.raises(OSError, match="No space left"):
        adapter.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_config_of_flux_loads_as_written(tmp_path):
    (tmp_path / storage.CONFIG).write_text(DynaIPConfig.flux_dev().to_json())
    assert storage.load_config(tmp_path) == DynaIPConfig.flux_dev()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_is_the_umask_s_to_say(adapter, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        adapter.save_pretrained(tmp_path)
        storage.replace(tmp_path / "key", lambda path: path.write_text("secret"), mode=0o600)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {storage.CONFIG: mode, storage.WEIGHTS: mode, "key": 0o600}
