import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.miniature.toyland import Spec, is_held_out, render
from dynaip.miniature.toyland.imagefolder import contact_sheet, world_sheet, write_imagefolder


def entries(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_the_spec_beside_a_picture_is_its_truth(tmp_path: Path) -> None:
    list(write_imagefolder(tmp_path, 3, seed=1, split="test", size=48, subjects=2))
    for entry in entries(tmp_path):
        spec = Spec.from_dict(entry["spec"])
        picture = render(spec, 48)
        assert (np.array(Image.open(tmp_path / entry["file_name"])) == picture.image).all()
        assert len(entry["mask_file_names"]) == 2
        for name, mask in zip(entry["mask_file_names"], picture.masks, strict=True):
            assert ((np.array(Image.open(tmp_path / name)) > 0) == mask).all()
        assert entry["text"]
        assert all(is_held_out(actor.concept) for actor in spec.actors)


def test_a_longer_run_begins_with_the_same_pictures(tmp_path: Path) -> None:
    list(write_imagefolder(tmp_path / "short", 2))
    list(write_imagefolder(tmp_path / "long", 4))
    assert entries(tmp_path / "short") == entries(tmp_path / "long")[:2]


def test_an_interrupted_run_leaves_no_metadata(tmp_path: Path) -> None:
    next(write_imagefolder(tmp_path, 3))
    assert not (tmp_path / "metadata.jsonl").exists()
    assert len(list(write_imagefolder(tmp_path, 3))) == len(entries(tmp_path)) == 3


@pytest.mark.parametrize("name", ["000001.png", "masks/000000-1.png"])
def test_somebodys_picture_of_the_same_name_stays(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("a holiday")
    with pytest.raises(ValueError, match=f"{name} is there already"):
        list(write_imagefolder(tmp_path, 2, size=16, subjects=2))
    assert theirs.read_text() == "a holiday"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
    list(write_imagefolder(tmp_path, 1, size=16))  # whose names are free
    assert theirs.read_text() == "a holiday"


def test_mistakes_are_explained(tmp_path: Path) -> None:
    list(write_imagefolder(tmp_path, 1))
    with pytest.raises(ValueError, match="already holds samples"):
        list(write_imagefolder(tmp_path, 1))
    with pytest.raises(ValueError, match="at least one"):
        list(write_imagefolder(tmp_path / "none", 0))
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 3)


def test_a_contact_sheet_holds_every_picture_in_order() -> None:
    cells = [np.full((8, 8, 3), 40 * index, dtype=np.uint8) for index in range(5)]
    sheet = np.array(contact_sheet(cells, columns=3, gap=2))
    assert sheet.shape == (22, 32, 3)
    assert [int(sheet[6 + 10 * (i // 3), 6 + 10 * (i % 3), 0]) for i in range(5)] == [
        0, 40, 80, 120, 160,
    ]  # fmt: skip
    assert (sheet[16, 26] == 255).all()


def test_the_world_fits_on_a_page() -> None:
    assert world_sheet(16, seed=0).size == (8 * 20 + 4, 7 * 20 + 4)
