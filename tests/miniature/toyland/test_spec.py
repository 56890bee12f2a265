import dataclasses
import json

import numpy as np
import pytest

from dynaip.miniature.toyland import FACTORS, Spec, sample_spec


@pytest.mark.parametrize("subjects", [1, 2, 3])
def test_spec_survives_json(subjects: int) -> None:
    spec = sample_spec(np.random.default_rng(subjects), subjects=subjects)
    again = Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)


def test_spec_cannot_be_changed() -> None:
    spec = sample_spec(np.random.default_rng(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.scene = "beach"  # pyright: ignore[reportAttributeAccessIssue]


def test_every_factor_has_an_other_value() -> None:
    # Three values are needed to tell "as the reference" from "as the prompt" and "neither".
    few = {name for name, values in FACTORS.items() if len(set(values)) < 3}
    assert few == {"pattern_scale"}
