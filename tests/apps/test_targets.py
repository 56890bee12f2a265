"""Where pictures go: nothing that is not ours is written over."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dynaip.apps.cli.targets import prepare_target, target
from dynaip.pipeline.provenance import Settings, save_picture

SETTINGS = Settings(
    prompt="a dog",
    seed=1,
    steps=2,
    guidance=3.5,
    width=4,
    height=4,
    branches="image",
    model="tiny",
)


def test_names_of_files(tmp_path: Path) -> None:
    assert target(Path("a/b.PNG"), "x", 1) == Path("a/b.PNG")
    assert target(Path("nowhere"), "赤い犬", 1) == Path("nowhere/picture-1.png")
    assert len(target(Path("nowhere"), "word " * 99, 1).name) < 70
    (tmp_path / "a-dog-1.json").write_text("{}")
    assert target(tmp_path, "a dog", 1).name == "a-dog-1-2.png"


def test_folders_are_made(tmp_path: Path) -> None:
    prepare_target(tmp_path / "new" / "folder", 3)
    prepare_target(tmp_path / "other" / "one.png")
    assert (tmp_path / "new" / "folder").is_dir()
    assert (tmp_path / "other").is_dir()


def test_our_own_picture_may_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_picture(Image.new("RGB", (4, 4)), path, SETTINGS)
    prepare_target(path)
    with pytest.raises(ValueError, match="what the picture is made from"):
        prepare_target(path, inputs=[tmp_path / ".." / tmp_path.name / "a.png"])


@pytest.mark.parametrize("name", ["a.png", "a.json"])
def test_others_files_are_left_alone(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "a.png":
        Image.new("RGB", (4, 4)).save(file)
    else:
        file.write_text('{"mine": "my notes"}')
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"{name} is there already, and dynaip did not make it"):
        prepare_target(tmp_path / "a.png")
    assert file.read_bytes() == before


def test_other_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="neither a folder nor a PNG file"):
        prepare_target(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"end its name in \.png"):
        prepare_target(tmp_path / "w.jpg")
    assert not (tmp_path / "w.jpg").exists()
    with pytest.raises(ValueError, match="cannot hold several"):
        prepare_target(tmp_path / "a.png", 2)
