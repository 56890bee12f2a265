"""Pictures to be measured: made once, found again, and never mistaken for others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from dynaip.evaluation.experiments.several import Group
from dynaip.evaluation.generation import (
    GUIDED,
    OWN_WORDS,
    FluxGenerator,
    PersonalGenerator,
    Request,
    Use,
    hash_base,
    hash_weights,
    make_pictures,
)
from dynaip.evaluation.miniature import adapter_trials
from dynaip.pipeline.phrases import phrase_rows

USES = {
    "image": Use(),
    "text": Use(branches="text"),
    "half": Use(scale=0.5),
    "low": Use(granularity=(1.0, 0.0, 0.0)),
    "both": Use(branches="both"),
    "own words": OWN_WORDS,
    "guided": GUIDED,
}
MINIATURE = Path(__file__).parents[2] / "models" / "miniature"
HALVES = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))


class Painter:
    """Paints the seed; counts its calls and stops when told."""

    def __init__(self, colour: int = 0, stop_after: int = 1000) -> None:
        self.identity = {"colour": colour}
        self.colour, self.left = colour, stop_after
        self.batches: list[int] = []

    def __call__(self, requests: Sequence[Request]) -> np.ndarray:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.batches.append(len(requests))
        pictures = [np.full((4, 4, 3), self.colour + request.seed) for request in requests]
        return np.stack(pictures).astype(np.uint8)


def requests(count: int) -> list[Request]:
    return [Request(prompt=f"toy {index}", seed=index) for index in range(count)]


def test_pictures_come_back_in_order_and_are_not_made_again(tmp_path: Path) -> None:
    painter, done = Painter(), []
    for _ in range(2):
        pictures = make_pictures(
            painter, requests(7), tmp_path, batch_size=3, on_pictures=done.append
        )
        assert [int(picture.mean()) for picture in pictures] == list(range(7))
    assert painter.batches == [3, 3, 1]
    assert done == [0, 3, 3, 1, 7]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_pictures(Painter(stop_after=1), requests(6), tmp_path, batch_size=4)
    painter = Painter()
    make_pictures(painter, requests(6), tmp_path, batch_size=4)
    assert painter.batches == [2]


@pytest.mark.parametrize("change", ["settings", "prompt", "seed", "reference", "box", "phrase"])
def test_whatever_else_is_asked_for_is_made_anew(change: str, tmp_path: Path) -> None:
    make_pictures(Painter(), [Request(prompt="toy", seed=1)], tmp_path)
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    asked = {
        "settings": Request(prompt="toy", seed=1),
        "prompt": Request(prompt="dog", seed=1),
        "seed": Request(prompt="toy", seed=2),
        "reference": Request(prompt="toy", seed=1, references=(white,)),
        "box": Request(prompt="toy", seed=1, references=(white,), boxes=((0.0, 0.0, 0.5, 1.0),)),
        "phrase": Request(prompt="toy", seed=1, references=(white,), phrases=("toy",)),
    }
    painter = Painter(colour=10 if change == "settings" else 0)
    make_pictures(painter, [asked[change]], tmp_path)
    assert painter.batches == [1]


def test_weights_are_told_apart(tmp_path: Path) -> None:
    def save(value: float, **said: str) -> str:
        save_file({"weight": torch.tensor([value])}, tmp_path / "model.safetensors", said or None)
        return hash_weights(tmp_path)

    with pytest.raises(ValueError, match="no weights"):
        hash_weights(tmp_path)
    first, second = save(1.0), save(2.0)
    assert second != first
    # Which layers are tapped is in a config.
    (tmp_path / "config.json").write_text('{"layers": [1], "fusion": "moe"}')
    third = save(2.0)
    assert third not in (first, second)
    (tmp_path / "config.json").write_text('{\n"fusion": "moe", "layers": [1]}')
    assert save(2.0) == third
    # safetensors writes what is said of a file in another order each time.
    assert len({save(1.0, format="pt", sha256="0", more="1") for _ in range(8)}) == 1
    for damage in (b"abc", b"\xff" * 20):
        (tmp_path / "model.safetensors").write_bytes(damage)
        with pytest.raises(ValueError, match="damaged"):
            hash_weights(tmp_path)


def test_a_base_is_its_weights_and_configs_and_not_what_ships_with_it(tmp_path: Path) -> None:
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return hash_base(tmp_path)

    weights = (b"\x02" + bytes(7) + b"{}").decode()  # no tensors
    write("transformer/model.safetensors", weights)
    write("transformer/config.json", "{}")
    before = write("model_index.json", "{}")
    parts = (
        "transformer/config.json",
        "scheduler/scheduler_config.json",
        "model_index.json",
        "tokenizer/merges.txt",
        "tokenizer_2/spiece.model",
    )
    own = [write(name, '{"shift": 3}') for name in parts]
    assert len({before, *own}) == 1 + len(parts)
    for name in ("adapter", "intra", "variants/low"):
        write(f"{name}/config.json", "{}")
        write(f"{name}/model.safetensors", weights)
    for name in ("README.md", "figures.jsonl", "transformer/README.md"):
        assert write(name, "{}") == own[-1]
    (tmp_path / "transformer" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights"):
        hash_base(tmp_path)


def test_pipelines_make_the_same_picture_in_any_batch_and_use_the_reference() -> None:
    pipe, settings = tiny.pipeline(), {"steps": 2, "guidance": 3.0}
    rng = np.random.default_rng(0)
    asked = [
        Request(
            prompt=prompt,
            seed=seed,
            references=(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8),),
            phrases=(prompt,),
        )
        for seed, prompt in enumerate(tiny.WORDS)
    ]
    base = FluxGenerator(pipe, weights="w", **settings)
    together = base(asked).astype(int)
    assert together.shape == (2, tiny.SIZE, tiny.SIZE, 3)
    assert abs(together[1] - base(asked[1:])[0]).max() <= 1
    reseeded = [dataclasses.replace(request, seed=7) for request in asked]
    assert abs(base(reseeded).astype(int) - together).max() > 1
    with tiny.adapter().attach(pipe) as personal:
        made = {
            name: PersonalGenerator(personal, weights=("w", "a"), use=use, **settings)
            for name, use in USES.items()
        }
        image, text = (made[name](asked).astype(int) for name in ("image", "text"))
        swapped = [
            dataclasses.replace(request, references=other.references)
            for request, other in zip(asked, reversed(asked), strict=True)
        ]
        assert abs(made["image"](asked[1:])[0].astype(int) - image[1]).max() <= 1
        assert abs(made["image"](swapped).astype(int) - image).max() > 1
        others = {name: made[name](asked).astype(int) for name in USES.keys() - {"image", "text"}}
        two = [dataclasses.replace(r, references=r.references * 2, boxes=HALVES) for r in asked]
        parted = made["image"](two).astype(int)
        turned = [dataclasses.replace(r, boxes=HALVES[::-1]) for r in two]
        assert abs(made["image"](turned).astype(int) - parted).max() <= 1
        mixed = [
            dataclasses.replace(r, references=(*r.references, *o.references), boxes=HALVES)
            for r, o in zip(asked, reversed(asked), strict=True)
        ]
        turned = [dataclasses.replace(r, boxes=HALVES[::-1]) for r in mixed]
        assert abs(made["image"](turned).astype(int) - made["image"](mixed)).max() > 1
        # The same batch, so that nothing is rounded otherwise: whatever differs is the phrase's.
        renamed = [dataclasses.replace(request, phrases=("the",)) for request in asked]
        assert (made["own words"](renamed) != others["own words"]).any()
        assert (made["both"](renamed) == others["both"]).all()
    assert (others["own words"] != others["both"]).any()
    assert abs(image - together).max() > 1
    assert abs(image - text).max() > 1
    for name in ("half", "low"):
        assert abs(others[name] - image).max() > 1, name
    identities = [str(generator.identity) for generator in made.values()]
    assert len(set(identities)) == len(USES)


def test_requests_name_their_subjects_as_their_prompts_do() -> None:
    """Each by words of its own, in the order of the references."""
    pipe = tiny.pipeline()
    pipe.tokenizer_2 = AutoTokenizer.from_pretrained(MINIATURE / "tokenizer_2")
    asked = [trial.request(16) for trial in adapter_trials(8)]
    asked += [Group.draw(0, index, 2).request(16, 64) for index in range(8)]
    for request in asked:
        rows = phrase_rows(pipe, request.prompt, request.phrases, 40)
        assert len(rows) == len(request.references)
        firsts = [int(row.nonzero()[0]) for row in rows]
        assert firsts == sorted(set(firsts)), request.prompt
    assert {phrase for request in asked[1:8:2] for phrase in request.phrases} == {"toy"}
    assert adapter_trials(1)[0].request().phrases == ()


def test_own_words_need_text_rows_and_phrases() -> None:
    with pytest.raises(ValueError, match="own_words is about text rows"):
        Use(own_words=True)
    white = np.full((16, 16, 3), 255, dtype=np.uint8)
    settings = {"steps": 1, "guidance": 3.0}
    with tiny.adapter().attach(tiny.pipeline()) as personal:
        make = PersonalGenerator(personal, weights=("w", "a"), use=OWN_WORDS, **settings)
        with pytest.raises(ValueError, match="1 references and 0 phrases"):
            make([Request(prompt="a red dog", seed=1, references=(white,))])
