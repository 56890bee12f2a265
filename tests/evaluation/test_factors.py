"""Labels: the truth of a spec, in the probe's words."""

from __future__ import annotations

import dataclasses

import numpy as np

from dynaip.evaluation.factors import UNANSWERABLE, labels, probed_values, truth
from dynaip.miniature.toyland import Spec, sample_spec


def specs(count: int) -> list[Spec]:
    return [sample_spec(np.random.default_rng(index)) for index in range(count)]


def with_concept(spec: Spec, **changes: str) -> Spec:
    (actor,) = spec.actors
    concept = dataclasses.replace(actor.concept, **changes)
    return dataclasses.replace(spec, actors=(dataclasses.replace(actor, concept=concept),))


def test_labels_name_the_truth() -> None:
    values = probed_values()
    chosen = specs(30)
    found = labels(chosen, values)
    for name, options in values.items():
        assert [options[index] for index in found[name]] == [truth(s)[name] for s in chosen]


def test_every_factor_varies() -> None:
    found = labels(specs(200), probed_values())
    assert all(len(set(answers.tolist())) > 1 for answers in found.values())


def test_a_string_that_no_letter_names_cannot_be_answered() -> None:
    (spec,) = specs(1)
    chosen = [with_concept(spec, glyph=glyph) for glyph in ("", "K", "KO")]
    values = probed_values()
    found = labels(chosen, values)["glyph"]
    assert [values["glyph"][index] for index in found[:2]] == ["", "K"]
    assert found[2] == UNANSWERABLE
