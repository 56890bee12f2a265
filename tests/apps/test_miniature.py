import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dynaip.apps.cli import app


def test_render_writes_an_imagefolder(tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    arguments = ["miniature", "render", str(folder), "-n", "2", "--subjects", "2", "--size", "32"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 pictures" in result.output
    entries = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [entry["file_name"] for entry in entries] == ["000000.png", "000001.png"]
    assert Image.open(folder / entries[0]["mask_file_names"][1]).size == (32, 32)


def test_render_keeps_what_is_there(tmp_path: Path) -> None:
    arguments = ["miniature", "render", str(tmp_path), "-n", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    before = (tmp_path / "metadata.jsonl").read_bytes()
    with pytest.raises(ValueError, match="already holds samples"):
        CliRunner().invoke(app, [*arguments, "--seed", "1"], catch_exceptions=False)
    assert (tmp_path / "metadata.jsonl").read_bytes() == before


def test_sheet_writes_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    arguments = ["miniature", "sheet", str(target), "--size", "16"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert Image.open(target).width == 8 * 20 + 4
