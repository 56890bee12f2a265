"""What each layer of the image encoder knows (Section B.7): a linear probe on every one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from transformers import CLIPVisionModel

from dynaip.adapter.model import DynaIPAdapter
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.factors import blind_guess, probed_values
from dynaip.evaluation.generation import hash_weights
from dynaip.evaluation.knowledge import (
    READ,
    SHARE,
    answers,
    layer_features,
    linear_accuracies,
    references,
)


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Accuracy of each factor on references of held-out subjects, from every layer's features."""
    encoder = cast(CLIPVisionModel, laboratory.pipe.image_encoder)
    sets = []
    # Probes that are fitted to fewer references than some thousands read much less.
    fitted = SHARE * laboratory.calibration
    for split, count in (("train", fitted), ("test", laboratory.count)):
        specs, pictures = references(split, count, laboratory.seed, laboratory.reference_size)
        sets.append((layer_features(encoder, pictures), answers(specs, READ)))
    (features_of, known), (tried, wanted) = sets
    first = laboratory.adapters[laboratory.first]
    taps = DynaIPAdapter.from_pretrained(first).config.layers
    for layer, (features, others) in enumerate(zip(features_of, tried, strict=True)):
        yield {
            "name": f"layer {layer}",
            "layer": layer,
            "tapped": layer in taps,
            "base": laboratory.base.identity["base"],
            "adapter": hash_weights(first),
            "pictures": laboratory.count,
            "fitted": fitted,
            "accuracy": linear_accuracies(features, known, others, wanted),
            "chance": {name: blind_guess(name, probed_values()[name]) for name in READ},
        }
