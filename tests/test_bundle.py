"""The miniature that is shipped: complete, small, and what the README says it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors import safe_open

import dynaip
from dynaip.adapter.model import DynaIPAdapter
from dynaip.evaluation.factors import labels
from dynaip.evaluation.generation import hash_base, hash_weights
from dynaip.evaluation.probe import Probe
from dynaip.miniature import toyland
from dynaip.pipeline.subject import Subject

BUNDLE = Path(__file__).parents[1] / "models" / "miniature"
PARTS = ("transformer", "text_encoder", "text_encoder_2", "image_encoder", "adapter", "intra")


def test_it_is_small_and_of_sixteen_bits() -> None:
    sizes = [path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()]
    assert sum(sizes) <= 64e6
    for part in PARTS:
        (weights,) = (BUNDLE / part).glob("*.safetensors")
        with safe_open(weights, "pt") as file:
            dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert dtypes <= {"BF16", "F16"}, part
    assert "## Figures" in (BUNDLE / "README.md").read_text()


def test_rows_of_the_evidence_are_about_what_is_shipped() -> None:
    """But for adapters that were trained for a comparison, which are not."""
    probes = BUNDLE.parent / "probes"
    base = {hash_base(BUNDLE)}
    adapters = {hash_weights(BUNDLE / name) for name in ("adapter", "intra")}
    read_by = {hash_weights(probes / "first")}
    evidence = sorted((BUNDLE.parents[1] / "docs" / "evidence").glob("*.jsonl"))
    assert evidence
    for file in (*evidence, BUNDLE / "figures.jsonl"):
        for row in map(json.loads, file.read_text().splitlines()):
            told = (row.get("base"), row.get("probe"), row.get("adapter"))
            for one, known in zip(told, (base, read_by, adapters), strict=True):
                other = file.stem in ("ablation", "seeds") and known is adapters
                assert one is None or one in known or other, (file.name, row["name"])


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    loaded = dynaip.load(BUNDLE)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_scenes_are_what_the_prompt_says(pipe: FluxPipeline) -> None:
    """Not a figure, only a sign of life: a picture is nearest to the renders of its own scene."""
    scenes = {"snow": "in the snow", "jungle": "in the jungle", "beach": "on the beach"}
    renders = {
        scene: np.mean([_render(scene, seed) for seed in range(24)], axis=0) for scene in scenes
    }
    for scene, words in scenes.items():
        pictures = pipe(
            f"a red dog {words}",
            height=64,
            width=64,
            num_inference_steps=10,
            num_images_per_prompt=6,
            max_sequence_length=40,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
        mean = np.mean(pictures, axis=0)
        distances = {name: np.square(mean - other).mean() for name, other in renders.items()}
        assert min(distances, key=lambda name: distances[name]) == scene


def _render(scene: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    while (spec := toyland.sample_spec(rng)).scene != scene:
        pass
    return toyland.render(spec, 64).image / 255


def test_the_probe_reads_what_its_page_says_it_reads_well() -> None:
    probe = Probe.from_pretrained(BUNDLE.parent / "probes" / "first")
    specs = [toyland.sample_spec(np.random.default_rng([5, i]), split="test") for i in range(64)]
    answers = probe.read(np.stack([toyland.render(spec, 64).image for spec in specs]))
    truths = labels(specs, probe.config.values)
    for factor in ("scene", "light", "posture", "position", "style"):
        assert np.mean(answers[factor] == truths[factor]) > 0.9, factor


def test_references_are_used(pipe: FluxPipeline) -> None:
    """The same prompt and seed: a red subject makes a redder picture than a blue one."""
    adapter = DynaIPAdapter.from_pretrained(BUNDLE / "adapter", dtype=torch.float32)
    redness = {}
    with adapter.attach(pipe) as personal:
        for colour in ("red", "blue"):
            pictures = personal(
                ["a toy in the middle, in a room"] * 8,
                subjects=[Subject(_reference(colour))],
                num_inference_steps=10,
                generator=torch.Generator().manual_seed(0),
                output_type="np",
            ).images
            redness[colour] = float((pictures[..., 0] - pictures[..., 2]).mean())
    assert redness["red"] > redness["blue"] + 0.01


def _reference(colour: str) -> Image.Image:
    rng = np.random.default_rng(1)
    while True:
        concept = toyland.sample_concept(rng, kinds=("object",))
        if (concept.main_colour, concept.pattern) == (colour, "plain"):
            spec = toyland.sample_spec(rng, concepts=[concept])
            return Image.fromarray(toyland.segment(spec, 0, 64))
