"""Figures of the evidence show what is in the rows: where a point is, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from dynaip.analysis.evidence_figures import FIGURES
from dynaip.evaluation.evidence_measures import in_words, way_name

Row = dict[str, Any]


def around(value: float, reach: float = 0.05) -> list[float]:
    return [value, value - reach, value + reach]


def drawn(experiment: str, name: str, rows: Sequence[Row]) -> Figure:
    figure = FIGURES[experiment][name](rows)
    assert figure is not None
    return figure


def ticks(labels: Sequence[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def points(ax: Axes) -> dict[str, tuple[float, float, list[list[float]]]]:
    """By label: where it is, and the ends of its bars as [left, right, bottom, top]."""
    found = {}
    for container in ax.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, bars = container.lines
        ends = [bar.get_segments()[0] for bar in bars]
        spans = [
            span[:, int(np.ptp(span[:, 1]) > np.ptp(span[:, 0]))].round(6).tolist() for span in ends
        ]
        (x,), (y,) = line.get_xdata(), line.get_ydata()
        found[str(container.get_label())] = (x, y, spans)
    return found


def way(name: str, cp: float, retention: float, **more: Any) -> Row:
    both = {"cp": around(cp, 0.02), "cp_coarse": around(cp / 2), "retention": around(retention)}
    return {"name": name, **both, **more}


class TestTradeOff:
    def test_points_lie_at_cp_and_prompt_following(self) -> None:
        rows = [way("base", 0.1, 0.9), way("image", 0.6, 0.8, variant="full"), {"name": "samples"}]
        figure = drawn("table", "table", rows)
        (ax,) = figure.axes
        assert points(ax) == {
            "base": (0.1, 0.9, [[0.08, 0.12], [0.85, 0.95]]),
            way_name(rows[1]): (0.6, 0.8, [[0.58, 0.62], [0.75, 0.85]]),
        }
        assert ticks(figure.legends[0].get_texts()) == ["base", "full: image"]
        assert "(CP)" in ax.get_xlabel()
        assert "prompt following" in ax.get_ylabel()

    def test_the_coarse_tier_stands_in_for_all(self) -> None:
        rows = [way("base", 0.1, 0.9), way("image", 0.6, 0.8) | {"cp": [None] * 3}]
        (ax,) = drawn("table", "table", rows).axes
        assert [x for x, *_ in points(ax).values()] == [0.05, 0.3]
        assert "coarse" in ax.get_xlabel()
        nothing = [way("base", 0.1, 0.9) | {"retention": [None] * 3}]
        assert FIGURES["table"]["table"](nothing) is None
        unread = [way("base", 0.1, 0.9) | {"cp": [None] * 3, "cp_coarse": [None] * 3}]
        assert FIGURES["table"]["table"](unread) is None

    def test_no_two_of_many_ways_look_alike(self) -> None:
        rows = [way(str(index), index / 20, 0.5) for index in range(20)]
        (ax,) = drawn("ablation", "ablation", rows).axes
        lines = [container.lines[0] for container in ax.containers]
        assert len({(line.get_marker(), to_hex(line.get_color())) for line in lines}) == 20


def test_each_way_is_a_line_from_the_base_along_lambda() -> None:
    values = {
        "image": [(0.3, 0.95), (0.5, 0.9)],
        "both": [(0.4, 0.8), (0.6, 0.6)],
        "own words": [(0.35, 0.85), (0.55, 0.7)],
        "guided": [(0.45, 0.9), (0.7, 0.8)],
    }
    rows = [way("base", 0.0, 1.0)] + [
        way(f"{name}, {number:g}", *at, variant="full", **swept)
        for name, line in values.items()
        for at, number in zip(line, (0.5, 1.25), strict=True)
        for swept in (
            [{"scale": 1, "image_guidance": number}]
            if name == "guided"
            else [{"scale": number, "image_guidance": 1}]
        )
    ]
    (ax,) = drawn("strength", "strength", rows).axes
    lines, labels = ax.get_legend_handles_labels()
    assert labels == [
        "image rows (DDS)",
        "both branches",
        "image rows and own words",
        "image rows, image guidance",
    ]
    for line, shown in zip(lines, values.values(), strict=True):
        assert line.get_xydata().tolist() == [[0, 1], *map(list, shown)]
    numbers = {(text.xy, text.get_text()) for text in ax.texts}
    assert numbers == {
        ((0.0, 1.0), "0"),
        *((half, "0.5") for half, _ in values.values()),
        *((more, "1.25") for _, more in values.values()),
    }
    (fewer,) = drawn("strength", "strength", rows[:5]).axes
    assert fewer.get_legend_handles_labels()[1] == labels[:2]


def test_a_matrix_has_outputs_down_and_inputs_across() -> None:
    about = {
        "inputs": ["glyph", "scene"],
        "outputs": ["main_colour", "glyph", "scene"],
        "readable": ["scene", "glyph"],
    }
    matrix = [[0.0, 0.25], [0.8, -0.3], [0.05, 0.6]]
    rows = [
        {"name": "both", "matrix": matrix, "dts": around(0.1234), **about},
        {"name": "image", "matrix": matrix[::-1], "dts": [None] * 3, **about},
        {"name": "image", "shown": []},
    ]
    figure = drawn("branches", "branches", rows)
    both, image = figure.axes[:2]
    assert np.array(both.images[0].get_array()).tolist() == matrix
    assert np.array(image.images[0].get_array()).tolist() == matrix[::-1]
    assert ticks(both.get_xticklabels()) == [in_words("glyph"), "scene"]
    assert ticks(both.get_yticklabels()) == ["main colour *", in_words("glyph"), "scene"]
    assert both.get_ylim() == (2.5, -0.5)
    written = {(text.get_position(), text.get_text()) for text in both.texts}
    assert written == {((1, 0), "0.2"), ((0, 1), "0.8"), ((1, 1), "-0.3"), ((1, 2), "0.6")}
    assert both.get_title() == "text and image rows, DTS 0.12"
    assert image.get_title() == "image rows, DTS –"
    assert "read in the picture" in both.get_ylabel()
    assert "changed in the reference" in figure._supxlabel.get_text()


def test_each_corner_of_the_simplex_is_the_level_that_weighs_most() -> None:
    levels = {"low": (1.0, 0.0, 0.0), "mid": (0.0, 1.0, 0.0), "high": (0.0, 0.0, 1.0)}
    scores = {"low": 0.1, "mid": 0.5, "high": 0.9}
    rows: list[Row] = [
        {
            "name": name,
            "granularity": list(weights),
            "cp_coarse": around(scores[name]),
            "cp_mid": [None] * 3,
            "cp_fine": around(1 - scores[name]),
        }
        for name, weights in levels.items()
    ]
    figure = drawn("granularity", "granularity", [{"name": "router", "granularity": None}, *rows])
    coarse, fine = (ax for ax in figure.axes if ax.get_title())
    assert [ax.get_title() for ax in (coarse, fine)] == ["coarse tier", "fine tier"]
    for ax, tier in ((coarse, "cp_coarse"), (fine, "cp_fine")):
        (dots,) = ax.collections
        places = np.asarray(dots.get_offsets())
        assert np.asarray(dots.get_array()).tolist() == [row[tier][0] for row in rows]
        texts = {text.get_text(): np.array(text.get_position()) for text in ax.texts}
        for place, row in zip(places, rows, strict=True):
            nearest = min(levels, key=lambda name: np.linalg.norm(texts[name] - place))
            assert nearest == row["name"]
            assert texts[f"{row[tier][0]:.2f}"] == pytest.approx(place)
        sides = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
        assert sides == pytest.approx(1)


def test_outcomes_are_bars_that_fill_a_line() -> None:
    shares = {"two": {"swap": 0.25, "correct": 0.75}, "three": {"swap": 0.5, "correct": 0.5}}
    rows: list[Row] = [{"name": name, "outcomes": each} for name, each in shares.items()]
    figure = drawn("several", "several", [*rows, {"name": "samples"}])
    (ax,) = figure.axes
    bars = {
        container.get_label(): [(bar.get_x(), bar.get_width()) for bar in container]
        for container in ax.containers
    }
    assert bars == {"correct": [(0, 0.75), (0, 0.5)], "swap": [(0.75, 0.25), (0.5, 0.5)]}
    assert ticks(ax.get_yticklabels()) == ["two", "three"]
    assert ax.yaxis_inverted()
    assert len({to_hex(container[0].get_facecolor()) for container in ax.containers}) == 2
    assert FIGURES["several"]["several"]([{"name": "samples"}]) is None


def test_losses_are_points_on_the_adapters_line() -> None:
    measures = ("help", "category", "look", "view")
    rows: list[Row] = [
        {
            "variant": variant,
            "name": name,
            "sigmas": [0.7],
            **{m: around(0.1 * at + place) for at, m in enumerate(measures)},
        }
        for variant, name, place in (
            ("full", "image", 0.01),
            ("full", "both", 0.02),
            ("add", "image", 0.03),
            ("add", "both", 0.04),
        )
    ]
    rows[2]["look"] = [0.23, None, None]
    figure = drawn("ablation", "ablation-loss", [{"name": "full", "cp": [0.5] * 3}, *rows])
    titles = ["the reference itself", "what it is", "how it looks", "its pose and light"]
    assert [ax.get_title() for ax in figure.axes] == titles
    for ax, measure in zip(figure.axes, measures, strict=True):
        for container, name in zip(ax.containers, ("image", "both"), strict=True):
            members = [row for row in rows if row["name"] == name]
            line, _, bars = container.lines
            assert list(line.get_xdata()) == [row[measure][0] for row in members]
            assert [round(y) for y in line.get_ydata()] == [0, 1]
            spans = [segment[:, 0].tolist() for bar in bars for segment in bar.get_segments()]
            whole = [pytest.approx(row[measure][1:]) for row in members]
            assert spans == ([] if (measure, name) == ("look", "image") else whole)
    first = figure.axes[0]
    assert ticks(first.get_yticklabels()) == ["full", "add"]
    assert first.yaxis_inverted()
    assert [c.get_label() for c in first.containers] == ["on image rows", "on both"]


def test_what_a_layer_knows_goes_from_chance_to_one() -> None:
    factors = ["glyph", *(f"factor_{index}" for index in range(9))]
    chance = dict.fromkeys(factors, 0.5) | {"glyph": 0.2}
    rows: list[Row] = [
        {
            "name": f"layer {layer}",
            "layer": layer,
            "tapped": layer == 1,
            "chance": chance,
            "accuracy": dict.fromkeys(factors, 0.5) | {"glyph": 0.2 + 0.4 * layer},
        }
        for layer in range(3)
    ]
    (ax,) = drawn("layers", "layers", rows).axes
    lines, labels = ax.get_legend_handles_labels()
    assert labels == [in_words(factor) for factor in factors]
    assert lines[0].get_ydata() == pytest.approx([0, 0.5, 1])
    assert lines[1].get_ydata() == pytest.approx([0, 0, 0])
    looks = {(line.get_marker(), to_hex(line.get_color())) for line in lines}
    assert len(looks) == len(factors)
    (shade,) = (line for line in ax.lines if line not in lines)
    assert list(shade.get_xdata()) == [1, 1]


def test_responses_of_each_level_stand_beside_the_shuffled_ones() -> None:
    change: Row = {
        "name": "glyph",
        "variant": "full",
        "response": [around(value) for value in (-0.2, 0.0, 0.2)],
        "shuffled": [around(value) for value in (0.01, 0.02, 0.03)],
    }
    (ax,) = drawn("router", "router", [{"name": "coefficients"}, change]).axes
    assert ax.get_title() == way_name(change)
    assert ticks(ax.get_xticklabels()) == ["low", "mid", "high"]
    middles = [(*c.lines[0].get_xdata(), *c.lines[0].get_ydata()) for c in ax.containers]
    response = [(level, change["response"][level][0]) for level in range(3)]
    shuffled = [(level + 0.2, change["shuffled"][level][0]) for level in range(3)]
    assert middles == [*response, *shuffled]
    assert ticks(ax.get_legend().get_texts()) == ["response", "shuffled"]
