"""`dynaip demo` and its contact sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.apps.cli.demo import COLUMNS, draw_cases
from dynaip.apps.cli.sheet import Row, contact_sheet
from dynaip.apps.cli.verify import read_claims
from dynaip.miniature import toyland


def test_the_sheet_and_what_is_said_about_it(cli: Any, model: Path, tmp_path: Path) -> None:
    result = cli("demo", "--model", model, "--out", tmp_path, "--subjects", 2, "--steps", 1)
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / "demo.json").read_text())
    assert [len(row["router"]) for row in facts["rows"]] == [3, 3]
    assert str(tmp_path / "demo.png") in result.out.replace("\n", "")
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.width > 128 * (len(COLUMNS) + 1)
        assert sheet.height > 128 * 2
    assert read_claims(tmp_path / "demo.png")["notice"]
    assert sorted(path.name for path in (tmp_path / "references").iterdir()) == ["1.png", "2.png"]


@pytest.mark.parametrize("name", ["demo.png", "demo.json", "references/1.png"])
def test_files_of_others_are_left_alone(cli: Any, model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "references").mkdir()
    (tmp_path / name).write_text('{"rows": ["mine"]}')
    result = cli("demo", "--model", model, "--out", tmp_path, "--steps", 1)
    assert (result.code, "dynaip did not make it; give another folder" in result.err) == (2, True)
    assert (tmp_path / name).read_text() == '{"rows": ["mine"]}'


def test_a_sheet_is_made_again_longer_or_shorter(cli: Any, model: Path, tmp_path: Path) -> None:
    for subjects in (2, 1, 2):
        options = ("--out", tmp_path, "--subjects", subjects, "--steps", 1)
        result = cli("demo", "--model", model, *options)
        assert result.code == 0, result.err
    Image.new("RGB", (4, 4)).save(tmp_path / "references" / "3.png")
    result = cli("demo", "--model", model, "--out", tmp_path, "--subjects", 3, "--steps", 1)
    assert (result.code, "3.png is there already" in result.err) == (2, True)


def test_the_references_are_there_before_the_sheet(
    cli: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops the drawing can play with them, and begin it again."""

    def stop(*_: Any) -> None:
        raise ValueError("stopped")

    call = ("demo", "--model", model, "--out", tmp_path, "--subjects", 2, "--steps", 1)
    with monkeypatch.context() as patch:
        patch.setattr("dynaip.apps.cli.demo._draw", stop)
        assert "stopped" in cli(*call).err
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert written == {"demo.json", "references/1.png", "references/2.png"}
    assert cli(*call).code == 0
    assert (tmp_path / "demo.png").is_file()


def test_cases_are_held_out_fixed_and_name_no_looks() -> None:
    cases, again = draw_cases(4, 0), draw_cases(4, 0)
    assert [case.prompt for case in cases] == [case.prompt for case in again]
    for case in cases:
        (actor,) = toyland.Spec.from_dict(case.spec).actors
        assert toyland.is_held_out(actor.concept)
        words = case.prompt.split()
        assert actor.concept.main_colour not in words
        assert actor.concept.pattern not in words
    assert draw_cases(1, 1)[0].spec != cases[0].spec


def test_a_sheet_without_a_model_says_what_to_do(cli: Any, tmp_path: Path) -> None:
    result = cli("demo", "--model", tmp_path / "nowhere", "--out", tmp_path)
    assert result.code == 2
    assert "is no folder here, so no adapter comes with it" in result.err


def test_pictures_stand_in_their_cells() -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 4), "blue")
    sheet = np.asarray(contact_sheet(["a", "b\nb"], [Row("first", [red, blue])] * 2, cell=32))
    assert (sheet == [255, 0, 0]).all(-1).sum() == 2 * 32 * 32
    assert (sheet == [0, 0, 255]).all(-1).sum() == 2 * 32 * 16
