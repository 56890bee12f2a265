"""Published weights on the command line: a file where an adapter's folder goes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
import tiny
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, SiglipVisionConfig, SiglipVisionModel

from dynaip.adapter import convention
from dynaip.apps.cli.web import _load
from dynaip.evaluation.benchmarks.results import Results
from dynaip.pipeline.provenance import file_sha256, read_settings


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny but for its heads, which are as wide as FLUX.1's: no published file says its own."""
    pipe = tiny.pipeline()
    torch.manual_seed(0)
    pipe.transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=convention.HEAD_DIM,
        num_attention_heads=1,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(16, 56, 56),
        guidance_embeds=True,
    )
    folder = tmp_path_factory.mktemp("models") / "wide"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """XLabs' kind of file; the encoder that its convention names is a folder here."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "projection_dim": published.EMBED}
    text = {"vocab_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 16, "patch_size": 4},
        text_config={**sizes, **text},
        projection_dim=published.EMBED,
    )
    CLIPModel(config).save_pretrained(tmp_path / "encoder")  # with its text tower, as published
    here = dataclasses.replace(convention.XLABS, encoder=str(tmp_path / "encoder"))
    monkeypatch.setattr(convention, "XLABS", here)
    monkeypatch.setattr(published, "INNER", convention.HEAD_DIM)
    save_file(published.xlabs(), tmp_path / "ip.safetensors")
    return tmp_path / "ip.safetensors"


@pytest.fixture
def instantx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """InstantX's kind of file, in the same way."""
    torch.manual_seed(3)
    sizes = {"hidden_size": published.EMBED, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 4}
    SiglipVisionModel(SiglipVisionConfig(**sizes)).save_pretrained(tmp_path / "siglip")
    here = dataclasses.replace(convention.INSTANTX, encoder=str(tmp_path / "siglip"))
    monkeypatch.setattr(convention, "INSTANTX", here)
    monkeypatch.setattr(published, "INNER", convention.HEAD_DIM)
    torch.save(published.instantx(), tmp_path / "ip-adapter.bin")
    return tmp_path / "ip-adapter.bin"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "rex.png")
    return tmp_path / "rex.png"


@pytest.fixture
def call(wide_model: Path, weights: Path) -> list[object]:
    """Everything but the reference and where it goes."""
    options = ["--steps", 2, "--seed", 1, "--prompt", "a red dog"]
    return ["generate", "--model", wide_model, "--adapter", weights, *options]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_picture_with_its_settings_and_again(
    cli: Any,
    call: list[object],
    wide_model: Path,
    weights: Path,
    reference: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = cli(*call, "--reference", reference, "--out", tmp_path / "a.png")
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path / 'a.png'}  seed 1\n"  # no table of levels
    assert "LOAD REPORT" not in caplog.text  # nor one of the text tower, which nobody needs
    settings = read_settings(tmp_path / "a.png")
    assert (settings.adapter, settings.adapter_sha256) == (weights.name, file_sha256(weights))
    assert settings.subjects[0].coefficients == (1,)
    assert settings.branches == "image"  # as in single blocks there are none
    off = cli(*call, "--reference", reference, "--scale", 0, "--out", tmp_path / "off.png")
    assert off.code == 0, off.err
    assert (pixels(tmp_path / "a.png") != pixels(tmp_path / "off.png")).any()
    again = ("run", tmp_path / "a.png", "--model", wide_model, "--out", tmp_path / "b.png")
    result = cli(*again, "--adapter", weights)
    assert result.code == 0, result.err
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    assert read_settings(tmp_path / "b.png") == settings
    save_file(published.xlabs(tokens=3), tmp_path / "other.safetensors")
    result = cli(*again, "--adapter", tmp_path / "other.safetensors")
    assert (result.code, "has other weights" in result.err) == (2, True)


def test_rows_are_the_publishers_unless_others_are_asked_for(
    cli: Any, wide_model: Path, instantx: Path, reference: Path, tmp_path: Path
) -> None:
    options = ("--model", wide_model, "--adapter", instantx)
    drawn = ("generate", *options, "--reference", reference, "--prompt", "a red dog", "--seed", 1)
    asked = {"a": (), "image": ("--branches", "image"), "both": ("--branches", "both")}
    for name, branches in asked.items():
        result = cli(*drawn, "--steps", 2, *branches, "--out", tmp_path / f"{name}.png")
        assert result.code == 0, result.err
    found = {name: read_settings(tmp_path / f"{name}.png").branches for name in asked}
    assert found == {"a": "published", "image": "image", "both": "both"}
    pictures = {name: pixels(tmp_path / f"{name}.png") for name in asked}
    assert (pictures["a"] != pictures["image"]).any()
    assert (pictures["a"] != pictures["both"]).any()
    result = cli("run", tmp_path / "a.png", *options, "--out", tmp_path / "b.png")
    assert result.code == 0, result.err
    np.testing.assert_array_equal(pictures["a"], pixels(tmp_path / "b.png"))
    assert read_settings(tmp_path / "b.png") == read_settings(tmp_path / "a.png")


def test_a_card_makes_what_its_picture_makes(
    cli: Any, call: list[object], wide_model: Path, weights: Path, reference: Path, tmp_path: Path
) -> None:
    card = tmp_path / "rex.safetensors"
    encode = ("encode", reference, "--model", wide_model, "--adapter", weights, "-o", card)
    result = cli(*encode)
    assert result.code == 0, result.err
    assert result.out == f"{card}  0.0 MB\n"
    made = json.loads(cli(*encode, "--json").out)
    assert (made["fused"], made["coefficients"]) == (True, [1])
    assert cli(*call, "--reference", reference, "--out", tmp_path / "a.png").code == 0
    shutil.rmtree(tmp_path / "encoder")  # a card needs none
    result = cli(*call, "--reference", card, "--out", tmp_path / "b.png")
    assert result.code == 0, result.err
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_what_it_cannot_do_is_one_sentence(
    cli: Any, call: list[object], model: Path, reference: Path
) -> None:
    results = [
        cli(*call, "--reference", reference, "--granularity", "1,0,0"),
        cli(*call, "--reference", reference, "--branches", "both"),
        cli(*call, "--reference", reference, "--model", model),
        cli(*call, "--reference", reference, "--adapter", model / "adapter" / "model.safetensors"),
    ]
    words = [
        "no levels whose granularity",
        "use branches 'image'",
        "1 heads of width 128",
        "is given as its folder",
    ]
    for result, said in zip(results, words, strict=True):
        assert (result.code, result.err.count("\n"), said in result.err) == (2, 1, True), result.err


def test_a_benchmark_is_answered(
    cli: Any, call: list[object], wide_model: Path, weights: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    small = ("--each", 3, "--pairs", 1, "--triples", 0, "--prompts", 1, "--size", 16)
    assert cli("bench", "toyland", "--out", manifest, *small).code == 0
    options = ("--model", wide_model, "--adapter", weights, "--steps", 1)
    result = cli("bench", "run", manifest, "--out", tmp_path / "answers", *options)
    assert result.code == 0, result.err
    (picture,) = (tmp_path / "answers" / "pictures").rglob("*.png")
    settings = read_settings(picture)
    assert settings.adapter_sha256 == file_sha256(weights)
    assert [subject.coefficients for subject in settings.subjects] == [(1,)] * 2


def test_a_benchmark_is_answered_on_the_publishers_rows(
    cli: Any, wide_model: Path, instantx: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    small = ("--each", 3, "--pairs", 1, "--triples", 0, "--prompts", 1, "--size", 16)
    assert cli("bench", "toyland", "--out", manifest, *small).code == 0
    options = ("--model", wide_model, "--adapter", instantx, "--steps", 2)
    asked = {"published": (), "image": ("--branches", "image")}
    made = {}
    for name, branches in asked.items():
        result = cli("bench", "run", manifest, "--out", tmp_path / name, *options, *branches)
        assert result.code == 0, result.err
        (picture,) = (tmp_path / name / "pictures").rglob("*.png")
        assert read_settings(picture).branches == name
        assert Results.open(tmp_path / name).method.settings["branches"] == name
        made[name] = pixels(picture)
    assert (made["published"] != made["image"]).any()


@pytest.mark.parametrize("option", [("--own-words",), ("--branches", "both")])
def test_rows_that_it_does_not_have_are_refused_before_anything_is_written(
    cli: Any, wide_model: Path, weights: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    small = ("--each", 3, "--pairs", 1, "--triples", 0, "--prompts", 1, "--size", 16)
    assert cli("bench", "toyland", "--out", manifest, *small).code == 0
    options = ("--out", tmp_path / "x", "--model", wide_model, "--adapter", weights)
    result = cli("bench", "run", manifest, *options, *option)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert "This adapter cannot draw with these" in result.err
    assert not (tmp_path / "x").exists()


def test_the_page_does_not_take_them(wide_model: Path, weights: Path) -> None:
    with pytest.raises(ValueError, match="The page is about low, mid, high"):
        _load(str(wide_model), str(weights), 1, "127.0.0.1", offload=False)
