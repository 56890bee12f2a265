"""Pairs of pictures of one subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynaip.miniature import toyland
from dynaip.miniature.pairs import ToylandPairs


def test_pairs_show_one_subject_twice() -> None:
    for pairing, same in (("intra", True), ("cross", False)):
        pair = ToylandPairs(0, pairing, 32, 32)[4]
        rng = np.random.default_rng([0, 4])
        spec = toyland.sample_spec(rng)
        assert np.array_equal(pair["image"], toyland.render(spec, 32).image)
        assert np.array_equal(pair["reference"], toyland.segment(spec, 0, 32)) == same
    with pytest.raises(ValueError, match="intra, cross"):
        ToylandPairs(0, "extra", 32, 32)
    with pytest.raises(ValueError, match=r"view_captions is a share, from 0 to 1; got 1\.5"):
        ToylandPairs(0, "intra", 32, 32, view_captions=1.5)
    with pytest.raises(ValueError, match=r"view_category is a share, from 0 to 1; got -1"):
        ToylandPairs(0, "intra", 32, 32, view_captions=0.5, view_category=-1)
    with pytest.raises(ValueError, match="of which there are none"):
        ToylandPairs(0, "intra", 32, 32, view_category=0.2)


def test_a_share_of_the_captions_leaves_the_looks_to_the_reference() -> None:
    def looks(share: float) -> int:
        pairs = ToylandPairs(0, "cross", 32, 32, pool=4, view_captions=share)
        told = 0
        for index in range(120):
            spec = toyland.sample_spec(np.random.default_rng([0, index % 4]))
            told += spec.actors[0].concept.main_colour in pairs._prompt(
                spec, np.random.default_rng([0, index])
            )
        return told

    assert looks(1.0) == 0 < looks(0.5) < looks(0.0) < 80


def test_pairs_are_drawn_once_and_told_in_other_words(tmp_path: Path) -> None:
    drawn = ToylandPairs(0, "cross", 32, 16, pool=3)
    for _ in range(2):
        kept = ToylandPairs(0, "cross", 32, 16, pool=3, cache=tmp_path)
        for index in (1, 4, 1):
            for name in ("image", "reference"):
                assert np.array_equal(kept[index][name], drawn[1][name])
            assert kept[index]["prompt"] == drawn[index]["prompt"]
    assert drawn[1]["prompt"] != drawn[4]["prompt"]
    other = ToylandPairs(1, "cross", 32, 16, pool=3, cache=tmp_path)[1]
    assert not np.array_equal(other["image"], drawn[1]["image"])


def test_a_share_of_the_captions_of_the_view_names_the_category() -> None:
    def named(share: float | None) -> int:
        pairs = ToylandPairs(0, "cross", 32, 32, pool=4, view_captions=1, view_category=share)
        spec = toyland.sample_spec(np.random.default_rng([0, 0]))
        told = [pairs._prompt(spec, np.random.default_rng([0, index])) for index in range(60)]
        return sum("toy" not in text.split() for text in told)

    assert named(0) == 0 < named(0.2) < named(None) == named(0.5) < named(0.8) < named(1) == 60
