"""`dynaip inspect` tells what is there, and says when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image

from dynaip.apps.cli.inspect import describe
from dynaip.pipeline.provenance import Settings, save_picture


def test_an_adapter(model: Path, cli: Any) -> None:
    result = cli("inspect", model / "adapter", "--json")
    facts = json.loads(result.out)
    adapter = tiny.adapter()
    assert facts["kind"] == "adapter"
    assert facts["parameters"] == sum(p.numel() for p in adapter.parameters())
    assert facts["config"] == adapter.config.to_dict()


def test_a_model(model: Path) -> None:
    facts = describe(model)
    assert facts["kind"] == "model (FluxPipeline)"
    assert facts["adapters"] == "adapter"
    transformer = sum(p.numel() for p in tiny.pipeline().transformer.parameters())
    assert facts["parts"]["transformer"]["parameters"] == transformer
    assert facts["parameters"] == sum(p.get("parameters", 0) for p in facts["parts"].values())


def test_a_component_and_its_weights(model: Path) -> None:
    assert describe(model / "transformer")["kind"] == "FluxTransformer2DModel"
    assert describe(model / "text_encoder")["kind"] == "CLIPTextModel"
    facts = describe(model / "transformer" / "diffusion_pytorch_model.safetensors")
    assert (facts["kind"], facts["precision"]) == ("weights", "F32")


def test_a_picture(tmp_path: Path) -> None:
    settings = Settings(
        prompt="a dog",
        seed=1,
        steps=2,
        guidance=3.5,
        width=4,
        height=4,
        branches="image",
        model="tiny",
    )
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "a.png", settings)
    assert describe(tmp_path / "a.png")["prompt"] == "a dog"


def test_a_run_and_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "step-00000010"
    checkpoint.mkdir(parents=True)
    (tmp_path / "run.json").write_text('{"stage": "base"}')
    (checkpoint / "state.json").write_text('{"step": 10}')
    facts = describe(tmp_path)
    assert (facts["kind"], facts["checkpoints"]) == ("training run", "step-00000010")
    assert describe(checkpoint)["step"] == 10


def test_a_person_can_read_it(model: Path, cli: Any) -> None:
    result = cli("inspect", model)
    assert result.code == 0
    assert "FluxPipeline" in result.out


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_damaged_weights_are_said(model: Path, tmp_path: Path, keep: int, cli: Any) -> None:
    content = (model / "adapter" / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:keep])
    result = cli("inspect", tmp_path / "cut.safetensors")
    assert result.code == 2
    assert "cut short" in result.err


def test_nothing_known_is_said(tmp_path: Path, cli: Any) -> None:
    assert "nothing at" in cli("inspect", tmp_path / "nowhere").err
    assert "neither an adapter" in cli("inspect", tmp_path).err
    (tmp_path / "config.json").write_text("{")
    assert "damaged" in cli("inspect", tmp_path).err
