"""`dynaip inspect` and `dynaip convert` on other people's weights; the arithmetic of `--base`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import published
import pytest
import torch
from safetensors.torch import save_file

from dynaip.apps.cli.inspect import describe


@pytest.fixture
def xlabs(tmp_path: Path) -> Path:
    save_file(published.xlabs(), tmp_path / "ip_adapter.safetensors")
    return tmp_path / "ip_adapter.safetensors"


@pytest.fixture
def instantx(tmp_path: Path) -> Path:
    torch.save(published.instantx(), tmp_path / "ip-adapter.bin")
    return tmp_path / "ip-adapter.bin"


def numbers(checkpoint: dict[str, Any]) -> int:
    return sum(
        numbers(value) if isinstance(value, dict) else value.numel()
        for value in checkpoint.values()
    )


def test_xlabs(xlabs: Path, cli: Any) -> None:
    facts = json.loads(cli("inspect", xlabs, "--json").out)
    assert facts["kind"] == "XLabs v1 image-prompt adapter"
    assert facts["base"] == "2 double blocks of width 32"
    assert facts["parameters"] == numbers(published.xlabs())
    assert facts["precision"] == "F32"
    convention = facts["convention"]
    assert (convention["insertion"], convention["gated"]) == ("post_ff", False)
    assert (convention["single_rows"], convention["bias"]) == (None, True)
    assert facts["memory"]["keys_and_values_per_subject"] == 2 * 2 * 4 * 32 * 2
    assert "file" not in facts


def test_instantx_is_offered_to_be_converted(instantx: Path, cli: Any) -> None:
    facts = json.loads(cli("inspect", instantx, "--json").out)
    assert facts["kind"] == "InstantX image-prompt adapter"
    assert facts["base"] == "4 double and single blocks of width 32"
    assert facts["parameters"] == numbers(published.instantx())
    assert facts["convention"]["single_rows"] == "both"
    assert "siglip" in facts["image_encoder"]
    assert "dynaip convert ip-adapter.bin" in facts["file"]


def test_the_base_of_true_sizes_is_named(tmp_path: Path) -> None:
    """Only the header is read, so it is enough to write one for a sparse file."""
    from dynaip.adapter.convention import XLABS, ForeignConfig

    sizes = {"embed_dim": 768, "hidden_dim": None, "tokens": 16, "token_dim": 4096}
    config = ForeignConfig(convention=XLABS, blocks=19, inner_dim=3072, bias=True, **sizes)
    header, end = {}, 0
    for name, shape in config.shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (tmp_path / "v2.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    facts = describe(tmp_path / "v2.safetensors")
    assert facts["kind"] == "XLabs v2 image-prompt adapter"
    assert facts["base"] == "FLUX.1 (19 double blocks of width 3072)"
    assert facts["bytes"] == pytest.approx(2 * 528.7e6, rel=1e-3)


def test_convert(instantx: Path, cli: Any) -> None:
    result = cli("convert", instantx)
    written = instantx.with_suffix(".safetensors")
    assert result.out.strip() == str(written)
    before, after = describe(instantx), describe(written)
    assert (before["kind"], before["parameters"]) == (after["kind"], after["parameters"])
    assert before["convention"] == after["convention"]
    again = cli("convert", instantx)
    assert (again.code, "is there already" in again.err) == (2, True)
    assert "does not end in .safetensors" in cli("convert", instantx, "-o", "other.bin").err


def test_only_pickles_are_converted(xlabs: Path, cli: Any) -> None:
    before = xlabs.read_bytes()
    assert "is no pickle of weights" in cli("convert", xlabs).err
    assert xlabs.read_bytes() == before


@pytest.mark.parametrize("verb", ["inspect", "convert"])
def test_a_pickle_that_is_not_plain_is_one_sentence(verb: str, tmp_path: Path, cli: Any) -> None:
    torch.save({"a": torch.ones(1), "b": Path("c")}, tmp_path / "bad.bin")
    result = cli(verb, tmp_path / "bad.bin")
    assert result.code == 2
    assert "pickle of plain tensors" in result.err
    assert result.err.count("\n") == 1


def test_plain_tensors_that_are_no_adapter(tmp_path: Path, cli: Any) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.bin")
    assert describe(tmp_path / "a.bin")["kind"] == "weights"
    assert "no image-prompt adapter" in cli("convert", tmp_path / "a.bin").err


def test_another_family_is_refused_by_name(tmp_path: Path, cli: Any) -> None:
    save_file({"ip_adapter.0.norm_ip_q.weight": torch.ones(1)}, tmp_path / "a.safetensors")
    assert "InstantCharacter" in cli("inspect", tmp_path / "a.safetensors").err


def test_a_base_as_arithmetic(cli: Any) -> None:
    facts = json.loads(cli("inspect", "--base", "FLUX.1-dev", "--subjects", "2", "--json").out)
    assert facts["parameters"]["adapter (K and V)"] == 1_434_451_968
    assert facts["adapter_parameters"] == 1_450_223_619
    assert facts["keys_and_values_bytes"] == 2 * 404_140_032
    assert set(facts["memory"]) == {"bf16", "8-bit", "4-bit"}
    shown = " ".join(cli("inspect", "--base", "FLUX.1-dev").out.split())
    assert "bf16 37.65 GB 34.15 GB" in shown
    assert "not a measurement" in shown


def test_a_base_and_a_path_are_one_too_many(xlabs: Path, cli: Any) -> None:
    assert "either" in cli("inspect").err
    assert "either" in cli("inspect", xlabs, "--base", "FLUX.1-dev").err
    assert "--subjects counts with --base" in cli("inspect", xlabs, "--subjects", 2).err
    assert "--base is one of" in cli("inspect", "--base", "FLUX.9").err


def test_inspecting_safetensors_loads_no_torch(xlabs: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from dynaip.apps.cli.inspect import describe
describe(Path({str(xlabs)!r}))
print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
