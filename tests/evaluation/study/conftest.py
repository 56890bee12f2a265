"""Results and a study that all of these tests share."""

from __future__ import annotations

import pytest
from evaluation.study.cases import COLOURS, SETTINGS, make_results, manifest

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.study.design import Study, design_study


@pytest.fixture(scope="session")
def methods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    folder = tmp_path_factory.mktemp("methods")
    questions = manifest(folder)
    return {name: make_results(folder, name, questions) for name in COLOURS}


@pytest.fixture(scope="session")
def study(methods: dict[str, Results]) -> Study:
    return design_study(methods["ours"], [methods["rival"], methods["third"]], SETTINGS)
