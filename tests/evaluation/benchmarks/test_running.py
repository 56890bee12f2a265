"""Generation over a manifest, on real classes at tiny size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from dynaip.evaluation.benchmarks.dynaip_bench import BenchSettings, build_manifest
from dynaip.evaluation.benchmarks.manifest import Case, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.benchmarks.running import (
    FluxPainter,
    Way,
    cut_prompts,
    in_shard,
    paint_missing,
    unnamed,
)
from dynaip.evaluation.benchmarks.toyland import render_pools
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.provenance import Settings, read_settings
from dynaip.pipeline.subject import Subject

WAY = Way(model="tiny", steps=1, guidance=1.0)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("pools")
    pools = render_pools(folder, each=3, size=16)
    return build_manifest(pools, BenchSettings(pairs=4, triples=0, prompts=2, pictures=2))


@pytest.fixture(scope="module")
def personal() -> Iterator[PersonalPipeline]:
    with tiny.adapter().attach(tiny.pipeline()) as attached:
        yield attached


def results(manifest: Manifest, folder: Path) -> Results:
    return Results.create(folder, manifest, Method(name="test"))


def plain(case: Case, seed: int) -> tuple[Image.Image, Settings]:
    values = {"steps": 1, "guidance": 1.0, "width": 1, "height": 1, "branches": "image"}
    settings = Settings(prompt=case.prompt, seed=seed, model="none", **values)
    return Image.new("RGB", (1, 1), (seed, 0, 0)), settings


def test_only_what_is_missing_is_made(manifest: Manifest, tmp_path: Path) -> None:
    answers = results(manifest, tmp_path)
    assert paint_missing(answers, plain) == 16
    gone = answers.pictures()[5]
    gone.path.unlink()
    seen: list[str] = []
    assert paint_missing(answers, plain, on_picture=lambda w: seen.append(w.case.id)) == 1
    assert seen == [gone.case.id]
    settings = read_settings(gone.path)
    assert (settings.prompt, settings.seed) == (gone.case.prompt, gone.case.seeds[gone.picture])


def test_a_run_that_dies_loses_one_picture_at_most(manifest: Manifest, tmp_path: Path) -> None:
    answers = results(manifest, tmp_path)

    def dies(case: Case, seed: int) -> tuple[Image.Image, Settings]:
        if len(answers.pictures()) == 3:
            raise KeyboardInterrupt
        return plain(case, seed)

    with pytest.raises(KeyboardInterrupt):
        paint_missing(answers, dies)
    assert paint_missing(answers, plain) == 13
    assert not answers.missing()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_work_by_tuple(manifest: Manifest, tmp_path: Path, count: int) -> None:
    answers = results(manifest, tmp_path)
    parts = [in_shard(answers, (index, count)) for index in range(count)]
    assert sorted(w.path for part in parts for w in part) == sorted(
        wanted.path for wanted in answers.wanted()
    )
    owners: dict[object, set[int]] = {}
    for index, part in enumerate(parts):
        for wanted in part:
            owners.setdefault(wanted.case.subjects, set()).add(index)
    assert all(len(owner) == 1 for owner in owners.values())
    assert len({next(iter(owner)) for owner in owners.values()}) == min(count, 4)
    with pytest.raises(ValueError, match="0 <= i < n"):
        in_shard(answers, (count, count))


def test_a_case_is_drawn_as_the_pipeline_draws_it(
    manifest: Manifest, personal: PersonalPipeline
) -> None:
    painter = FluxPainter(personal, WAY)
    first, second = manifest.cases[0], manifest.cases[1]
    assert first.subjects == second.subjects
    for case in (first, second, manifest.cases[2], first):
        picture, settings = painter(case, 7)
        subjects = [Subject(s.references[0], mask=s.box) for s in case.subjects]
        assert np.array_equal(picture, draw(personal, case, subjects))
        assert [r.name for r in settings.subjects] == [s.references[0].name for s in case.subjects]
        assert settings.subjects[0].mask == "0,0.25,0.5,0.75"
        assert settings.adapter_sha256 is None


def test_boxes_scale_and_branches_are_the_way_s(
    manifest: Manifest, personal: PersonalPipeline
) -> None:
    case = manifest.cases[0]
    way = dataclasses.replace(WAY, boxes=False, scale=0.5, branches="both")
    picture, settings = FluxPainter(personal, way)(case, 7)
    subjects = [Subject(s.references[0], scale=0.5) for s in case.subjects]
    assert np.array_equal(picture, draw(personal, case, subjects, branches="both"))
    assert {record.mask for record in settings.subjects} == {None}
    assert not np.array_equal(picture, FluxPainter(personal, WAY)(case, 7)[0])


def test_image_guidance_is_the_way_s(
    manifest: Manifest, personal: PersonalPipeline, tmp_path: Path
) -> None:
    case, way = manifest.cases[0], dataclasses.replace(WAY, image_guidance=3.0)
    picture, settings = FluxPainter(personal, way)(case, 7)
    subjects = [Subject(s.references[0], mask=s.box) for s in case.subjects]
    assert np.array_equal(picture, draw(personal, case, subjects, image_guidance_scale=3.0))
    assert not np.array_equal(picture, draw(personal, case, subjects))
    assert settings.image_guidance == 3
    # Runs from before there was any are still the same method.
    tiny.adapter().save_pretrained(tmp_path)
    named = [dataclasses.replace(each, adapter=str(tmp_path)) for each in (way, WAY)]
    told = [each.method("ours", personal.adapter).settings.get("image_guidance") for each in named]
    assert told == [3, None]


def test_own_words_are_the_subjects_names(
    manifest: Manifest, personal: PersonalPipeline, tmp_path: Path
) -> None:
    way = dataclasses.replace(WAY, own_words=True)
    painter = FluxPainter(personal, way)
    names = [subject.name for subject in manifest.cases[0].subjects]
    prompts = (" and ".join(names), " or ".join(reversed(names)), names[0])
    named, other, half = (dataclasses.replace(manifest.cases[0], prompt=p) for p in prompts)
    for case in (named, other, named):
        picture, settings = painter(case, 7)
        subjects = [Subject(s.references[0], mask=s.box, phrase=s.name) for s in case.subjects]
        assert np.array_equal(picture, draw(personal, case, subjects, branches="both"))
        assert not np.array_equal(picture, FluxPainter(personal, WAY)(case, 7)[0])
        assert settings.branches == "both"
        assert [record.phrase for record in settings.subjects] == names
    # Where a prompt does not name everybody, it is as without.
    picture, settings = painter(half, 7)
    assert np.array_equal(picture, FluxPainter(personal, WAY)(half, 7)[0])
    assert (settings.branches, settings.subjects[0].phrase) == ("image", None)
    found = unnamed(tiny.pipeline(), [named, other, half])
    assert list(found) == [half.id]
    assert f"does not say {names[1]!r}" in found[half.id]
    # Runs from before there were any are still the same method.
    tiny.adapter().save_pretrained(tmp_path)
    methods = [
        dataclasses.replace(each, adapter=str(tmp_path)).method("ours", personal.adapter).settings
        for each in (way, WAY)
    ]
    assert [told.get("own_words") for told in methods] == [True, None]
    assert [told["branches"] for told in methods] == ["both", "image"]


def test_own_words_of_text_rows_alone(manifest: Manifest, personal: PersonalPipeline) -> None:
    names = [subject.name for subject in manifest.cases[0].subjects]
    case = dataclasses.replace(manifest.cases[0], prompt=" and ".join(names))
    way = dataclasses.replace(WAY, own_words=True, branches="text")
    picture, settings = FluxPainter(personal, way)(case, 7)
    subjects = [Subject(s.references[0], mask=s.box, phrase=s.name) for s in case.subjects]
    assert np.array_equal(picture, draw(personal, case, subjects, branches="text"))
    assert settings.branches == "text"
    blind = dataclasses.replace(way, branches="image")
    with pytest.raises(ValueError, match=r"these own words and branches: .* use 'both'"):
        FluxPainter(personal, blind)


def test_two_of_one_name_are_named_in_their_order(
    manifest: Manifest, personal: PersonalPipeline
) -> None:
    first, second = manifest.cases[0].subjects
    twins = (first, dataclasses.replace(second, name=first.name))
    said = f"{first.name} and {first.name}"
    case = dataclasses.replace(manifest.cases[0], subjects=twins, prompt=said)
    picture, _ = FluxPainter(personal, dataclasses.replace(WAY, own_words=True))(case, 7)
    subjects = [Subject(s.references[0], mask=s.box, phrase=s.name) for s in case.subjects]
    assert np.array_equal(picture, draw(personal, case, subjects, branches="both"))
    once = dataclasses.replace(case, prompt=first.name)
    assert "2 subjects share" in unnamed(tiny.pipeline(), [once])[case.id]


def test_a_tokenizer_that_does_not_tell_is_no_unnamed_case(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tiny.pipeline()
    monkeypatch.setattr(type(pipe.tokenizer_2), "is_fast", False)
    with pytest.raises(ValueError, match="load the pipeline with a fast tokenizer"):
        unnamed(pipe, manifest.cases)


def test_without_an_adapter_the_base_answers(manifest: Manifest) -> None:
    pipe = tiny.pipeline()
    picture, settings = FluxPainter(pipe, dataclasses.replace(WAY, size=16))(manifest.cases[0], 7)
    assert picture.size == (16, 16)
    assert settings.subjects == ()


@pytest.mark.parametrize("part", ["transformer", "text_encoder_2", "vae"])
def test_other_weights_of_any_part_are_another_method(tmp_path: Path, part: str) -> None:
    for name in ("transformer", "text_encoder_2", "vae"):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.zeros(1)}, tmp_path / name / "model.safetensors")
    way = dataclasses.replace(WAY, model=str(tmp_path))
    before = way.method("ours", None)
    assert way.method("ours", None) == before
    save_file({"weight": torch.ones(1)}, tmp_path / part / "model.safetensors")
    assert way.method("ours", None).weights != before.weights


def test_prompts_that_the_model_cannot_read_whole_are_found(manifest: Manifest) -> None:
    """This one reads 12 tokens, each a word or a mark, and the tokenizer adds no end."""
    words = ("dog " * 12, "dog " * 13)
    cases = [dataclasses.replace(manifest.cases[0], prompt=prompt) for prompt in words]
    assert cut_prompts(tiny.pipeline(), cases) == cases[1:]


def test_a_reference_that_cannot_be_used_names_its_case(
    manifest: Manifest, personal: PersonalPipeline, tmp_path: Path
) -> None:
    case = manifest.cases[0]
    lost = dataclasses.replace(case.subjects[0], references=(tmp_path / "lost.png",))
    broken = dataclasses.replace(case, subjects=(lost, case.subjects[1]))
    with pytest.raises(ValueError, match=f"Case {case.id}: There is no picture file"):
        FluxPainter(personal, WAY)(broken, 7)


def test_rendered_subjects_are_held_out_and_come_again(tmp_path: Path) -> None:
    first = render_pools(tmp_path / "a", each=2, size=16)
    again = render_pools(tmp_path / "b", each=2, size=16)
    for kind, subjects in first.items():
        for one, other in zip(subjects, again[kind], strict=True):
            assert one.truth == other.truth
            assert one.references[0].read_bytes() == other.references[0].read_bytes()
            assert one.truth is not None
            assert (one.truth["kind"], one.truth["category"]) == (kind, one.name)


def draw(
    personal: PersonalPipeline, case: Case, subjects: list[Subject], **settings: Any
) -> Image.Image:
    return personal(
        case.prompt,
        subjects=subjects,
        **{"branches": "image", **settings},
        num_inference_steps=1,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
