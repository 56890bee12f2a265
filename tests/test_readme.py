"""What the README shows works: its Python, its commands, its tree."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest
import tiny
from PIL import Image

from dynaip.apps.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    tiny.pipeline().save_pretrained("models/miniature")
    tiny.adapter().save_pretrained("models/miniature/adapter")
    Path("out/references").mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save("out/references/1.png")
    exec(compile(code, "README.md", "exec"), {})
    without, shown = Image.open("without.png"), Image.open("with.png")
    assert without.size == shown.size == (tiny.SIZE, tiny.SIZE)
    assert without.tobytes() != shown.tobytes()
    assert "tensor" in capsys.readouterr().out


def test_git_ignores_what_the_examples_write() -> None:
    named = re.findall(r"(?:--out|-o) (\S+)", README)
    written = {Path(name).parts[0] for name in (*named, "with.png", "without.png")}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert {"out", "pictures", "mug.safetensors"} < written <= ignored


def verbs() -> set[str]:
    """`dynaip` and the plain words after it, on every command line of the README."""
    lines = re.findall(r"^    dynaip (.*)$", README, re.MULTILINE)
    return {" ".join(takewhile(str.isalpha, line.split())) for line in lines}


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_the_commands_exist(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as finished:
        app([*verb.split(), "--help"], prog_name="dynaip")
    assert finished.value.code == 0
    assert f"dynaip {verb}" in " ".join(capsys.readouterr().out.split())


def test_the_tree_is_the_tree() -> None:
    told = set(re.findall(r"^      (\w+)/", README, re.MULTILINE))
    rooms = {path.parent.name for path in (ROOT / "src" / "dynaip").glob("*/__init__.py")}
    assert told == rooms
