"""Recipes of adapters: what ships is whole, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tiny

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter
from dynaip.recipes import shipped_recipes
from dynaip.training.recipe import VARIANTS, build_task, load_recipe, stage_config, with_variant


def test_shipped_recipes_have_both_stages() -> None:
    assert shipped_recipes("dynaip.training") == ["flux1-dev", "miniature", "miniature-ablation"]
    for name in shipped_recipes("dynaip.training"):
        recipe = load_recipe(name)
        assert [recipe[f"stage{stage}"]["pairing"] for stage in (1, 2)] == ["intra", "cross"]
        assert stage_config(recipe, 1).seed != stage_config(recipe, 2).seed


def test_the_ablations_recipe_differs_from_the_miniatures_in_its_stages_alone() -> None:
    recipe, own = load_recipe("miniature-ablation"), load_recipe("miniature")
    assert {name for name in own if own[name] != recipe[name]} == {"stage1", "stage2"}
    for stage in (1, 2):
        short, whole = stage_config(recipe, stage), stage_config(own, stage)
        assert short.batch_size == whole.batch_size
        assert short.steps < whole.steps


def test_flux_recipe_is_the_papers() -> None:
    recipe = load_recipe("flux1-dev")
    first, second = stage_config(recipe, 1), stage_config(recipe, 2)
    assert (first.steps, second.steps) == (20_000, 80_000)
    for stage in (first, second):
        assert (stage.batch_size, stage.learning_rate, stage.weight_decay) == (16, 2e-5, 1e-4)
        assert stage.schedule == "cosine"
    assert DynaIPConfig(**recipe["adapter"]) == DynaIPConfig.flux_dev()
    assert recipe["gradient_checkpointing"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", "not valid TOML"),
        ("model = 'm'\nsizes = 1", "Unknown in the recipe: sizes"),
        ("model = 'm'", "Missing in the recipe: adapter, data, size"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))
    with pytest.raises(ValueError, match="flux1-dev, miniature"):
        load_recipe("flux2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 1024", "size = '1024'", "size in the recipe is a whole number; got '1024'"),
        (
            "gradient_checkpointing = true",
            "gradient_checkpointing = 'no'",
            "gradient_checkpointing in the recipe is true or false; got 'no'",
        ),
        (
            "[drops]",
            "[drop]",
            "Unknown in the recipe: drop; choose from adapter, data, drops, gradient_",
        ),
        (
            'pairing = "cross"',
            "",
            "pairing in the table stage2 is one of 'intra', 'cross'; got None",
        ),
        (
            'pairing = "intra"',
            'pairing = "in"',
            "pairing in the table stage1 is one of .* got 'in'",
        ),
        ("[drops]", "[[drops]]", "drops in the recipe is a table; got"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (resources.files("dynaip.training") / "recipes" / "flux1-dev.toml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))


def tiny_recipe(**changes: object) -> dict[str, Any]:
    adapter = {**dataclasses.asdict(tiny.config()), "layers": list(tiny.config().layers)}
    data = {"source": "toyland", "pool": 4}
    return load_recipe("miniature") | {"data": data, "adapter": adapter | changes}


def test_a_base_without_image_encoder_gets_the_adapters(tmp_path: Path) -> None:
    """As FLUX.1-dev."""
    tiny.image_encoder().save_pretrained(tmp_path)
    base = tiny.pipeline()
    base.image_encoder = None
    task = build_task(tiny_recipe(encoder=str(tmp_path)), 1, base)
    assert not any(p.requires_grad for p in task.image_encoder.parameters())
    assert task.dataset(0)[0]["reference"].shape == (16, 16, 3)
    base.image_encoder = None
    with pytest.raises(ValueError, match=r"image encoder .*nowhere cannot be loaded"):
        build_task(tiny_recipe(encoder=str(tmp_path / "nowhere")), 1, base)


def test_gradient_checkpointing_is_the_recipes_choice() -> None:
    for asked in (False, True):
        task = build_task(tiny_recipe() | {"gradient_checkpointing": asked}, 1, tiny.pipeline())
        assert task.transformer.gradient_checkpointing == asked


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("adapter", {"depth": 3}, "Unknown in the table adapter: depth"),
        ("adapter", {"branches": "imag"}, "branches in the table adapter is one of 'image'"),
        (
            "drops",
            {"texts": 0.1},
            "Unknown in the table drops: texts; choose from both, image, text",
        ),
        ("drops", {"text": "0.1"}, "text in the table drops is a number"),
    ],
)
def test_a_wrong_table_is_refused(table: str, values: dict[str, Any], message: str) -> None:
    recipe = tiny_recipe()
    recipe[table] = {**recipe[table], **values}
    with pytest.raises(ValueError, match=message):
        build_task(recipe, 1, tiny.pipeline())


def test_an_unknown_source_of_pairs_is_refused() -> None:
    recipe = tiny_recipe() | {"data": {"source": "cloud"}}
    with pytest.raises(ValueError, match="toyland or folder"):
        build_task(recipe, 1, tiny.pipeline())
    recipe["data"] = {"source": "toyland", "pool": 4, "captions": 1}
    with pytest.raises(
        ValueError, match="Unknown in the table data, of toyland: captions; choose from pool, view"
    ):
        build_task(recipe, 1, tiny.pipeline())
    recipe["data"] = {"source": "toyland", "pool": 4}
    task = build_task(recipe, 1, tiny.pipeline())
    assert task.adapter.config == tiny.config()
    assert task.logit_mean == recipe["logit_mean"] > 0
    assert task.dataset(0)[0]["image"].shape == (64, 64, 3)

    recipe["data"] = {"source": "toyland", "pool": "4"}
    with pytest.raises(
        ValueError, match="pool in the table data, of toyland is a whole number; got '4'"
    ):
        build_task(recipe, 1, tiny.pipeline())


@pytest.mark.parametrize(("size", "near"), [(66, 64), (3, 4), (-4, 4)])
def test_a_size_of_no_whole_number_of_tokens_is_refused(size: int, near: int) -> None:
    message = rf"size in the recipe is a multiple of 4, .*such as {near}; got {size}\."
    with pytest.raises(ValueError, match=message):
        build_task(tiny_recipe() | {"size": size}, 1, tiny.pipeline())


def test_a_start_of_another_kind_is_refused(tmp_path: Path) -> None:
    DynaIPAdapter(tiny.config()).save_pretrained(tmp_path)
    assert build_task(tiny_recipe(), 2, tiny.pipeline(), tmp_path).adapter.config == tiny.config()
    message = r"fusion is 'moe' there and 'add' in the recipe; query_rope is False there and True"
    with pytest.raises(ValueError, match=message):
        build_task(tiny_recipe(fusion="add", query_rope=True), 2, tiny.pipeline(), tmp_path)


def test_variants_change_what_they_are_named_for_and_nothing_else() -> None:
    recipe = load_recipe("miniature")
    assert with_variant(recipe, "full") == recipe
    for variant, changes in VARIANTS.items():
        if "layers" in changes:
            continue
        made = with_variant(recipe, variant)
        config = DynaIPConfig(**{**made["adapter"], "layers": (2, 4, 6)})
        assert all(getattr(config, name) == value for name, value in changes.items())
        assert {**made, "adapter": recipe["adapter"]} == recipe
    with pytest.raises(ValueError, match="full, add, concat"):
        with_variant(recipe, "most")


@pytest.mark.parametrize(
    ("variant", "fusion", "miniature", "flux"),
    [
        ("early", "moe", (1, 2, 3), (4, 8, 12)),
        ("late", "moe", (4, 5, 6), (16, 20, 24)),
        ("layer-4", "low", (1, 4, 6), (4, 17, 24)),
        ("layer-8", "low", None, (8, 17, 24)),
        ("layer-12", "low", (3, 4, 6), (12, 17, 24)),
        ("layer-15", "mid", None, (10, 15, 24)),
        ("layer-21", "mid", (2, 5, 6), (10, 21, 24)),
    ],
)
def test_layers_are_the_papers_at_every_depth(
    variant: str, fusion: str, miniature: tuple[int, ...] | None, flux: tuple[int, ...]
) -> None:
    for name, layers in (("miniature", miniature), ("flux1-dev", flux)):
        recipe = load_recipe(name)
        if layers is None:
            with pytest.raises(ValueError, match=f"as the recipe does.* own {fusion}; train that"):
                with_variant(recipe, variant)
            continue
        made = with_variant(recipe, variant)
        assert json.loads(json.dumps(made)) == made
        taps = made["adapter"].pop("layers")
        assert tuple(taps) == layers
        assert made["adapter"].pop("fusion", "moe") == fusion
        kept = {key: value for key, value in recipe["adapter"].items() if key != "layers"}
        assert made == {**recipe, "adapter": kept}


@pytest.mark.parametrize(
    ("own", "message"), [([1, 2, 3], r"would tap \[0, 1, 2\]"), ([3, 6], "recipe has 2")]
)
def test_layers_that_an_encoder_has_not_are_refused(own: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_variant({"adapter": {"layers": own}}, "early")


def test_seeds_of_both_stages_never_meet() -> None:
    recipe = load_recipe("miniature")
    seeds = [
        stage_config(with_variant(recipe, "add", seed), stage).seed
        for seed in range(3)
        for stage in (1, 2)
    ]
    assert sorted(seeds) == list(range(6))
    assert "seed" not in recipe["stage1"]
