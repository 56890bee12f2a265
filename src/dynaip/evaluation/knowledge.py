"""What the frozen encoders know: a linear probe on the features of pictures and of prompts.

A base cannot draw what its text encoders do not tell it, and an adapter cannot carry what the image
encoder does not see. Neither shows in a loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import Float, Int, UInt8
from transformers import CLIPVisionModel

from dynaip.evaluation.factors import (
    CONCEPT_FACTORS,
    UNANSWERABLE,
    asked,
    blind_guess,
    labels,
    probed_values,
)
from dynaip.evaluation.figures import Figure
from dynaip.evaluation.miniature import BASE_PROMPTED, base_trials
from dynaip.hosts.flow import PromptEncoder
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.miniature.toyland import Spec, caption, sample_spec, segment

ENCODERS = ("T5's tokens", "CLIP's pooled vector", "image encoder")
STREAM = 13
READ = (*CONCEPT_FACTORS, "facing", "posture", "light")
# Pictures and prompts that the probes are fitted to, for each one that they are tried on.
SHARE = 8
# Of the mean variance of a feature.
RIDGE = 1e-2


@torch.no_grad()
def layer_features(
    encoder: CLIPVisionModel, pictures: UInt8[np.ndarray, "b y x 3"], batch_size: int = 256
) -> Float[np.ndarray, "layers b d"]:
    """Class token, mean and maximum over the patches of every layer, the embeddings first."""
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = stack_pictures(list(pictures[start : start + batch_size]))
        hidden = np.stack([each.float().numpy() for each in encode_references(encoder, batch)])
        patches = hidden[:, :, 1:]
        pooled = (hidden[:, :, 0], patches.mean(2), patches.max(2))
        parts.append(np.concatenate(pooled, axis=-1))
    return np.concatenate(parts, axis=1)


@torch.no_grad()
def prompt_features(
    pipe: FluxPipeline, prompts: Sequence[str], batch_size: int = 256
) -> tuple[Float[np.ndarray, "b d_text"], Float[np.ndarray, "b d_pooled"]]:
    """Mean and maximum over T5's tokens; CLIP's pooled vector."""
    encode = PromptEncoder(pipe)
    parts = []
    for start in range(0, len(prompts), batch_size):
        tokens, pooled = encode(list(prompts[start : start + batch_size]))
        parts.append((torch.cat([tokens.mean(1), tokens.amax(1)], -1), pooled))
    told, modulating = (torch.cat(each).float().numpy() for each in zip(*parts, strict=True))
    return told, modulating


def linear_accuracies(
    features: Float[np.ndarray, "n d"],
    known: Mapping[str, Int[np.ndarray, " n"]],
    others: Float[np.ndarray, "b d"],
    wanted: Mapping[str, Int[np.ndarray, " b"]],
) -> dict[str, float]:
    """Share of right answers of a ridge classifier for each factor; NaN where nothing is asked.

    Args:
        features: That it is fitted to.
        known: Their factors' values; -1 where there is none, and the picture does not count.
        others: That it is tried on.
        wanted: Their values.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    fit, trial = ((each - mean) / deviation for each in (features, others))
    found = {}
    for name, values in known.items():
        rows, tried = values >= 0, wanted[name] >= 0
        if not rows.any() or not tried.any():
            found[name] = math.nan
            continue
        targets = np.eye(values.max() + 1)[values[rows]]
        gram = fit[rows].T @ fit[rows]
        gram[np.diag_indices_from(gram)] += RIDGE * rows.sum()
        offset = targets.mean(0)
        weights = np.linalg.solve(gram, fit[rows].T @ (targets - offset))
        said = (trial @ weights + offset).argmax(1)
        found[name] = float((said == wanted[name])[tried].mean())
    return found


def references(
    split: str, count: int, seed: int, size: int
) -> tuple[list[Spec], UInt8[np.ndarray, "b y x 3"]]:
    """Subjects of a split, cut out on white."""
    rngs = [np.random.default_rng([STREAM, seed, index]) for index in range(count)]
    specs = [sample_spec(rng, split=split) for rng in rngs]
    return specs, np.stack([segment(spec, size=size) for spec in specs])


def answers(specs: Sequence[Spec], names: Iterable[str]) -> dict[str, Int[np.ndarray, " b"]]:
    """Index of the value of each factor; a detail that is not there is not asked for."""
    options = {name: probed_values()[name] for name in names}
    return {
        name: np.where(asked(name, truths, options[name]), truths, UNANSWERABLE)
        for name, truths in labels(specs, options).items()
    }


def knowledge_figures(
    pipe: FluxPipeline, count: int, seed: int, on_share: Callable[[], Any] = lambda: None
) -> list[Figure]:
    """What the text encoders know of the base's prompts, and the image encoder of references.

    Args:
        pipe: Holds the encoders.
        count: Held-out subjects that the probes are tried on.
        seed: Of subjects and prompts.
        on_share: Called four times: after the prompts, and while the references are drawn.
    """
    trials = base_trials(count, seed)
    rngs = [np.random.default_rng([STREAM, seed, 1, index]) for index in range(SHARE * count)]
    specs = [sample_spec(rng) for rng in rngs]
    drawn = zip(specs, rngs, strict=True)
    prompts = [caption(spec, rng, name=BASE_PROMPTED) for spec, rng in drawn]
    told = [name for name in BASE_PROMPTED if name in probed_values()]
    known, wanted = answers(specs, told), answers([trial.target for trial in trials], told)
    heard = zip(
        prompt_features(pipe, prompts),
        prompt_features(pipe, [trial.prompt for trial in trials]),
        strict=True,
    )
    found = [(linear_accuracies(fitted, known, tried, wanted), wanted) for fitted, tried in heard]
    on_share()

    encoder = cast(CLIPVisionModel, pipe.image_encoder)
    size, sets = cast(int, encoder.config.image_size), []
    for split, subjects in (("train", SHARE * count), ("test", count)):
        specs, pictures = references(split, subjects, seed, size)
        on_share()
        sets += [layer_features(encoder, pictures)[-1], answers(specs, READ)]
    found.append((linear_accuracies(*sets), sets[-1]))
    on_share()
    return [
        Figure(
            group=group,
            name=name,
            value=accuracy,
            accuracy=accuracy,
            chance=blind_guess(name, probed_values()[name]),
            count=int((wanted[name] != UNANSWERABLE).sum()),
        )
        for group, (accuracies, wanted) in zip(ENCODERS, found, strict=True)
        for name, accuracy in accuracies.items()
    ]
