import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from dynaip.evaluation.benchmarks.dynaip_bench import (
    COMBINATIONS,
    KINDS,
    BenchSettings,
    Combination,
    Mode,
    PoolSubject,
    build_manifest,
    read_pools,
    write_prompt,
)
from dynaip.evaluation.benchmarks.manifest import Manifest

BY_NAME = {combination.name: combination for combination in COMBINATIONS}


def pools(each: int = 6) -> dict[str, list[PoolSubject]]:
    return {
        kind: [
            PoolSubject(name=f"{kind}{n}", references=(Path(f"/{kind}/{n}.png"),), truth={"n": n})
            for n in range(each)
        ]
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def full() -> Manifest:
    return build_manifest(pools(), BenchSettings())


def test_the_paper_s_totals_come_out(full: Manifest) -> None:
    """888 = 642 of two + 246 of three subjects, over 8 data types and 14 combination types."""
    sizes = Counter(len(case.subjects) for case in full.cases)
    assert sizes == {2: 642, 3: 246}
    assert {s.kind for case in full.cases for s in case.subjects} == set(KINDS)
    by_type = Counter(case.combination for case in full.cases)
    assert len(by_type) == 14
    assert set(by_type.values()) == {60, 66}
    assert len({seed for case in full.cases for seed in case.seeds}) == 888


def test_every_tuple_is_new_and_seen_under_all_its_prompts(full: Manifest) -> None:
    tuples: dict[tuple[str, frozenset[str]], set[str]] = {}
    for case in full.cases:
        names = frozenset(subject.name for subject in case.subjects)
        assert len(names) == len(case.subjects)
        tuples.setdefault((str(case.combination), names), set()).add(case.prompt)
    assert len(tuples) == 148
    assert all(len(prompts) == 6 for prompts in tuples.values())


def test_chance_is_the_seed_s(full: Manifest) -> None:
    assert build_manifest(pools(), BenchSettings()) == full
    assert build_manifest(pools(), BenchSettings(seed=1)).cases != full.cases
    # Who stands on the left is chance too.
    first = [c.subjects[0].name < c.subjects[1].name for c in full.cases[::6]]
    assert 0 < sum(first) < len(first)


def test_subjects_fit_the_type_in_order_and_bring_box_and_truth(full: Manifest) -> None:
    for case in full.cases:
        combination = BY_NAME[str(case.combination)]
        assert tuple(subject.kind for subject in case.subjects) == combination.kinds
        assert all(subject.box is not None for subject in case.subjects)
        assert case.truth is not None
        assert case.truth["variation"] in case.prompt
        assert [
            f"{s.kind}{t['n']}" for s, t in zip(case.subjects, case.truth["subjects"], strict=True)
        ] == [subject.name for subject in case.subjects]
    bare = build_manifest(pools(), BenchSettings(boxes=False, pairs=10, triples=0))
    assert {s.box for case in bare.cases for s in case.subjects} == {None}


@pytest.mark.parametrize(
    ("name", "nouns", "mode", "prompt"),
    [
        (
            "living+object",
            ["dog", "mug"],
            "verbatim",
            "a dog and a mug in a room, dog on the left, and mug on the right",
        ),
        (
            "object+object",
            ["egg", "mug"],
            "grammatical",
            "an egg and a mug in a room, the egg on the left and the mug on the right",
        ),
        (
            "human+human",
            ["man", "boy"],
            "verbatim",
            "a man and a boy embracing, man on the left, and boy on the right",
        ),
        (
            "human+character",
            ["man", "robot"],
            "grammatical",
            "a man and a robot are embracing, the man on the left and the robot on the right",
        ),
        ("living+upwearing", ["owl", "hat"], "verbatim", "a owl wearing a hat in a room"),
        ("living+upwearing", ["owl", "hat"], "grammatical", "an owl wearing a hat in a room"),
        (
            "midwearing+downwearing",
            ["shirt", "boots"],
            "verbatim",
            "a woman wearing a shirt and boots in a room",
        ),
        (
            "midwearing+downwearing",
            ["shirt", "dress"],
            "grammatical",
            "a woman wearing a shirt and a dress in a room",
        ),
        (
            "living+living+living",
            ["dog", "cat", "duck"],
            "verbatim",
            "a dog, a cat, and a duck in a room, dog on the left, cat on the middle, "
            "and duck on the right",
        ),
        (
            "human+human+character",
            ["man", "boy", "elf"],
            "grammatical",
            "a man, a boy, and an elf are sitting on the sofa, the man on the left, "
            "the boy in the middle, and the elf on the right",
        ),
        (
            "upwearing+midwearing+downwearing",
            ["cap", "shirt", "boots"],
            "verbatim",
            "a woman wearing a cap, a shirt, and a boots in a room",
        ),
        (
            "upwearing+midwearing+downwearing",
            ["cap", "shirt", "boots"],
            "grammatical",
            "a woman wearing a cap, a shirt, and boots in a room",
        ),
    ],
)
def test_prompts_are_table_3_s(name: str, nouns: list[str], mode: Mode, prompt: str) -> None:
    combination: Combination = BY_NAME[name]
    assert write_prompt(combination, nouns, combination.variations[0], mode) == prompt


def test_every_picture_has_a_seed_of_its_own() -> None:
    drawn = build_manifest(pools(), BenchSettings(pairs=10, triples=0, pictures=3, seed=5))
    seeds = [seed for case in drawn.cases for seed in case.seeds]
    assert seeds == list(range(5, 5 + 10 * 6 * 3))


def test_equal_nouns_are_drawn_only_when_asked_for() -> None:
    twins = {
        "living": [
            PoolSubject(name="dog", references=(Path(f"/{number}.png"),)) for number in range(3)
        ]
    }
    one = BenchSettings(pairs=1, triples=0)
    with pytest.raises(ValueError, match=r"1 tuples of living\+living are wanted.*give 0"):
        build_manifest(twins, one)
    manifest = build_manifest(twins, BenchSettings(pairs=1, triples=0, equal_nouns=True))
    assert [subject.name for subject in manifest.cases[0].subjects] == ["dog", "dog"]
    assert manifest.cases[0].truth is None


def test_a_pool_that_is_too_small_is_named() -> None:
    small = pools() | {"character": pools()["character"][:2]}
    with pytest.raises(ValueError, match=r"character\+character.*the pools give 1"):
        build_manifest(small, BenchSettings())


@pytest.mark.parametrize(
    "values",
    [
        {"pairs": -1},
        {"pairs": 0, "triples": 0},
        {"prompts": 7},
        {"pictures": 0},
        {"overlap": "max"},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least|1 to 6|overlap is"):
        BenchSettings(**values)  # pyright: ignore[reportArgumentType]


def test_pools_are_read_from_folders(tmp_path: Path) -> None:
    for name in (
        "living/corgi_2.png",
        "living/Rex/b.jpg",
        "living/Rex/a.png",
        "object/tea-pot.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "living" / "notes.txt").write_text("not a picture")
    (tmp_path / "living" / "names.json").write_text(json.dumps({"Rex": "dog"}))
    found = read_pools(tmp_path)
    assert [(s.name, [p.name for p in s.references]) for s in found["living"]] == [
        ("dog", ["a.png", "b.jpg"]),
        ("corgi", ["corgi_2.png"]),
    ]
    assert [s.name for s in found["object"]] == ["tea pot"]
    (tmp_path / "living" / "names.json").write_text(json.dumps({"Rex": "dog", "rex": "cat"}))
    with pytest.raises(ValueError, match=r"names\.json names rex, which .*living does not have"):
        read_pools(tmp_path)
    (tmp_path / "living" / "names.json").write_text("[")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_pools(tmp_path)
    with pytest.raises(ValueError, match="no folder of a data type"):
        read_pools(tmp_path / "living")
    with pytest.raises(ValueError, match="no folder"):
        read_pools(tmp_path / "none")
