"""Recipes of the miniature: what may stand in them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from dynaip.miniature.recipe import (
    load_recipe,
)


def test_recipes_are_found_by_name_or_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64px"):
        load_recipe("63px")
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = [")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_recipe(str(broken))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[loss]", "[los]", "Unknown in the recipe: los; choose from .*loss"),
        ("vae_pictures = 1000", "", "Missing in the recipe: vae_pictures"),
        ("vae_pictures = 1000", "vae_pictures = '1'", "vae_pictures in the recipe is a whole numb"),
        ("pool = 40960", "pool = 40960\nsplit = 'test'", "Unknown in the table pictures: split"),
        ("pool = 40960", "", "Missing in the table pictures: pool"),
        ("[0.8, 0.15, 0.05]", "['most']", "subjects in the table pictures is a list of numbers"),
        (
            "alignment = 0.5",
            "alignment = true",
            "alignment in the table loss is a number; got True",
        ),
        ("d_kv = 32", "depth = 32", "Unknown in the table text_encoder_2: depth; choose from"),
        (
            "num_layers = 3\nnum_single",
            "num_double",
            "Unknown in the table transformer: num_double",
        ),
        ("\nsample_size = 64", "", "Missing in the table vae: sample_size"),
        ("[train.guidance]", "[train.teacher]", "Unknown in the table train: teacher"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (resources.files("dynaip.miniature") / "recipes" / "64px.toml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))
