"""One picture on a real (tiny) pipeline: previews, masks, comparisons, the router."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import LIMITS, Server, png

from dynaip.apps.web.drawing import Made
from dynaip.apps.web.order import Order, OrderError, read_order
from dynaip.apps.web.takes import GRANULARITIES, compare, repeat


def order(**changes: Any) -> Order:
    picture = base64.b64encode(png()).decode()
    subject = {"picture": picture, "name": "../../rex.png", "box": [0, 0, 0.5, 1]}
    return read_order(
        {"prompt": "a red dog", "seed": 4, "steps": 4, "subjects": [subject], **changes}, LIMITS
    )


@pytest.fixture(scope="module")
def drawn(server: Server) -> tuple[Made, list[Image.Image | None]]:
    previews: list[Image.Image | None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynaip.apps.web.drawing.PREVIEW_SHARE", 1e9)
        (take,) = repeat(order())
        made = server.studio.borrow(lambda pencil: pencil.draw(take, previews.append)).result()
    return made, previews


def test_previews_come_closer_and_the_last_is_the_picture(
    drawn: tuple[Made, list[Image.Image | None]],
) -> None:
    made, previews = drawn
    assert previews[0] is None
    final = np.asarray(made.picture, dtype=float)
    distances = [np.abs(np.asarray(p, dtype=float) - final).mean() for p in previews[1:] if p]
    assert len(distances) == 3
    assert distances[0] >= distances[1] > distances[2]
    assert distances[2] < 1


def test_settings_tell_no_folders(drawn: tuple[Made, Any]) -> None:
    (record,) = drawn[0].settings.subjects
    assert (record.name, record.mask, len(record.coefficients)) == ("rex.png", "0,0,0.5,1", 3)


def test_masks_are_those_of_the_tokens(server: Server) -> None:
    (mask,) = server.studio.pencil.masks(order())
    assert mask.tolist() == [[1.0] * 4 + [0.0] * 4] * 8
    (everywhere,) = server.studio.pencil.masks(order(subjects=[{"picture": _picture()}]))
    assert everywhere.min() == 1
    with pytest.raises(OrderError, match="fractions"):
        server.studio.pencil.masks(order(subjects=[{"picture": _picture(), "box": [0, 0, 2, 1]}]))


def test_attention_is_louder_where_the_subject_may_be(
    server: Server, drawn: tuple[Made, Any]
) -> None:
    (picture,) = server.studio.borrow(lambda pencil: pencil.attention(drawn[0])).result()
    assert picture.shape == (8, 8)
    assert picture[:, :4].min() > 0
    assert picture[:, 4:].max() == 0
    assert picture[:, :4].mean() == pytest.approx(1)


def test_what_is_cut_off_a_prompt_is_known(server: Server) -> None:
    assert server.studio.pencil.counted_tokens("a red dog") is None
    assert server.studio.pencil.counted_tokens("a red dog " * 9) == 12


def test_the_router_is_asked_for_a_reference(server: Server) -> None:
    (cast,) = order().cast
    weights, seen = server.studio.borrow(lambda pencil: pencil.route(cast.subject)).result()
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert seen.width == seen.height


def test_repeats_count_the_seed_up_and_comparisons_keep_it() -> None:
    assert [take.order.seed for take in repeat(order(n=3))] == [4, 5, 6]
    branches = compare(order(n=3), "branches")
    assert [len(take.order.cast) for take in branches] == [0, 1, 1]
    levels = compare(order(), "granularity")
    assert [take.order.seed for take in levels] == [4] * len(GRANULARITIES)
    assert levels[2].order.cast[0].subject.granularity == (0, 1, 0)
    with pytest.raises(OrderError, match="needs a subject"):
        compare(order(subjects=[]), "branches")
    with pytest.raises(OrderError, match="branches, granularity"):
        compare(order(), "colour")


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1.5},
        {"steps": True},
        {"seed": -1},
        {"guidance": "3"},
        {"branches": "all"},
        {"subjects": {}},
        {"subjects": [{"picture": ""}]},
        {"subjects": [1]},
        {"subjects": [{}] * 9},
        {"branches": ""},
        {"guidance": float("nan")},
        {"prompt": "half a letter \ud800"},
        {"nothing \ud800": 1},
        {"prompt": "a" * 3000},
    ],
)
def test_what_cannot_be_made_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OrderError, match=r"\.$"):
        order(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"granularity": [1, 1, 1]},
        {"granularity": [1, 0]},
        {"scale": -1},
        {"start": 0.9, "end": 0.1},
        {"place": "above"},
        {"box": [10**400, 0, 1, 1]},
        {"box": [float("nan"), 0, 1, 1]},
        {"name": 3},
        {"place": "left", "box": [0, 0, 1, 1]},
        {"mask": base64.b64encode(png((600, 600))).decode()},
    ],
)
def test_subjects_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OrderError):
        order(subjects=[{"picture": _picture(), **changes}])


def _picture() -> str:
    return base64.b64encode(png()).decode()
