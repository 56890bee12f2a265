"""What a recipe of the miniature may hold, table by table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPVisionConfig, T5Config

from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.recipes import check_keys, check_table


class Model(NamedTuple):
    """Whose keyword arguments a table holds.

    Attributes:
        kind: The class.
        needed: Those that may not be left out.
        further: Some that its signature does not name.
    """

    kind: Callable[..., Any]
    needed: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


MODELS = {
    "vae": Model(PatchAutoencoder, ("sample_size",)),
    "image_encoder": Model(CLIPVisionConfig, ("hidden_size",)),
    "text_encoder": Model(CLIPTextConfig, ("hidden_size",), ("vocabulary",)),
    "text_encoder_2": Model(T5Config, ("d_model",), ("tie_word_embeddings",)),
    "transformer": Model(FluxTransformer2DModel),
    "scheduler": Model(FlowMatchEulerDiscreteScheduler),
}


class _Pictures(TypedDict, total=False):
    size: int
    subjects: list[float]
    full_captions: float


class Pictures(_Pictures):
    """The table `pictures`; see `BaseTask`."""

    pool: int


class Loss(TypedDict, total=False):
    """The table `loss`; see `BaseTask`."""

    alignment: float
    aligned_samples: int
    subject_weight: float
    logit_mean: float


class Train(TypedDict, total=False):
    """The table `train`: a stage's settings of the training each."""

    vae: dict
    encoder: dict
    image_tower: dict
    text_tower: dict
    base: dict
    guidance: dict


class Recipe(TypedDict):
    """What a recipe holds."""

    max_sequence_length: int
    vae_pictures: int
    tokenizer_captions: int
    pictures: dict
    loss: dict
    vae: dict
    image_encoder: dict
    text_encoder: dict
    text_encoder_2: dict
    transformer: dict
    scheduler: dict
    train: dict


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raises a `ValueError` that names a key which is wrong or missing, and what is allowed.

    What models are told is checked by name alone.
    """
    check_table(Recipe, recipe, "the recipe")
    for name, table in (("pictures", Pictures), ("loss", Loss), ("train", Train)):
        check_table(table, recipe[name], f"the table {name}")
    for name, (kind, needed, further) in MODELS.items():
        allowed = {*inspect.signature(kind).parameters, *further}
        check_keys(recipe[name], allowed, needed, f"the table {name}")
