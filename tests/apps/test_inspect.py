"""`dynaip inspect` tells what is there, and says when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from dynaip.adapter.card import encode_card, fusion_sha256
from dynaip.apps.cli.inspect import describe
from dynaip.pipeline.provenance import Settings, SubjectRecord, save_picture


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


@pytest.mark.parametrize("fused", [False, True])
def test_a_card(tmp_path: Path, fused: bool, cli: Any) -> None:
    adapter = tiny.adapter().requires_grad_(False)
    card = encode_card(adapter, torch.randn(3, 2, 5, 24), fused=fused)
    card.save(tmp_path / "rex.safetensors")
    facts = json.loads(cli("inspect", tmp_path / "rex.safetensors", "--json").out)
    assert (facts["kind"], facts["fused"], facts["views"]) == ("subject card", fused, 2)
    assert facts["tokens"] == f"5 of width {adapter.config.token_dim}"
    assert facts["coefficients"] == pytest.approx(card.coefficients.mean(0).tolist(), abs=1e-4)
    assert facts["fusion_sha256"] == fusion_sha256(adapter)


def test_the_weights_of_an_adapter(model: Path) -> None:
    kind = describe(model / "adapter" / "model.safetensors")["kind"]
    assert kind == "weights of a DynaIP adapter; its folder says more"


def test_a_picture(tmp_path: Path, cli: Any) -> None:
    settings = Settings(
        prompt="a dog",
        seed=1,
        steps=2,
        guidance=3.5,
        width=4,
        height=4,
        branches="image",
        model="tiny",
        subjects=tuple(
            SubjectRecord(
                name=f"{name}.png",
                sha256=name * 64,
                scale=1.0,
                granularity=None,
                coefficients=(0.2, 0.3, 0.5),
            )
            for name in "ab"
        ),
    )
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "a.png", settings)
    assert describe(tmp_path / "a.png")["prompt"] == "a dog"
    shown = cli("inspect", tmp_path / "a.png").out
    for words in ("a.png", "a" * 64, "b.png", "b" * 64, "0.2, 0.3, 0.5"):
        assert words in shown


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
