"""The whole recipe at tiny size: every stage, then the bundle in an unpatched FluxPipeline."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_recipes import as_toml, tiny_recipe
from typer.testing import CliRunner

from dynaip.adapter.model import DynaIPAdapter
from dynaip.apps.cli import app
from dynaip.bundle import shipped_adapters, shipped_intra, shipped_variants
from dynaip.hosts.flow import encode_pictures, pad_tokens, shift_sigma
from dynaip.miniature import toyland
from dynaip.miniature.base import BaseTask, GuidanceTask, subject_cover
from dynaip.miniature.encoders import EncoderTask, captioned, factors_in_words
from dynaip.miniature.recipe import (
    READS,
    STAGES,
    TOWERS,
    build_task,
    bundle,
    unbundle,
)
from dynaip.training.checkpoint import CheckpointError
from dynaip.training.config import TrainingConfig
from dynaip.training.loop import train
from dynaip.training.optimization import build_optimizers, trainable_parameters
from dynaip.training.task import Task

CONFIG = TrainingConfig(steps=1, batch_size=2, precision="no", workers=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of all stages, one step each."""
    folder = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        task = build_task(stage, tiny_recipe(), folder)
        assert isinstance(task, Task)
        train(task, CONFIG, folder / stage)
    return folder


def test_the_bundle_opens_in_flux_pipeline(runs: Path, tmp_path: Path) -> None:
    places = ("adapter", "intra", "variants/full", "variants/add")
    own, intra, full, add = (tmp_path / "trained" / place for place in places)
    for number, folder in enumerate((own, intra, full, add)):
        adapter = tiny.adapter()
        torch.nn.init.constant_(adapter.blocks[0].to_v.weight, number)
        adapter.save_pretrained(folder)
    variants = {"add": add, "full": full}
    bundle(tiny_recipe(), runs, tmp_path, adapter=own, variants=variants, intra=intra)
    for number, place in enumerate(places):
        shipped = DynaIPAdapter.from_pretrained(tmp_path / place)
        assert (shipped.blocks[0].to_v.weight == number).all(), place
    assert shipped_adapters(tmp_path) == {"full": tmp_path / "adapter"}
    assert shipped_intra(tmp_path) == tmp_path / "intra"
    found = shipped_variants(tmp_path)
    assert list(found) == ["full", "add"]
    assert found["add"] == tmp_path / "variants" / "add"
    lone = tmp_path / "lone" / "variants" / "add"
    lone.mkdir(parents=True)
    with pytest.raises(ValueError, match="no adapter `full`"):
        shipped_variants(tmp_path / "lone")
    pipe = FluxPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        "a red dog in the snow", height=32, width=32, num_inference_steps=2, max_sequence_length=16
    ).images
    assert images[0].size == (32, 32)
    weights = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert pipe.image_encoder is not None
    (weights,) = (tmp_path / "adapter").glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    # A bundle made anew keeps no adapter that was trained on another base.
    bundle(tiny_recipe(), runs, tmp_path, adapter=own)
    assert shipped_variants(tmp_path) == {}
    assert shipped_intra(tmp_path) is None
    wrong = {"../transformer": own}
    with pytest.raises(ValueError, match="plain name"):
        bundle(tiny_recipe(), runs, tmp_path / "other", variants=wrong)
    with pytest.raises(ValueError, match="no adapter folder nowhere"):
        bundle(tiny_recipe(), runs, tmp_path / "other", adapter=Path("nowhere"))
    assert not (tmp_path / "other").exists()
    assert shipped_adapters(tmp_path / "other") == {}


def test_the_bundle_loads_in_a_process_that_knows_nothing_of_it(runs: Path, tmp_path: Path) -> None:
    """Diffusers imports no class that a folder names; `load` imports ours."""
    bundle(tiny_recipe(), runs, tmp_path)
    code = f"import dynaip; print(type(dynaip.load({str(tmp_path)!r}).vae).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "PatchAutoencoder"


def test_training_goes_on_from_a_bundle(runs: Path, tmp_path: Path) -> None:
    bundle(tiny_recipe(), runs, tmp_path / "bundle")
    unbundle(tmp_path / "bundle", tmp_path / "runs")
    start = tmp_path / "bundle" / "transformer"
    task = build_task("base", tiny_recipe(), tmp_path / "runs", start)
    assert isinstance(task, BaseTask)
    stored = load_file(start / "diffusion_pytorch_model.safetensors")
    for name, tensor in task.transformer.state_dict().items():
        assert torch.equal(tensor, stored[name].float()), name
    assert build_task("guidance", tiny_recipe(), tmp_path / "runs")
    with pytest.raises(ValueError, match="already there"):
        unbundle(tmp_path / "bundle", tmp_path / "runs")
    (tmp_path / "other" / "guidance" / "export").mkdir(parents=True)
    with pytest.raises(ValueError, match="guidance/export is already there"):
        unbundle(tmp_path / "bundle", tmp_path / "other")
    with pytest.raises(ValueError, match="lacks image_encoder"):
        unbundle(tmp_path / "runs", tmp_path / "more")


def test_only_the_base_goes_on_from_other_weights_and_only_of_its_shape(runs: Path) -> None:
    start = runs / "base" / "export" / "transformer"
    with pytest.raises(ValueError, match="Only stage base"):
        build_task("guidance", tiny_recipe(), runs, start)
    wider = tiny_recipe()
    wider["transformer"]["num_attention_heads"] = 2
    with pytest.raises(ValueError, match="another shape"):
        build_task("base", wider, runs, start)


def test_a_stage_says_which_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--stage vae"):
        build_task("base", tiny_recipe(), tmp_path)
    with pytest.raises(ValueError, match=", ".join(STAGES)):
        build_task("adapter", tiny_recipe(), tmp_path)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_knows_all_stages_that_it_reads(
    runs: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    read: set[str] = set()

    def note(runs: Path, stage: str, name: str) -> Path:
        read.add(stage)
        return runs / stage / "export" / name

    monkeypatch.setattr("dynaip.miniature.recipe._export", note)
    build_task(stage, tiny_recipe(), runs)
    assert read == set(READS[stage])


def test_a_run_does_not_go_on_over_stages_trained_anew(runs: Path, tmp_path: Path) -> None:
    ours = tmp_path / "runs"
    shutil.copytree(runs, ours, ignore=shutil.ignore_patterns("cache", "checkpoints", "guidance"))
    path = tmp_path / "tiny.toml"
    path.write_text(as_toml({**tiny_recipe(), "train": {"guidance": dataclasses.asdict(CONFIG)}}))
    arguments = ["miniature", "train", "--stage", "guidance", "--recipe", str(path)]
    arguments += ["--runs", str(ours)]
    packed = ["miniature", "bundle", "--recipe", str(path), "--runs", str(ours)]
    packed += ["--target", str(tmp_path / "bundle"), "--intra", str(tmp_path / "after stage 1")]
    tiny.adapter().save_pretrained(tmp_path / "after stage 1")
    for _ in range(2):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    for stage, part in (("base", "transformer"), ("vae", "vae")):
        (weights,) = (ours / stage / "export" / part).glob("*.safetensors")
        before, tensors = weights.read_bytes(), load_file(weights)
        name = next(iter(tensors))
        save_file({**tensors, name: tensors[name] + 1}, weights, {"format": "pt"})
        with pytest.raises(CheckpointError, match=rf"another run: exports\.{stage} was [^;]*$"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
        # Nor does what it made go into a bundle with them.
        message = rf"Stage guidance was trained over another {stage} than .*train --stage guidance`"
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(app, packed, catch_exceptions=False)
        assert not (tmp_path / "bundle").exists()
        weights.write_bytes(before)
    assert CliRunner().invoke(app, packed).exit_code == 0
    assert shipped_intra(tmp_path / "bundle") == tmp_path / "bundle" / "intra"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("all", "Unknown in the table train.guidance: stepps"),
        ("bases", "--stage is vae, .* or all; got 'bas"),
    ],
)
def test_a_later_stages_settings_are_checked_before_the_first_one_is_trained(
    tmp_path: Path, stage: str, message: str
) -> None:
    settings = dataclasses.asdict(CONFIG)
    tables = {**dict.fromkeys(STAGES, settings), "guidance": {**settings, "stepps": 1}}
    path = tmp_path / "tiny.toml"
    path.write_text(as_toml({**tiny_recipe(), "train": tables}))
    arguments = ["miniature", "train", "--stage", stage, "--recipe", str(path)]
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(app, [*arguments, "--runs", str(tmp_path)], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": [0.5, 0.5]}, r"shares of one, two and three.* got \[0.5, 0.5\]"),
        ({"subjects": [0.5, 0.5, 0.5]}, "sum to 1"),
        ({"pool": 0}, "pool is a number of pictures, at least 1; got 0"),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(
    runs: Path, changes: dict[str, Any], message: str
) -> None:
    recipe = tiny_recipe()
    recipe["pictures"] |= changes
    with pytest.raises(ValueError, match=message):
        build_task("base", recipe, runs)


def test_an_untrained_base_predicts_nothing(runs: Path) -> None:
    """Modulation and output start at zero, so the first loss is the target's own square."""
    task = build_task("base", tiny_recipe(), runs)
    assert isinstance(task, BaseTask)
    dataset = task.dataset(0)
    batch = task.collate([dataset[index] for index in range(4)])
    latents = encode_pictures(task.vae, batch["images"])
    expected = (batch["noise"] - latents).square().mean()
    output = task(batch)
    assert output["velocity"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output["loss"].item() > output["velocity"].item()


def test_alignment_reaches_the_double_blocks_only(runs: Path) -> None:
    task = build_task("base", tiny_recipe(), runs)
    assert isinstance(task, BaseTask)
    named = dict(task.transformer.named_parameters())
    torch.nn.init.normal_(named["transformer_blocks.0.norm1.linear.weight"], std=0.1)
    task(task.collate([task.dataset(0)[index] for index in range(4)]))["aligned"].backward()
    gradient = named["transformer_blocks.0.attn.to_v.weight"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert named["single_transformer_blocks.0.attn.to_v.weight"].grad is None


def test_alignment_ends_after_its_samples(runs: Path) -> None:
    recipe = tiny_recipe()
    recipe["loss"] |= {"aligned_samples": 3, "subject_weight": 1.0}
    task = build_task("base", recipe, runs)
    assert isinstance(task, BaseTask)
    ends, late = (
        task(task.collate([task.dataset(0)[index] for index in range(first, first + 4)]))
        for first in (0, 3)
    )
    # Three of four samples are aligned: their mean is told, and counts three quarters.
    extra = ends["loss"] - ends["velocity"]
    assert extra.item() == pytest.approx(0.5 * 0.75 * (1 - ends["aligned"].item()), rel=1e-4)
    assert "aligned" not in late
    # After that the loss is, bit for bit, that of a base which never had the term.
    recipe["loss"] |= {"alignment": 0.0}
    never = build_task("base", recipe, runs)
    batch = never.collate([never.dataset(0)[index] for index in range(3, 7)])
    assert torch.equal(never(batch)["loss"], late["loss"])
    late["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.projector.parameters())


def test_tokens_of_subjects_count_for_more(runs: Path) -> None:
    recipe = tiny_recipe()
    recipe["loss"] |= {"alignment": 0.0, "subject_weight": 5.0}
    task = build_task("base", recipe, runs)
    assert isinstance(task, BaseTask)
    batch = task.collate([task.dataset(0)[index] for index in range(4)])
    # Untrained, the base predicts nothing: see above.
    error = (batch["noise"] - encode_pictures(task.vae, batch["images"])).square().mean(-1)
    inside = batch["subject"]
    assert 0.1 < inside.mean().item() < 0.9
    weighted = (error * (1 - inside)).sum() + 5 * (error * inside).sum()
    expected = weighted / ((1 - inside).sum() + 5 * inside.sum())
    output = task(batch)
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output["velocity"].item() == pytest.approx(error.mean().item(), rel=1e-5)


def test_more_noise_and_fuller_captions_are_asked_for(runs: Path) -> None:
    plain, recipe = tiny_recipe(), tiny_recipe()
    plain["loss"] |= {"alignment": 0.0, "logit_mean": 0.0}
    plain["pictures"] |= {"full_captions": 0.0}
    recipe["loss"] |= {"alignment": 0.0, "logit_mean": 0.7}
    recipe["pictures"] |= {"full_captions": 1.0}
    tasks = [build_task("base", each, runs) for each in (plain, recipe)]
    datasets = [task.dataset(0) for task in tasks]
    usual, full = (
        task.collate([dataset[index] for index in range(48)])
        for task, dataset in zip(tasks, datasets, strict=True)
    )
    lengths = [sum(len(prompt.split()) for prompt in batch["prompts"]) for batch in (usual, full)]
    assert lengths[1] > 1.1 * lengths[0]
    assert [not prompt for prompt in usual["prompts"]] == [not prompt for prompt in full["prompts"]]
    half = torch.tensor([0.5])
    logits = [shift_sigma(half, task.mu).logit().item() for task in tasks]
    assert logits[1] - logits[0] == pytest.approx(0.7, abs=1e-5)


def test_some_captions_are_full_and_a_share_is_a_share(runs: Path) -> None:
    def without_category(share: float) -> float:
        """Share of the captions that call a subject a toy, as no full one does."""
        recipe = tiny_recipe()
        recipe["pictures"] |= {"full_captions": share}
        task = build_task("base", recipe, runs)
        dataset = task.dataset(0)
        prompts = [dataset[index]["prompt"] for index in range(160)]
        named = [prompt.split() for prompt in prompts if prompt]
        assert 0.8 < len(named) / len(prompts) < 1
        return sum("toy" in words for words in named) / len(named)

    never, often, always = (without_category(share) for share in (0.0, 0.5, 1.0))
    assert always == 0 < 0.3 * never < often < 0.7 * never
    with pytest.raises(ValueError, match="from 0 to 1; got 60"):
        without_category(60)


def test_subjects_are_inside_what_counts_for_more() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        spec = toyland.sample_spec(rng, subjects=int(rng.integers(1, 4)))
        masks = toyland.render(spec, 64).masks.any(0)
        covered = subject_cover(spec, 8).reshape(8, 8).repeat(8, 0).repeat(8, 1)
        assert covered[masks].mean() > 0.85, spec
        assert covered[~masks].mean() < 0.6


def test_guidance_is_distilled_from_the_frozen_teacher(runs: Path) -> None:
    task = build_task("guidance", tiny_recipe(), runs)
    assert isinstance(task, GuidanceTask)
    torch.nn.init.normal_(task.transformer.proj_out.weight, std=0.1)
    task.teacher.load_state_dict(task.transformer.state_dict())
    batch = task.collate([task.dataset(0)[index] for index in range(4)])
    batch["prompts"] = [""] * 4
    batch["guidance"] = torch.full((4,), 0.9)
    # Without a prompt, guided and plain velocities are one; only the guidance embedding differs,
    # and with silent modulation it says nothing.
    assert task(batch)["loss"].item() == pytest.approx(0, abs=1e-7)
    batch["guidance"] = torch.zeros(4)
    assert task(batch)["loss"].item() > 0.1
    task(batch)["loss"].backward()
    assert all(p.grad is None for p in task.teacher.parameters())


def test_the_base_draws_its_sheet(runs: Path, tmp_path: Path) -> None:
    task = build_task("guidance", tiny_recipe(), runs)
    task.sample(tmp_path / "sheet.png")
    # Two pictures of each of eight prompts, twice as large.
    assert Image.open(tmp_path / "sheet.png").size == (8 * 64, 2 * 64)


def test_samples_repeat_the_pictures_with_new_noise(runs: Path) -> None:
    task = build_task("base", tiny_recipe(), runs)
    assert isinstance(task, BaseTask)
    dataset = task.dataset(0)
    first, again = dataset[1], dataset[1 + task.pool]
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["noise"], again["noise"])


def test_t5_says_which_word_a_token_is_from_the_start(tmp_path: Path) -> None:
    """What layers add must not drown the embeddings, however small the output layer begins."""
    task = build_task("encoder", tiny_recipe(), tmp_path)
    assert isinstance(task, EncoderTask)
    tokens = pad_tokens(task.tokenizer_2, ["a red dog", "a red cat"])
    first, second = task.t5.encoder(input_ids=tokens).last_hidden_state
    apart = 1 - torch.nn.functional.cosine_similarity(first, second, dim=-1)
    assert apart[2] > 0.5
    assert apart[1] < 0.2
    output, embeddings = task.t5.lm_head.weight, task.t5.shared.weight
    assert output.std().item() < 0.1 * embeddings.std().item()


def test_muon_takes_what_acts_on_tokens(tmp_path: Path) -> None:
    task = build_task("encoder", tiny_recipe(), tmp_path)
    assert isinstance(task, EncoderTask)
    parameters = trainable_parameters(task)
    _, muon = build_optimizers(parameters, dataclasses.replace(CONFIG, optimizer="muon"))
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, parameter in parameters.items() if id(parameter) in taken}
    assert "image_encoder.encoder.layers.1.mlp.fc1.weight" in names
    assert "t5.decoder.block.0.layer.1.EncDecAttention.v.weight" in names
    assert not {name for name in names if "embedding" in name or "relative" in name}
    assert not names & {"t5.shared.weight", "t5.lm_head.weight", "captioner.weight"}


def test_captions_of_pictures_teach_the_image_tower(runs: Path) -> None:
    task = build_task("encoder", tiny_recipe(), runs)
    assert isinstance(task, EncoderTask)
    task(task.collate([task.dataset(0)[index] for index in range(4)]))["captioning"].backward()
    layer = task.image_encoder.encoder.layers[0].mlp.fc1.weight.grad
    assert layer is not None
    assert layer.abs().sum() > 0
    assert all(p.grad is None for p in task.text_encoder.parameters())


def test_towers_that_went_on_alone_go_into_the_bundle(runs: Path, tmp_path: Path) -> None:
    bundle(tiny_recipe(), runs, tmp_path)
    for stage, part in TOWERS.items():
        shipped = load_file(tmp_path / part / "model.safetensors")
        trained = load_file(runs / stage / "export" / part / "model.safetensors")
        assert shipped.keys() == trained.keys()
        assert all(torch.equal(shipped[name], trained[name].bfloat16()) for name in trained)
        before = load_file(runs / "encoder" / "export" / part / "model.safetensors")
        assert any(not torch.equal(before[name], trained[name]) for name in trained)


def test_listed_factors_are_those_that_the_caption_can_say() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 3):
        for _ in range(50):
            spec = toyland.sample_spec(rng, subjects=count)
            caption, factors = captioned(spec, rng)
            for glyph in (actor.concept.glyph for actor in spec.actors):
                assert ("glyph" in factors) or not glyph or f" {glyph}" not in caption
    spec = toyland.sample_spec(np.random.default_rng(0))
    assert factors_in_words(spec, ["scene", "light_colour"]) == (
        f"scene {spec.scene}, light colour {spec.light.colour}"
    )
