import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaip.evaluation.benchmarks.manifest import (
    Case,
    CaseSubject,
    Manifest,
    ManifestError,
    read_manifest,
    write_manifest,
)


def case(**values: Any) -> Case:
    subject = CaseSubject(
        name="dog",
        category="dog",
        kind="animal",
        references=(Path("/elsewhere/rex.png"),),
        box=(0.0, 0.5, 0.5, 1.0),
    )
    defaults: dict[str, Any] = {"id": "a", "prompt": "a dog", "seeds": (1, 2)}
    return Case(**{**defaults, "subjects": (subject,), **values})


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    below = CaseSubject(
        name="mug", category="mug", kind="object", references=(tmp_path / "refs" / "mug.png",)
    )
    cases = (
        case(prompt="é\u2028 \u0085dog", prompt_kind="style", combination="animal+object"),
        case(id="b-1_2.x", subjects=(below, below), truth={"scene": "snow"}),
    )
    manifest = Manifest(name="bench", settings={"seed": 3}, cases=cases)
    write_manifest(manifest, tmp_path / "manifest.jsonl")
    assert read_manifest(tmp_path / "manifest.jsonl") == manifest


def test_references_move_with_the_manifest(tmp_path: Path) -> None:
    """Those below it, and those beside it, as of a result folder beside its benchmark."""
    places = (("bench", "refs", "r.png"), ("r.png",))
    references = tuple(tmp_path.joinpath("a", *place) for place in places)
    subject = CaseSubject(name="mug", category="mug", kind="object", references=references)
    manifest = Manifest(name="", settings={}, cases=(case(subjects=(subject,)),))
    write_manifest(manifest, tmp_path / "a" / "bench" / "manifest.jsonl")
    (tmp_path / "a").rename(tmp_path / "b")
    (found,) = read_manifest(tmp_path / "b" / "bench" / "manifest.jsonl").cases
    moved = tuple(tmp_path.joinpath("b", *place) for place in places)
    assert found.subjects[0].references == moved


@pytest.mark.parametrize("bad", ["", "a/b", "..", ".hidden", "ü", "a b", "x" * 200, "-flag"])
def test_ids_that_are_no_safe_folder_names_are_refused(bad: str) -> None:
    with pytest.raises(ManifestError, match="cannot be a case's id"):
        case(id=bad)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompt": " "}, "no prompt"),
        ({"seeds": ()}, "no seeds"),
        ({"subjects": ()}, "no subjects"),
    ],
)
def test_a_case_asks_for_something(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        case(**values)


@given(st.tuples(*[st.floats(-0.5, 1.5)] * 4))
def test_boxes_lie_in_the_picture(box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        CaseSubject(name="dog", category="", kind="", references=(Path("x"),), box=box)
    else:
        with pytest.raises(ManifestError, match="box"):
            CaseSubject(name="dog", category="", kind="", references=(Path("x"),), box=box)


def test_a_subject_has_a_name() -> None:
    with pytest.raises(ManifestError, match="no name"):
        CaseSubject(name=" ", category="", kind="", references=(Path("x"),))


def test_two_cases_that_would_share_a_folder_are_refused() -> None:
    with pytest.raises(ManifestError, match="Two cases"):
        Manifest(name="", settings={}, cases=(case(id="A"), case(id="a")))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(Manifest(name="", settings={}, cases=(case(), case(id="b"))), path)
    header, first, second = path.read_text().splitlines()
    for broken, words in (
        (second[:-3], "line 3 is not JSON"),
        ("[]", "line 3 is not a JSON object"),
        (json.dumps({"id": "b"}), "line 3 lacks 'subjects'"),
        (second.replace('"prompt"', '"promt"'), "line 3: .*prompt"),
        (second.replace("[1, 2]", '["x"]'), "line 3: .*invalid literal"),
        (re.sub(r'"references": \["(.*?)"\]', r'"references": "\1"', second), "is a list, such as"),
    ):
        path.write_text("\n".join([header, first, broken]))
        with pytest.raises(ManifestError, match=words):
            read_manifest(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with pytest.raises(ManifestError, match="no manifest at"):
        read_manifest(path)
    for content, words in (
        (b"", "line 1 is not JSON"),
        (b"{}", "does not say"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"format": "dynaip-manifest", "version": 2}', "version 2"),
    ):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=words):
            read_manifest(path)
