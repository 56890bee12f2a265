"""What a reference tells each branch, by the loss that is trained (Sections 4.1 and B.6).

An adapter learns to lower the error of the velocity that is predicted from a noisy picture. Here
that error is asked for on held-out pictures, beside one reference and another, on the same noise.
Neither a sampler nor a probe comes between, so it tells adapters apart long before their pictures
do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from transformers import CLIPVisionModel

from dynaip.adapter.config import BRANCHES
from dynaip.adapter.features import tap_features
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.generation import Use
from dynaip.evaluation.miniature import Trial
from dynaip.evaluation.statistics import Columns, cluster_bootstrap, compare, ratio
from dynaip.evaluation.truth.references import copy_source, with_concepts
from dynaip.hosts.flow import PromptEncoder, encode_pictures, flow_matching_error
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.miniature.toyland import Concept, Spec, caption, render, segment
from dynaip.pipeline.flux import PersonalPipeline

STREAM = 19
# Where subjects take shape; with less noise the picture shows them by itself.
SIGMAS = (0.6, 0.75, 0.9)
MEASURES = ("identity", "view", "elsewhere")
# What is shown: which prompts, and which references; see `Scene`.
SHOWN = {
    "another view": ("full", "another view"),
    "stranger": ("full", "stranger"),
    "another view, unsaid": ("bare", "another view"),
    "own view, unsaid": ("bare", "own view"),
}

# Of each token of each picture, the mean over `SIGMAS`.
Errors = Float[ndarray, "b n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """The trials' pictures under noise, and what is shown beside them.

    Attributes:
        latents: The pictures, packed.
        noise: For each of `SIGMAS`.
        prompts: As a transformer takes them: `full` ones name scene, light and posture, `bare` ones
            nothing but what the trials' call the subject.
        references: `another view` disagrees with the picture in scene, light and posture; `own
            view` is cut out of it; `stranger` is the other view with another trial's subject in it.
        subject: The share of each token that is the subject's.
        clusters: Who is in the picture.
    """

    latents: Float[Tensor, "b n k"]
    noise: Float[Tensor, "sigmas b n k"]
    prompts: Mapping[str, tuple[Float[Tensor, "b n_text d_text"], Float[Tensor, "b d_pooled"]]]
    references: Mapping[str, UInt8[Tensor, "b 3 h w"]]
    subject: Float[ndarray, "b n"]
    clusters: Shaped[ndarray, " b"]

    @classmethod
    def of(cls, laboratory: Laboratory) -> Scene:
        """What a laboratory's trials ask for."""
        trials = laboratory.trials
        targets = [trial.target for trial in trials]
        pictures = [render(target, laboratory.probe.config.size) for target in targets]
        latents = encode_pictures(
            laboratory.pipe.vae, stack_pictures([picture.image for picture in pictures])
        )
        tokens, width = latents.shape[1:]
        noise = [
            np.random.default_rng([STREAM, trial.seed]).standard_normal(
                (len(SIGMAS), tokens, width), dtype=np.float32
            )
            for trial in trials
        ]

        encode = PromptEncoder(laboratory.pipe)

        def cut(specs: Sequence[Spec]) -> UInt8[Tensor, "b 3 h w"]:
            size = laboratory.reference_size
            return stack_pictures([segment(spec, size=size) for spec in specs])

        return cls(
            latents=latents,
            noise=torch.from_numpy(np.stack(noise, axis=1)),
            prompts={
                "full": encode([trial.prompt for trial in trials]),
                "bare": encode([_bare(trial) for trial in trials]),
            },
            subject=np.stack([_shares(picture.masks.max(0), tokens) for picture in pictures]),
            references={
                "another view": cut([copy_source(trial) for trial in trials]),
                "own view": cut(targets),
                "stranger": cut(
                    [
                        with_concepts(copy_source(trial), [_stranger(trials, index)])
                        for index, trial in enumerate(trials)
                    ]
                ),
            },
            clusters=np.array([repr(target.actors[0].concept) for target in targets]),
        )


def _bare(trial: Trial) -> str:
    """A prompt that leaves the view open, and the category where the trial's does."""
    rng = np.random.default_rng([STREAM, trial.seed, 1])
    return caption(trial.target, rng, name=("category",) if trial.named else ())


def _shares(mask: Bool[ndarray, "y x"], tokens: int) -> Float[ndarray, " n"]:
    """What part of each token's square of pixels a mask covers."""
    side = round(tokens**0.5)
    step = len(mask) // side
    return mask.reshape(side, step, side, step).mean((1, 3)).ravel()


def _stranger(trials: Sequence[Trial], index: int) -> Concept:
    """The subject of the next trial that is about another thing."""
    subjects = [trial.target.actors[0].concept for trial in trials]
    following = (*subjects[index + 1 :], *subjects[:index])
    own = subjects[index].category
    return next((other for other in following if other.category != own), following[0])


def run(laboratory: Laboratory) -> Iterator[Row]:
    """What each adapter's references tell image rows, text rows and both; see `measures`."""
    scene = Scene.of(laboratory)
    base: dict[str, Errors] = {}
    method: dict[str, Columns] = {}
    for adapter in laboratory.adapters:
        with laboratory.attached(adapter) as (personal, put):

            def errors(
                prompts: str, references: str | None, personal: PersonalPipeline = personal
            ) -> Errors:
                return _errors(personal, scene, prompts, references, laboratory.batch_size)

            base = base or {prompts: errors(prompts, None) for prompts in scene.prompts}
            for branches in BRANCHES:
                personal.attachment.branches = branches
                shown = {name: errors(*each) for name, each in SHOWN.items()}
                found = measures(base, shown, scene.subject)
                method = method or found
                yield {
                    "name": branches,
                    "variant": adapter,
                    **put(Use(branches=branches)).identity,
                    "pictures": len(scene.clusters),
                    "sigmas": list(SIGMAS),
                    **_estimates(found, method, scene.clusters),
                }


def measures(
    base: Mapping[str, Errors], shown: Mapping[str, Errors], subject: Float[ndarray, "b n"]
) -> dict[str, Columns]:
    """Shares of the base's error, as columns of a `ratio`.

    The base is the yardstick only: an adapter also mends what no reference has to do with.

    Args:
        base: Errors without a reference, by prompts.
        shown: Errors beside what is in `SHOWN`.
        subject: The share of each token that is the subject's.

    Returns:
        By measure, a row per picture:

        - `identity`: how much less error another view of the subject leaves on it than a stranger
          in that view;
        - `view`: how much less its own view leaves than another one, of which the prompt says
          nothing;
        - `elsewhere`: as `identity`, around the subject.
    """
    known = shown["stranger"] - shown["another view"]
    posed = shown["another view, unsaid"] - shown["own view, unsaid"]
    less = {
        "identity": (known, base["full"], subject),
        "view": (posed, base["bare"], subject),
        "elsewhere": (known, base["full"], 1 - subject),
    }
    return {
        name: np.stack([(error * weight).sum(1), (whole * weight).sum(1)], axis=1)
        for name, (error, whole, weight) in less.items()
    }


def _estimates(
    found: Mapping[str, Columns], method: Mapping[str, Columns], clusters: Shaped[ndarray, " b"]
) -> Row:
    row: Row = {
        name: list(cluster_bootstrap(columns, clusters, ratio)) for name, columns in found.items()
    }
    if found is not method:
        tests = {
            name: compare(columns, method[name], clusters, ratio) for name, columns in found.items()
        }
        row["against_method"] = {
            name: {**test._asdict(), "difference": list(test.difference)}
            for name, test in tests.items()
        }
    return row


@torch.no_grad()
def _errors(
    personal: PersonalPipeline, scene: Scene, prompts: str, references: str | None, batch_size: int
) -> Errors:
    """The velocity's square error beside some references, or without."""
    pipe, adapter, parts = cast(FluxPipeline, personal.pipe), personal.adapter, []
    encoder = cast(CLIPVisionModel, pipe.image_encoder)
    tokens, pooled = scene.prompts[prompts]
    for start in range(0, len(scene.clusters), batch_size):
        part = slice(start, start + batch_size)
        if references is None:
            personal.attachment.set_prompt(None)
        else:
            hidden = encode_references(encoder, scene.references[references][part])
            features = tap_features(hidden, adapter.config.layers)
            personal.attachment.set_prompt(adapter.project(adapter.encode(features).tokens))
        latents = scene.latents[part]
        errors = [
            flow_matching_error(
                pipe.transformer,
                latents,
                noise[part],
                torch.full((len(latents),), sigma),
                (tokens[part], pooled[part]),
            )
            for sigma, noise in zip(SIGMAS, scene.noise, strict=True)
        ]
        parts.append(torch.stack(errors).mean(0).numpy().astype(np.float64))
    return np.concatenate(parts)
