"""One picture on a real (tiny) pipeline: previews, masks, comparisons, the router."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from served import LIMITS, Server, png

from dynaip.apps.web.drawing import Made, Pencil, Stopped
from dynaip.apps.web.order import Order, OrderError, read_order
from dynaip.apps.web.server import make_app
from dynaip.apps.web.studio import Studio
from dynaip.apps.web.takes import GRANULARITIES, compare, repeat
from dynaip.pipeline.provenance import Origin
from dynaip.pipeline.subject import Subject

GUIDED = {"image_guidance": 3, "guidance": 2}


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


@pytest.fixture(scope="module")
def own() -> Pencil:
    """Of no server."""
    return Pencil(tiny.adapter().attach(tiny.pipeline()), Origin("tiny"))


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


def test_image_guidance_is_used_and_told(own: Pencil) -> None:
    made = [own.draw(repeat(order(**more))[0], lambda _: None) for more in ({}, GUIDED)]
    assert (np.asarray(made[0].picture) != np.asarray(made[1].picture)).any()
    assert [each.settings.image_guidance for each in made] == [1, 3]
    assert [each.settings.guidance for each in made] == [3.5, 2]


def test_settings_tell_no_folders(drawn: tuple[Made, Any]) -> None:
    (record,) = drawn[0].settings.subjects
    assert (record.name, record.mask, len(record.coefficients)) == ("rex.png", "0,0,0.5,1", 3)


def test_boxes_are_told_to_the_last_digit() -> None:
    (cast,) = order(subjects=[{"picture": _picture(), "box": [1 / 3, 0, 2 / 3, 1]}]).cast
    assert tuple(map(float, (cast.place or "").split(","))) == cast.subject.mask


def test_a_reference_is_resized_once_also_before_the_encoder_is_loaded(tmp_path: Path) -> None:
    """As `dynaip run` reads it; FLUX.1's pipeline comes without an image encoder."""
    tiny.image_encoder().save_pretrained(tmp_path / "encoder")
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "rex.png")
    content = base64.b64encode((tmp_path / "rex.png").read_bytes()).decode()
    pipe = tiny.pipeline()
    pipe.register_modules(image_encoder=None)
    with tiny.adapter(encoder=str(tmp_path / "encoder")).attach(pipe) as personal:
        pencil = Pencil(personal, Origin("tiny"))
        limits = make_app(Studio(pencil)).state.limits
        asked = {"prompt": "a red dog", "seed": 4, "steps": 1, "subjects": [{"picture": content}]}
        (take,) = repeat(read_order(asked, limits))
        drawn = pencil.draw(take, lambda _: None).picture
        again = personal(
            "a red dog",
            subjects=[Subject(tmp_path / "rex.png")],
            num_inference_steps=1,
            generator=torch.Generator().manual_seed(4),
            return_dict=False,
        )[0]
    assert drawn.tobytes() == again[0].tobytes()


def test_an_encoder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    pipe = tiny.pipeline()
    pipe.register_modules(image_encoder=None)
    pencil = Pencil(tiny.adapter(encoder=str(tmp_path / "none")).attach(pipe), Origin("tiny"))
    with pytest.raises(ValueError, match="none cannot be had; download it"):
        _ = pencil.reference_size


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


def test_counting_leaves_the_pipeline_s_tokenizer_alone(own: Pencil) -> None:
    tokenizer = own.personal.pipe.tokenizer_2
    tokenizer("a red dog", padding="max_length", truncation=True)
    assert own.counted_tokens("a red dog") is None
    assert tokenizer.backend_tokenizer.padding is not None
    assert tokenizer.backend_tokenizer.truncation is not None


def test_a_stopped_picture_leaves_nothing_on_the_device(
    own: Pencil, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(own.personal.pipe, "maybe_free_model_hooks", lambda: freed.append(True))

    def stop(_: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        own.draw(repeat(order())[0], stop)
    assert freed == [True]


def test_an_offloaded_model_makes_no_previews(own: Pencil) -> None:
    pencil = Pencil(own.personal, own.origin, previews=False)
    previews: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynaip.apps.web.drawing.PREVIEW_SHARE", 1e9)
        pencil.draw(repeat(order())[0], previews.append)
    assert previews == [None] * 4


def test_the_router_is_asked_for_a_reference(server: Server) -> None:
    (cast,) = order().cast
    weights, seen = server.studio.borrow(lambda pencil: pencil.route(cast.subject)).result()
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert seen.width == seen.height


def test_repeats_count_the_seed_up_and_comparisons_keep_it() -> None:
    assert [take.order.seed for take in repeat(order(n=3))] == [4, 5, 6]
    branches = compare(order(n=3), "branches")
    assert [len(take.order.cast) for take in branches] == [0, 1, 1]
    guided = compare(order(image_guidance=3), "branches")
    assert [take.order.image_guidance for take in guided] == [1, 3, 3]
    levels = compare(order(), "granularity")
    assert [take.order.seed for take in levels] == [4] * len(GRANULARITIES)
    assert levels[2].order.cast[0].subject.granularity == (0, 1, 0)
    assert [take.order.branches for take in branches] == ["image", "image", "both"]
    with pytest.raises(OrderError, match="needs a subject"):
        compare(order(subjects=[]), "branches")
    with pytest.raises(OrderError, match="branches, granularity"):
        compare(order(), "colour")


def test_phrases_make_both_branches_the_usual_ones_and_are_compared_apart() -> None:
    subjects = [{"picture": _picture(), "phrase": " red dog "}, {"picture": _picture()}]
    asked = order(subjects=subjects)
    assert [each.subject.phrase for each in asked.cast] == ["red dog", None]
    assert (asked.branches, order(subjects=subjects, branches="text").branches) == ("both", "text")
    takes = compare(asked, "branches")
    assert [take.order.branches for take in takes] == ["image", "image", "both", "both"]
    phrases = [[each.subject.phrase for each in take.order.cast] for take in takes]
    assert phrases == [[], [None, None], [None, None], ["red dog", None]]
    assert takes[-1].label.startswith("own words")


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
        {"image_guidance": 0.5},
        {"image_guidance": 3, "subjects": []},
        {"prompt": "half a letter \ud800"},
        {"nothing \ud800": 1},
        {"prompt": "a" * 3000},
        {"subjects": [{"picture": "", "phrase": "dog"}], "branches": "image"},
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
        {"phrase": 3},
        {"phrase": "a" * 3000},
        {"place": "left", "box": [0, 0, 1, 1]},
        {"mask": base64.b64encode(png((600, 600))).decode()},
    ],
)
def test_subjects_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OrderError):
        order(subjects=[{"picture": _picture(), **changes}])


def _picture() -> str:
    return base64.b64encode(png()).decode()
