"""`--offload`: the model's parts wait on the CPU; here a CPU is taken for the accelerator, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip.adapter.model import DynaIPAdapter
from dynaip.apps.cli.loading import load_adapter, load_model
from dynaip.apps.cli.web import _load
from dynaip.pipeline.flux import load
from dynaip.pipeline.subject import Subject

PROMPT = "a red dog"


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "rex.png")
    return tmp_path / "rex.png"


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Of each adapter that is attached, whether the model's parts and it are offloaded."""
    calls: list[tuple[bool, bool]] = []
    attach = DynaIPAdapter.attach

    def watched(self: DynaIPAdapter, pipe: Any, *, offload: bool = False) -> Any:
        calls.append((hasattr(pipe.transformer, "_hf_hook"), offload))
        return attach(self, pipe, offload=offload)

    monkeypatch.setattr(DynaIPAdapter, "attach", watched)
    return calls


@pytest.mark.usefixtures("accelerator")
def test_all_parts_are_offloaded(model: Path) -> None:
    pipe = load_model(str(model), offload=True)
    for part in (pipe.text_encoder, pipe.text_encoder_2, pipe.transformer, pipe.vae):
        assert part._hf_hook.execution_device == torch.device("cpu:0")
        assert part.dtype == torch.bfloat16


@pytest.mark.usefixtures("accelerator")
def test_the_picture_is_the_same(
    cli: Any, model: Path, reference: Path, tmp_path: Path, attached: list[tuple[bool, bool]]
) -> None:
    options = ("--model", model, "--steps", 2, "--seed", 1, "--offload")
    call = ("generate", "--prompt", PROMPT, "--reference", reference, *options)
    result = cli(*call, "--out", tmp_path / "a.png")
    assert result.code == 0, result.err
    assert attached == [(True, True)]
    pipe = load(model, dtype=torch.bfloat16, device="cpu")
    with load_adapter(str(model / "adapter")).to(pipe.dtype).attach(pipe) as personal:
        (wanted,) = personal(
            PROMPT,
            subjects=[Subject(reference)],
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(1),
            return_dict=False,
        )[0]
    with Image.open(tmp_path / "a.png") as made:
        assert made.tobytes() == wanted.tobytes()
    again = ("run", tmp_path / "a.png", "--model", model, "--offload", "--out", tmp_path / "b.png")
    assert cli(*again).code == 0
    assert attached[2:] == [(True, True)]


@pytest.mark.usefixtures("accelerator")
def test_benchmarks_and_the_page_take_it(
    cli: Any, model: Path, tmp_path: Path, attached: list[tuple[bool, bool]]
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    small = ("--each", 3, "--pairs", 1, "--triples", 0, "--prompts", 1, "--size", 16)
    assert cli("bench", "toyland", "--out", manifest, *small).code == 0
    options = ("--model", model, "--steps", 1, "--offload")
    result = cli("bench", "run", manifest, "--out", tmp_path / "answers", *options)
    assert result.code == 0, result.err
    server = _load(str(model), str(model / "adapter"), 1, "127.0.0.1", offload=True)
    assert attached == [(True, True)] * 2
    assert not server._studio.pencil.previews


def test_without_an_accelerator_it_is_refused(
    cli: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    result = cli("generate", "--prompt", PROMPT, "--model", model, "--offload", "--out", tmp_path)
    assert result.code == 2
    assert result.err == (
        "Error: --offload is for an accelerator, and there is none here; leave it out.\n"
    )
