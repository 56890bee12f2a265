"""What the package promises as a whole: a light import, layers, a command line that answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dynaip

ROOT = Path(__file__).parents[1]


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_is_light() -> None:
    code = """
import sys, time
start = time.process_time()
import dynaip
print(time.process_time() - start)
print([name for name in ("torch", "diffusers", "transformers", "numpy") if name in sys.modules])
"""
    seconds, heavy = python(code).splitlines()
    assert float(seconds) < 0.3
    assert heavy == "[]"


def test_help_loads_no_torch() -> None:
    code = """
import sys
from dynaip.apps.cli import app
try:
    app(["--help"])
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Usage" in result.stdout
    assert result.stderr.strip() == "False"


@pytest.mark.parametrize("name", dynaip.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(dynaip, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = dynaip.nonsense


def test_import_writes_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", "import dynaip"], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_layers_are_kept() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
