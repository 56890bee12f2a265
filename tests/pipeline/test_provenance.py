"""Settings travel with the picture and come back equal; files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from dynaip.pipeline.provenance import (
    Settings,
    SubjectRecord,
    file_sha256,
    installed_versions,
    public_name,
    read_settings,
    save_picture,
    write_whole,
)

SETTINGS = Settings(
    prompt='a "red" dög, 赤い犬\nat sea',
    seed=7,
    steps=20,
    guidance=3.5,
    width=64,
    height=48,
    branches="image",
    model="miniature",
    adapter="adapter",
    adapter_sha256="ab" * 32,
    subjects=(
        SubjectRecord(
            name="rex.png",
            sha256="cd" * 32,
            scale=0.8,
            granularity=None,
            coefficients=(0.2, 0.3, 0.5),
        ),
        SubjectRecord(
            name="mug.jpg",
            sha256="ef" * 32,
            scale=1.0,
            granularity=(1.0, 0.0, 0.0),
            coefficients=(1.0, 0.0, 0.0),
        ),
    ),
    versions={"dynaip": "0.1.0"},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "picture.png"
    save_picture(Image.new("RGB", (4, 4), "red"), path, SETTINGS)
    return path


def test_settings_come_back_from_png_and_json(saved: Path) -> None:
    assert read_settings(saved) == SETTINGS
    assert read_settings(saved.with_suffix(".json")) == SETTINGS
    assert sorted(file.name for file in saved.parent.iterdir()) == ["picture.json", "picture.png"]


def test_the_picture_is_untouched_and_readable_elsewhere(saved: Path) -> None:
    with Image.open(saved) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)
        assert picture.info["parameters"].startswith(SETTINGS.prompt)
        assert "Seed: 7, Size: 64x48" in picture.info["parameters"]


def test_a_picture_without_settings_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="holds no settings"):
        read_settings(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="no picture file"):
        read_settings(tmp_path / "nowhere.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"subjects": [{}]}', '{"subjects": 3}'])
def test_damaged_settings_are_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="settings"):
        read_settings(tmp_path / "a.json")


def test_an_unknown_field_is_said(saved: Path) -> None:
    file = saved.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "extra": 1}))
    with pytest.raises(ValueError, match="extra"):
        read_settings(file)


def test_a_full_disk_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_bytes() == b"old"


def test_names_tell_nobodys_folders(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    assert public_name(tmp_path / "adapter") == "adapter"
    assert public_name(str(tmp_path / "adapter") + "/") == "adapter"
    assert public_name("owner/name") == "owner/name"


def test_hash_and_versions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert installed_versions()["dynaip"]
