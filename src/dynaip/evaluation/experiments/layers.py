"""What each layer of the image encoder knows (Section B.7): a linear probe on every one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from transformers import CLIPVisionModel

from dynaip.adapter.model import DynaIPAdapter
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels, probed_values
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.miniature.toyland import sample_spec, segment

STREAM = 13
READ = (*CONCEPT_FACTORS, "facing", "posture", "light")
# References that the probes are fitted to, for each one that they are tried on.
SHARE = 8
# Of the mean variance of a feature.
RIDGE = 1e-2


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Accuracy of each factor on references of held-out subjects, from every layer's features."""
    encoder = cast(CLIPVisionModel, laboratory.pipe.image_encoder)
    values = {name: probed_values()[name] for name in READ}
    sets = []
    for split, count in (("train", SHARE * laboratory.count), ("test", laboratory.count)):
        rngs = [np.random.default_rng([STREAM, laboratory.seed, index]) for index in range(count)]
        specs = [sample_spec(rng, split=split) for rng in rngs]
        pictures = [segment(spec, size=laboratory.reference_size) for spec in specs]
        sets.append((layer_features(encoder, np.stack(pictures)), labels(specs, values)))
    (fitted, known), (tried, wanted) = sets
    taps = DynaIPAdapter.from_pretrained(laboratory.adapters[laboratory.first]).config.layers
    for layer, (features, others) in enumerate(zip(fitted, tried, strict=True)):
        yield {
            "name": f"layer {layer}",
            "layer": layer,
            "tapped": layer in taps,
            "base": laboratory.base.identity["base"],
            "pictures": laboratory.count,
            "accuracy": linear_accuracies(features, known, others, wanted),
            "chance": {name: 1 / len(options) for name, options in values.items()},
        }


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


def linear_accuracies(
    features: Float[np.ndarray, "n d"],
    known: Mapping[str, Int[np.ndarray, " n"]],
    others: Float[np.ndarray, "b d"],
    wanted: Mapping[str, Int[np.ndarray, " b"]],
) -> dict[str, float]:
    """Share of right answers of a ridge classifier for each factor.

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
        rows, asked = values >= 0, wanted[name] >= 0
        targets = np.eye(values.max() + 1)[values[rows]]
        gram = fit[rows].T @ fit[rows]
        gram[np.diag_indices_from(gram)] += RIDGE * rows.sum()
        offset = targets.mean(0)
        weights = np.linalg.solve(gram, fit[rows].T @ (targets - offset))
        answers = (trial @ weights + offset).argmax(1)
        found[name] = float((answers == wanted[name])[asked].mean())
    return found
