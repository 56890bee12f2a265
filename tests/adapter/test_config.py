"""The config: strict JSON, FLUX.1-dev by default."""

import json

import pytest

from dynaip.adapter.config import DynaIPConfig


def test_round_trip(config):
    assert DynaIPConfig.from_json(config.to_json()) == config


def test_defaults_are_the_papers():
    config = DynaIPConfig.flux_dev()
    assert (config.blocks, config.inner_dim, config.layers) == (57, 3072, (10, 17, 24))
    assert (config.train_branches, config.branches) == ("both", "image")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "does not know: depth"),
        ({"version": 2}, "format version 2"),
        ({"format": "ip-adapter"}, "no config of a DynaIP adapter"),
        ({"heads": "24"}, "heads in the adapter's config is a whole number"),
        ({"heads": True}, "whole number"),
        ({"heads": 0}, "heads is at least 1"),
        ({"key_norm": 1}, "true or false"),
        ({"layers": [17, 10]}, "shallow to deep"),
        ({"layers": [1.5]}, "a list of whole numbers"),
        ({"fusion": "sum"}, "one of 'moe', 'add'"),
        ({"branches": "img"}, "one of 'image'"),
        ({"double_blocks": 0, "single_blocks": 0}, "at least one block"),
        ({"expert_drop": 1.0}, "expert_drop is a probability"),
    ],
)
def test_bad_values(config, change, message):
    with pytest.raises(ValueError, match=message):
        DynaIPConfig.from_dict(config.to_dict() | change)


def test_missing_values(config):
    values = config.to_dict()
    del values["layers"], values["heads"]
    with pytest.raises(ValueError, match="lacks: heads, layers"):
        DynaIPConfig.from_dict(values)


@pytest.mark.parametrize("text", ["", "{", json.dumps([1])])
def test_no_json_object(text):
    with pytest.raises(ValueError, match="not"):
        DynaIPConfig.from_json(text)
