"""Pairs from a folder: order, shapes, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.data.folder import FolderPairs
from dynaip.pictures import read_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    for index in range(5):
        Image.new("RGB", (40, 20), (index * 40, 0, 0)).save(tmp_path / f"{index}.png")
        reference = Image.new("RGBA", (10, 20), (0, 0, 0, 0))
        reference.putpixel((5, 10), (index * 40, 0, 0, 255))
        reference.save(tmp_path / f"{index}-subject.png")
        rows.append(
            {"image": f"{index}.png", "reference": f"{index}-subject.png", "prompt": f"toy {index}"}
        )
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_every_epoch_shows_every_pair_in_another_order(folder: Path) -> None:
    pairs = FolderPairs(folder, 0, 16, 32)
    epochs = [[pairs[5 * epoch + place]["prompt"] for place in range(5)] for epoch in range(3)]
    assert all(sorted(epoch) == [f"toy {i}" for i in range(5)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert pairs[7]["prompt"] == FolderPairs(folder, 0, 16, 32)[7]["prompt"]


def test_pictures_are_cut_and_references_padded_on_white(folder: Path) -> None:
    pair = FolderPairs(folder, 0, 16, 32)[0]
    assert pair["image"].shape == (16, 16, 3)
    assert (pair["image"] == pair["image"][0, 0]).all()
    assert pair["reference"].shape == (32, 32, 3)
    assert (pair["reference"][:, :7] == 255).all()
    assert (pair["reference"][0, 16] == 255).all()
    assert pair["prompt"] == f"toy {np.unique(pair['image'])[-1] // 40}"


def test_references_are_those_of_inference(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    # Prompts may hold what other readers take for the end of a line.
    row = {"image": "a.png", "reference": "a.png", "prompt": "a \u2028 toy, été"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    pair = FolderPairs(tmp_path, 0, 16, 24)[0]
    assert np.array_equal(pair["reference"], np.asarray(read_reference(tmp_path / "a.png", 24)))
    assert pair["prompt"] == row["prompt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no pairs"),
        ("{", "Line 1 .* not JSON"),
        ('{"image": "a.png", "prompt": "a"}', "Line 1 .* reference"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        FolderPairs(tmp_path, 0, 16, 32)


def test_a_missing_list_or_picture_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There are no pairs"):
        FolderPairs(tmp_path / "nothing", 0, 16, 32)
    (folder / "3.png").write_bytes(b"no picture")
    pairs = FolderPairs(folder, 0, 16, 32)
    with pytest.raises(ValueError, match=r"names a bad picture: .*3\.png is not a picture"):
        [pairs[index] for index in range(5)]
