"""The truth of rendered benchmarks: perfect answers, and what a reader that knows makes of others.

The reader knows every picture it was taught by heart, so every number is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from knowing import SIZE, Knowing
from PIL import Image

from dynaip.evaluation.benchmarks.baselines import make_baseline
from dynaip.evaluation.benchmarks.dynaip_bench import BenchSettings, build_manifest
from dynaip.evaluation.benchmarks.manifest import Case, Manifest, read_manifest, write_manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.benchmarks.toyland import perfect_answer, render_pools, truth_of
from dynaip.evaluation.benchmarks.truth import (
    Ceilings,
    measure_ceilings,
    questions,
    read_picture,
    score_truth,
    windows,
)
from dynaip.evaluation.comparison.report import report_tables
from dynaip.evaluation.comparison.sources import open_source
from dynaip.evaluation.scores import ScoreRow, append_scores
from dynaip.miniature.toyland import Picture, Spec, render


class Reader(Knowing):
    """Knows the views of perfect answers to some cases."""

    def __init__(self, cases: Iterable[Case]) -> None:
        super().__init__()
        for case in cases:
            for seed in case.seeds:
                self.teach(case, perfect_answer(case, seed))

    def teach(self, case: Case, spec: Spec) -> None:
        subjects = spec.actors[-len(case.subjects) :]
        alone = [dataclasses.replace(spec, actors=(actor,)) for actor in subjects]
        views = windows(Image.fromarray(render(spec, SIZE).image), case, SIZE)
        for view, seen in zip(views, [spec, *alone], strict=True):
            self.known[view.tobytes()] = seen


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """All 14 types, through the file that everything else reads."""
    folder = tmp_path_factory.mktemp("toyland")
    pools = render_pools(folder, each=3, size=SIZE)
    path = folder / "manifest.jsonl"
    write_manifest(build_manifest(pools, BenchSettings(pairs=10, triples=4, prompts=2)), path)
    return read_manifest(path)


@pytest.fixture(scope="module")
def probe(manifest: Manifest) -> Reader:
    return Reader(manifest.cases)


def case_of(manifest: Manifest, combination: str) -> Case:
    return next(case for case in manifest.cases if case.combination == combination)


def shares(rows: Iterable[ScoreRow], measure: str) -> dict[int | None, float | None]:
    return {row.subject: row.score for row in rows if row.measure == measure}


def test_perfect_answers_show_every_subject_in_its_box(manifest: Manifest) -> None:
    for case in manifest.cases:
        spec = perfect_answer(case, 3)
        concepts, scene = truth_of(case)
        actors = spec.actors[-len(concepts) :]
        assert [actor.concept for actor in actors] == concepts
        assert scene in (None, spec.scene)
        for index, (actor, subject) in enumerate(zip(actors, case.subjects, strict=True)):
            assert subject.box is not None
            left, top, right, bottom = subject.box
            # Animals wear their clothes a little lower than the boxes, which are people's.
            assert left < actor.view.x < right, (case.id, index)
            assert top < actor.view.y < bottom + 0.02, (case.id, index)
        if len(spec.actors) == len(concepts) < 3 and "wearing" not in case.id:
            masks = Picture(image=np.zeros((100, 100, 3), np.uint8), spec=spec).masks
            for mask, subject in zip(masks, case.subjects, strict=True):
                left, top, right, bottom = (round(100 * side) for side in subject.box or ())
                inside = mask[top:bottom, left:right].sum()
                assert inside > 0.85 * mask.sum() > 0, case.id


def test_clothes_are_worn_by_the_animal_or_by_some_woman(manifest: Manifest) -> None:
    animal = perfect_answer(case_of(manifest, "living+midwearing"), 0)
    assert [actor.concept.kind for actor in animal.actors] == ["living", "midwearing"]
    outfit = case_of(manifest, "upwearing+midwearing+downwearing")
    woman = perfect_answer(outfit, 0)
    assert woman.actors[0].concept.category == "woman"
    assert "+".join(actor.concept.kind for actor in woman.actors[1:]) == (
        "upwearing+midwearing+downwearing"
    )
    assert {actor.view.facing for actor in (*animal.actors, *woman.actors)} == {"front"}
    for actor, subject in zip(woman.actors[1:], outfit.subjects, strict=True):
        left, top, right, bottom = subject.box or (0, 0, 1, 1)
        assert actor.view.size > min(right - left, bottom - top), "fills its box"


def test_windows_look_where_the_boxes_are(manifest: Manifest) -> None:
    case = case_of(manifest, "living+object")
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[10:30, :20] = (255, 0, 0)
    pixels[10:30, 20:] = (0, 255, 0)
    whole, left, right = windows(Image.fromarray(pixels), case, SIZE)
    assert whole[SIZE // 2, 2].tolist() == [255, 0, 0]
    assert whole[SIZE // 2, -3].tolist() == [0, 255, 0]
    assert [view[SIZE // 2, SIZE // 2].argmax() for view in (left, right)] == [0, 1]
    # Outside of the picture its edge goes on.
    assert left[SIZE // 2, 0].tolist() == [255, 0, 0]
    bare = dataclasses.replace(
        case, subjects=tuple(dataclasses.replace(each, box=None) for each in case.subjects)
    )
    with pytest.raises(ValueError, match="has no boxes"):
        windows(Image.fromarray(pixels), bare, SIZE)


def test_only_what_can_be_answered_is_asked(manifest: Manifest, probe: Reader) -> None:
    case = case_of(manifest, "human+human")
    values = dict((case.truth or {})["subjects"][0])
    plain = {**values, "glyph": "", "mark": "none"}
    long = {**values, "glyph": "AB", "mark": "star"}
    asked = questions(
        dataclasses.replace(case, truth={"variation": "embracing", "subjects": [plain, long]}),
        probe,
    )
    factors = {index: [q.factor for q in asked if q.subject == index] for index in (0, 1, None)}
    assert factors == {
        0: ["category", "main_colour", "second_colour", "pattern"],
        1: ["category", "main_colour", "second_colour", "pattern", "mark"],
        None: [],
    }
    scene = questions(case_of(manifest, "living+living"), probe)[-1]
    assert (scene.factor, scene.answer, scene.subject) == ("scene", "room", None)
    with pytest.raises(ValueError, match="manifest of `dynaip bench toyland`"):
        questions(dataclasses.replace(case, truth=None), probe)


def test_the_perfect_answer_is_perfect_in_every_table(
    manifest: Manifest, probe: Reader, tmp_path: Path
) -> None:
    perfect = make_baseline("perfect", manifest, tmp_path / "perfect")
    assert not perfect.missing()
    ceilings = measure_ceilings(manifest, probe, SIZE)
    assert set(ceilings.accuracy.values()) == {1.0}
    assert not ceilings.left_out
    rows = list(score_truth(perfect, probe, "knowing", ceilings))
    assert {row.score for row in rows} == {1.0}
    subjects = sum(len(case.subjects) for case in manifest.cases)
    assert sum(row.measure == "cp" for row in rows) == subjects
    assert sum(row.measure == "pf" for row in rows) == len(manifest.cases)
    append_scores(perfect.scores_path("truth"), rows)
    tables = report_tables([open_source(perfect.folder)])
    assert tables[0].title == "Several subjects (truth)"
    assert tables[0].rows[0][0] == "perfect answer"
    assert tables[-1].title == "Metrics"
    assert "truth-glyph" in tables[-1].columns


def test_subjects_in_each_other_s_places_are_wrong_in_both(
    manifest: Manifest, tmp_path: Path
) -> None:
    case = case_of(manifest, "living+object")
    spec = perfect_answer(case, case.seeds[0])
    left, right = spec.actors
    swapped = dataclasses.replace(
        spec,
        actors=(
            dataclasses.replace(left, concept=right.concept),
            dataclasses.replace(right, concept=left.concept),
        ),
    )
    probe = Reader([case])
    probe.teach(case, swapped)
    read = read_picture(Image.fromarray(render(swapped, SIZE).image), case, probe)
    assert {right for question, right in read if question.factor == "category"} == {False}
    assert [right for question, right in read if question.factor == "scene"] == [True]
    ceilings = measure_ceilings(Manifest(name="m", settings={}, cases=(case,)), probe, SIZE)
    answers = Results.create(
        tmp_path, Manifest(name="m", settings={}, cases=(case,)), Method(name="swaps")
    )
    (wanted,) = answers.missing()
    wanted.path.parent.mkdir(parents=True)
    Image.fromarray(render(swapped, SIZE).image).save(wanted.path)
    rows = list(score_truth(answers, probe, "knowing", ceilings))
    assert shares(rows, "pf") == {None: pytest.approx(1 / 3)}
    assert all(share is not None and share < 0.6 for share in shares(rows, "cp").values())
    concept = [right for question, right in read if question.subject == 0]
    assert shares(rows, "cp")[0] == pytest.approx(np.mean(concept))


def test_what_the_probe_cannot_see_is_left_out(
    manifest: Manifest, probe: Reader, tmp_path: Path
) -> None:
    perfect = make_baseline("perfect", manifest, tmp_path / "perfect")
    true = measure_ceilings(manifest, probe, SIZE).accuracy
    blind = {key: 0.89 if key[0] == "pattern" or "worn" in key[1] else 0.9 for key in true}
    ceilings = Ceilings(blind)
    assert {factor for factor, seen in ceilings.left_out if "worn" not in seen} == {"pattern"}
    rows = list(score_truth(perfect, probe, "knowing", ceilings))
    concepts = [row for row in rows if row.measure == "cp"]
    assert {row.status for row in concepts if "wearing" not in row.case} == {"ok"}
    assert {row.status for row in concepts if "wearing" in row.case} == {"not_asked"}
    assert all("pattern" not in row.details["factors"] for row in concepts)
    assert not any(row.measure == "truth-pattern" for row in rows)
    worn = [row for row in rows if "wearing" in row.case]
    assert {row.measure for row in worn if row.status == "ok"} == {"pf", "truth-scene"}
    append_scores(perfect.scores_path("truth"), rows)
    (table, *_) = report_tables([open_source(perfect.folder)])
    found = dict(zip(table.columns, table.rows[0], strict=True))
    assert (found["coverage"], found["CP"].value, found["PF"].value) == (1, 1, 1)
    assert not any("lacks" in note for note in table.notes)
