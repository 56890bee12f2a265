"""The draw: blind, the same for a seed, refused where it makes no sense."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.study.cases import COLOURS, SETTINGS, make_results, manifest

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.study.design import Study, StudySettings, design_study, write_key


def test_each_competitor_has_its_pairs(study: Study) -> None:
    assert list(study.groups) == ["rival", "third"]
    for name, pairs in study.groups.items():
        assert len({pair.case.id for pair in pairs}) == SETTINGS.pool
        for pair in pairs:
            assert set(pair.methods.values()) == {"ours", name}
            assert all(pair.methods[t] in path.parts for t, path in pair.pictures.items())


def test_order_of_the_pictures_says_nothing(methods: dict[str, Results]) -> None:
    firsts = []
    for seed in range(30):
        settings = dataclasses.replace(SETTINGS, seed=seed)
        study = design_study(methods["ours"], [methods["rival"]], settings)
        firsts += [next(iter(pair.methods.values())) for pair in study.groups["rival"]]
    assert np.mean([name == "ours" for name in firsts]) == pytest.approx(0.5, abs=0.1)


def test_a_seed_draws_the_same_study(methods: dict[str, Results], study: Study) -> None:
    others = [methods["rival"], methods["third"]]
    assert design_study(methods["ours"], others, SETTINGS) == study
    other = design_study(methods["ours"], others, dataclasses.replace(SETTINGS, seed=1))
    assert other.id != study.id


@pytest.mark.parametrize("change", [{"name": "new"}, {"weights": {"adapter": "ab12"}}])
def test_studies_of_other_methods_share_no_token(
    methods: dict[str, Results], study: Study, change: dict[str, Any]
) -> None:
    ours, *others = methods.values()
    made = dataclasses.replace(ours, method=dataclasses.replace(ours.method, **change))
    assert not tokens(study) & tokens(design_study(made, others, SETTINGS))


@pytest.mark.parametrize("change", [{"prompt": "another toy"}, {"id": "case-0b"}])
def test_studies_of_other_cases_share_no_token(
    study: Study, tmp_path: Path, change: dict[str, str]
) -> None:
    questions = manifest(tmp_path)
    (first, *rest) = questions.cases
    cases = (dataclasses.replace(first, **change), *rest)  # pyright: ignore[reportArgumentType]
    asked = dataclasses.replace(questions, cases=cases)
    ours, *others = (make_results(tmp_path, name, asked) for name in COLOURS)
    assert not tokens(study) & tokens(design_study(ours, others, SETTINGS))


def tokens(study: Study) -> set[str]:
    pairs = [pair for group in (*study.groups.values(), study.checks) for pair in group]
    return {study.id, *(t for pair in pairs for t in (pair.id, *pair.pictures))}


def test_cases_without_strangers_are_passed_over(tmp_path: Path) -> None:
    """The third case shares a subject with each of the others."""
    questions = manifest(tmp_path, cases=3)
    alike, other, last = questions.cases
    broad = dataclasses.replace(last, subjects=(*alike.subjects, *other.subjects[:1]))
    mixed = dataclasses.replace(questions, cases=(alike, other, broad))
    ours, rival = (make_results(tmp_path, name, mixed) for name in ("ours", "rival"))
    for seed in range(6):
        settings = StudySettings(pool=3, items=3, checks=2, seed=seed)
        found = {check.case.id for check in design_study(ours, [rival], settings).checks}
        assert found == {"case-0", "case-1"}
    with pytest.raises(ValueError, match="Only 2 of 3 checks"):
        design_study(ours, [rival], StudySettings(pool=3, items=3, checks=3))


def test_a_check_has_a_right_answer_and_a_picture_of_another_case(study: Study) -> None:
    (check,) = study.checks
    assert check.expected is not None
    (wrong,) = set(check.pictures) - {check.expected}
    assert check.case.id in check.pictures[check.expected].parts
    assert check.case.id not in check.pictures[wrong].parts


def test_the_key_is_whole_and_private(study: Study, tmp_path: Path) -> None:
    write_key(study, tmp_path / "key.json")
    key = json.loads((tmp_path / "key.json").read_text())
    assert len(key["pairs"]) == 2 * SETTINGS.pool + SETTINGS.checks
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_the_key_of_another_study_stays(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_key(study, path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="give another --out"):
        write_key(dataclasses.replace(study, id="another"), path)
    assert path.read_bytes() == content
    path.chmod(0o644)
    write_key(study, path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, 0o600)


def test_a_full_disk_leaves_no_part_of_a_key(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_key(study, tmp_path / "key.json")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_compared_is_refused(methods: dict[str, Results], tmp_path: Path) -> None:
    ours, rival = methods["ours"], methods["rival"]
    with pytest.raises(ValueError, match="one method"):
        design_study(ours, [ours])
    with pytest.raises(ValueError, match="at least two folders"):
        design_study(ours, [])
    with pytest.raises(ValueError, match="6 pictures in common"):
        design_study(ours, [rival], StudySettings())
    with pytest.raises(ValueError, match="pool at least as large"):
        StudySettings(pool=2, items=3)
    questions = manifest(tmp_path)
    (first, *rest) = questions.cases
    other = dataclasses.replace(first, prompt="something else")
    asked = make_results(tmp_path, "rival", dataclasses.replace(questions, cases=(other, *rest)))
    with pytest.raises(ValueError, match="case-0 asks ours and rival for different"):
        design_study(ours, [asked], SETTINGS)
