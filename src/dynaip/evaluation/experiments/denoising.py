"""What a reference tells each branch, by the loss that is trained (Sections 4.1 and B.6).

An adapter learns to lower the error of the velocity that is predicted from a noisy picture. Here
that error is asked for on held-out pictures, beside references that differ in one thing, on the
same noise. Neither a sampler nor a probe comes between, so it tells adapters apart long before
their pictures do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from transformers import CLIPVisionModel

from dynaip.adapter.config import BRANCHES, Branches
from dynaip.evaluation.ablation import ratio_differences
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.generation import Use
from dynaip.evaluation.miniature import Trial
from dynaip.evaluation.statistics import Columns, cluster_bootstrap, ratio
from dynaip.evaluation.truth.references import copy_source, with_concepts
from dynaip.hosts.flow import PromptEncoder, encode_pictures, flow_matching_error
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.miniature.toyland import Concept, Spec, caption, render, segment
from dynaip.pipeline.arguments import default_arguments
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import token_mask

STREAM = 19
# Where subjects take shape; with less noise the picture shows them by itself.
SIGMAS = (0.7, 0.85)
MEASURES = ("help", "category", "look", "view", "spill")

# Of each token of each picture, the mean over `SIGMAS`.
Errors = Float[ndarray, "b n"]
Tokens = Float[Tensor, "b m d"]
Text = tuple[Float[Tensor, "b n_text d_text"], Float[Tensor, "b d_pooled"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyTrials:
    """The trials' pictures under noise, and what may be shown beside them.

    Attributes:
        latents: The pictures, packed.
        noise: For each of `SIGMAS`.
        said: The trials' prompts, which name scene, light and posture.
        unsaid: Prompts of nothing but the word by which the trial's calls the subject.
        references: By what they show: the `subject`, its `twin`, which is the same thing with a
            stranger's looks, and the `stranger` itself, all in a view that disagrees with the
            picture; and the `posed twin`, in the picture's own view.
        inside: The share of each token that is the subject's.
        outside: Tokens that neither the subject touches nor the twin would in its place.
        clusters: Who is in the picture.
    """

    latents: Float[Tensor, "b n k"]
    noise: Float[Tensor, "sigmas b n k"]
    said: Text
    unsaid: Text
    references: Mapping[str, UInt8[Tensor, "b 3 h w"]]
    inside: Float[ndarray, "b n"]
    outside: Bool[ndarray, "b n"]
    clusters: Shaped[ndarray, " b"]

    @classmethod
    def of(cls, laboratory: Laboratory) -> NoisyTrials:
        """What a laboratory's trials ask for."""
        pipe, trials = laboratory.pipe, laboratory.trials
        size = laboratory.probe.config.size
        targets = [trial.target for trial in trials]
        sources = [copy_source(trial) for trial in trials]
        strangers = [_stranger(trials, index) for index in range(len(trials))]
        twins = [
            _twin(target.actors[0].concept, stranger)
            for target, stranger in zip(targets, strangers, strict=True)
        ]
        pictures = [render(target, size) for target in targets]
        latents = encode_pictures(pipe.vae, stack_pictures([each.image for each in pictures]))
        grid = (round(latents.shape[1] ** 0.5),) * 2
        touched = [
            render(_as(target, twin), size).masks[0] | picture.masks[0]
            for target, twin, picture in zip(targets, twins, pictures, strict=True)
        ]
        noise = [
            np.random.default_rng([STREAM, trial.seed]).standard_normal(
                (len(SIGMAS), *latents.shape[1:]), dtype=np.float32
            )
            for trial in trials
        ]
        # Texts as long as those that pictures are made with.
        encode = PromptEncoder(pipe, default_arguments(pipe)["max_sequence_length"])

        def cut(specs: Sequence[Spec], concepts: Sequence[Concept]) -> UInt8[Tensor, "b 3 h w"]:
            shown = (_as(spec, concept) for spec, concept in zip(specs, concepts, strict=True))
            side = laboratory.reference_size
            return stack_pictures([segment(spec, size=side) for spec in shown])

        return cls(
            latents=latents,
            noise=torch.from_numpy(np.stack(noise, axis=1)),
            said=encode([trial.prompt for trial in trials]),
            unsaid=encode([_unsaid(trial) for trial in trials]),
            references={
                "subject": cut(sources, [target.actors[0].concept for target in targets]),
                "twin": cut(sources, twins),
                "stranger": cut(sources, strangers),
                "posed twin": cut(targets, twins),
            },
            inside=np.stack([token_mask(picture.masks[0], grid) for picture in pictures]),
            outside=np.stack([token_mask(mask, grid) == 0 for mask in touched]),
            clusters=np.array([repr(target.actors[0].concept) for target in targets]),
        )


def _as(spec: Spec, concept: Concept) -> Spec:
    return with_concepts(spec, [concept])


def _stranger(trials: Sequence[Trial], index: int) -> Concept:
    """The subject of the next trial that is about another thing."""
    subjects = [trial.target.actors[0].concept for trial in trials]
    following = (*subjects[index + 1 :], *subjects[:index])
    own = subjects[index].category
    return next((other for other in following if other.category != own), following[0])


def _twin(subject: Concept, stranger: Concept) -> Concept:
    return dataclasses.replace(stranger, kind=subject.kind, category=subject.category)


def _unsaid(trial: Trial) -> str:
    rng = np.random.default_rng([STREAM, trial.seed, 1])
    return caption(trial.target, rng, name=("category",) if trial.named else ())


def run(laboratory: Laboratory, ways: Sequence[Branches] = BRANCHES) -> Iterator[Row]:
    """What each adapter's references tell, on the rows that it was trained on; see `measures`.

    Each is compared with the first adapter on the same rows.

    Args:
        laboratory: Its adapters are asked.
        ways: Branches that adapters trained on both are asked on, a row each; one that was trained
            on a single branch is asked on that one.
    """
    asked = NoisyTrials.of(laboratory)
    size = laboratory.batch_size
    pipe = laboratory.pipe
    base = {
        "said": _errors(pipe, asked, asked.said, size),
        "unsaid": _errors(pipe, asked, asked.unsaid, size),
    }
    first: dict[str, dict[str, Columns]] = {}
    for adapter in laboratory.adapters:
        with laboratory.attached(adapter) as (personal, put):
            tokens = _reference_tokens(personal, asked)
            trained = personal.adapter.config.train_branches
            for branches in ways if trained == "both" else (trained,):
                personal.attachment.branches = branches
                found = measures(base, _beside(personal, tokens, asked, size), asked)
                estimates = _estimates(found, first.get(branches), asked.clusters)
                first.setdefault(branches, found)
                identity = put(Use(branches=branches)).identity
                yield {
                    "name": branches,
                    "variant": adapter,
                    **{name: identity[name] for name in ("base", "adapter", "branches")},
                    "pictures": len(asked.clusters),
                    "sigmas": list(SIGMAS),
                    **estimates,
                }


def measures(
    base: Mapping[str, Errors], shown: Mapping[str, Errors], asked: NoisyTrials
) -> dict[str, Columns]:
    """Differences of two errors over the base's own, as columns of a `ratio`, by measure.

    `help`: how much less error the subject's reference leaves on it than the null image, which
    adapters are trained with, too. `category`: how much less the twin leaves than the stranger;
    they differ in what they are. `look`: how much less the subject leaves than the twin; they
    differ in colours, pattern, letter and mark. `view`: how much less the twin in the picture's own
    pose and light leaves than in others, where the prompt names neither; its looks are wrong in
    both. `spill`: the same around the subject.

    Args:
        base: Errors without a reference, with `said` and `unsaid` prompts.
        shown: Errors beside each of the references, `unsaid` where the prompts are.
        asked: The trials.
    """
    inside, outside = asked.inside, asked.outside.astype(float)
    posed = shown["unsaid twin"] - shown["unsaid posed twin"]
    less = {
        "help": (shown["null"] - shown["subject"], base["said"], inside),
        "category": (shown["stranger"] - shown["twin"], base["said"], inside),
        "look": (shown["twin"] - shown["subject"], base["said"], inside),
        "view": (posed, base["unsaid"], inside),
        "spill": (posed, base["unsaid"], outside),
    }
    return {
        name: np.stack([(error * weight).sum(1), (whole * weight).sum(1)], axis=1)
        for name, (error, whole, weight) in less.items()
    }


def _estimates(
    found: Mapping[str, Columns],
    first: Mapping[str, Columns] | None,
    clusters: Shaped[ndarray, " b"],
) -> Row:
    row: Row = {
        name: list(cluster_bootstrap(columns, clusters, ratio)) for name, columns in found.items()
    }
    if first is not None:
        row["against_method"] = ratio_differences(found, first, clusters)
    return row


@torch.no_grad()
def _reference_tokens(personal: PersonalPipeline, asked: NoisyTrials) -> dict[str, Tokens]:
    """What an adapter makes of each reference, and of the null image."""
    adapter = personal.adapter
    encoder = cast(CLIPVisionModel, cast(FluxPipeline, personal.pipe).image_encoder)
    hidden = {name: encode_references(encoder, each) for name, each in asked.references.items()}
    nobody = torch.ones(len(asked.clusters), dtype=torch.bool)
    return {
        **{name: adapter.encode(states).tokens for name, states in hidden.items()},
        "null": adapter.encode(hidden["subject"], drop=nobody).tokens,
    }


def _beside(
    personal: PersonalPipeline, tokens: Mapping[str, Tokens], asked: NoisyTrials, batch_size: int
) -> dict[str, Errors]:
    """Errors beside all references that `measures` asks for."""

    def errors(name: str, text: Text) -> Errors:
        def show(part: slice) -> None:
            personal.attachment.set_prompt(personal.adapter.project(tokens[name][part]))

        return _errors(cast(FluxPipeline, personal.pipe), asked, text, batch_size, show)

    said = {name: errors(name, asked.said) for name in ("null", "subject", "twin", "stranger")}
    unsaid = {f"unsaid {name}": errors(name, asked.unsaid) for name in ("twin", "posed twin")}
    return said | unsaid


@torch.no_grad()
def _errors(
    pipe: FluxPipeline,
    asked: NoisyTrials,
    text: Text,
    batch_size: int,
    show: Callable[[slice], None] = lambda part: None,
) -> Errors:
    """The velocity's square error, beside what `show` puts there for a part of the trials."""
    tokens, pooled = text
    parts = []
    for start in range(0, len(asked.clusters), batch_size):
        part = slice(start, start + batch_size)
        show(part)
        latents = asked.latents[part]
        errors = [
            flow_matching_error(
                pipe.transformer,
                latents,
                noise[part],
                torch.full((len(latents),), sigma),
                (tokens[part], pooled[part]),
            )
            for sigma, noise in zip(SIGMAS, asked.noise, strict=True)
        ]
        parts.append(torch.stack(errors).mean(0).numpy().astype(np.float64))
    return np.concatenate(parts)
