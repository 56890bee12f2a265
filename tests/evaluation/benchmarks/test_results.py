from pathlib import Path

import pytest
from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results, ResultsError

OURS = Method(name="DynaIP", settings={"steps": 20}, weights={"adapter": "ab12"})


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    subject = CaseSubject(
        name="dog", category="dog", kind="animal", references=(tmp_path / "rex.png",)
    )
    cases = (
        Case(id="a", prompt="a dog", seeds=(1, 2), subjects=(subject,)),
        Case(id="b", prompt="a dog", seeds=(3,), subjects=(subject,)),
    )
    return Manifest(name="bench", settings={}, cases=cases)


def test_pictures_are_found_and_missed(manifest: Manifest, tmp_path: Path) -> None:
    results = Results.create(tmp_path / "out", manifest, OURS)
    assert [(w.case.id, w.picture) for w in results.missing()] == [("a", 0), ("a", 1), ("b", 0)]
    second = results.missing()[1].path
    second.parent.mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(second)
    again = Results.open(tmp_path / "out")
    assert again == results
    assert [(w.case.id, w.picture) for w in again.pictures()] == [("a", 1)]
    assert len(again.missing()) == 2
    assert again.scores_path("judge") == tmp_path / "out" / "scores" / "judge.jsonl"


def test_the_folder_still_knows_its_references(manifest: Manifest, tmp_path: Path) -> None:
    results = Results.create(tmp_path / "out", manifest, OURS)
    assert results.manifest == manifest


def test_a_folder_belongs_to_one_method_and_manifest(manifest: Manifest, tmp_path: Path) -> None:
    results = Results.create(tmp_path / "out", manifest, OURS)
    assert Results.create(tmp_path / "out", manifest, OURS) == results
    with pytest.raises(
        ResultsError, match=r"method \(name DynaIP, not IP-Adapter, steps 20, not None"
    ):
        Results.create(tmp_path / "out", manifest, Method(name="IP-Adapter"))
    other = Method(name="DynaIP", settings={"steps": 21}, weights=OURS.weights)
    with pytest.raises(ResultsError, match=r"method \(steps 20, not 21\);"):
        Results.create(tmp_path / "out", manifest, other)
    shorter = Manifest(name="bench", settings={}, cases=manifest.cases[:1])
    with pytest.raises(ResultsError, match="another manifest"):
        Results.create(tmp_path / "out", shorter, OURS)


@pytest.mark.parametrize("content", [None, "", "[]", '{"nom": "x"}', "{}"])
def test_a_folder_says_who_made_it(manifest: Manifest, tmp_path: Path, content: str | None) -> None:
    Results.create(tmp_path / "out", manifest, OURS)
    path = tmp_path / "out" / "method.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ResultsError, match=r"method\.json does not say"):
        Results.open(tmp_path / "out")
