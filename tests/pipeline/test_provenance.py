"""Settings travel with the picture and come back equal; files are whole or absent."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import tiny
from PIL import Image

from dynaip.pipeline.provenance import (
    Origin,
    Settings,
    SubjectRecord,
    ViewRecord,
    adapter_sha256,
    file_sha256,
    installed_versions,
    public_name,
    read_settings,
    record_subjects,
    save_picture,
    write_png,
    write_whole,
)
from dynaip.pipeline.subject import Subject

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
            more_views=(ViewRecord("rex from behind.png", "01" * 32),),
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
        assert "References: rex.png; rex from behind.png; mug.jpg" in picture.info["parameters"]


def test_a_seed_of_zero_is_readable_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    save_picture(Image.new("RGB", (4, 4)), path, dataclasses.replace(SETTINGS, seed=0, guidance=0))
    with Image.open(path) as picture:
        assert "Guidance: 0, Seed: 0, Size" in picture.info["parameters"]


def test_a_picture_without_settings_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="holds no settings"):
        read_settings(tmp_path / "plain.png")
    write_png(Image.new("RGB", (4, 4)), tmp_path / "sheet.png", generated=True)
    with pytest.raises(ValueError, match="a sheet of several pictures that dynaip made"):
        read_settings(tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="no picture file"):
        read_settings(tmp_path / "nowhere.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"subjects": [{}]}', '{"subjects": 3}'])
def test_damaged_settings_are_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="settings"):
        read_settings(tmp_path / "a.json")


def test_pictures_of_before_there_were_several_views_are_read(saved: Path) -> None:
    file = saved.with_suffix(".json")
    values = json.loads(file.read_text())
    for subject in values["subjects"]:
        del subject["more_views"]
    file.write_text(json.dumps(values))
    first, second = read_settings(file).subjects
    assert first == dataclasses.replace(SETTINGS.subjects[0], more_views=())
    assert second == SETTINGS.subjects[1]


def test_pictures_of_before_there_was_image_guidance_are_read(saved: Path) -> None:
    file = saved.with_suffix(".json")
    values = json.loads(file.read_text())
    del values["image_guidance"]
    file.write_text(json.dumps(values))
    assert read_settings(file) == SETTINGS


def test_an_unknown_field_is_said(saved: Path) -> None:
    file = saved.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "extra": 1}))
    with pytest.raises(ValueError, match="extra is unknown"):
        read_settings(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": "64"}, "height is '64'"),
        ({"seed": True}, "seed is True"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": 0}, "steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"image_guidance": 0.5}, "image_guidance is 0.5"),
        ({"branches": "none"}, "branches is 'none'"),
        ({"adapter": 1}, "adapter is 1"),
        ({"versions": {"dynaip": 1}}, "versions is"),
        ({"subjects": [{"mask": 5}]}, "mask is 5"),
        ({"subjects": [{"scale": "loud"}]}, "scale is 'loud'"),
        ({"subjects": [{"coefficients": ["1", 0, 0]}]}, "coefficients is"),
        ({"subjects": [{"more_views": [{"name": 1, "sha256": ""}]}]}, "name is 1"),
        ({"subjects": [{"more_views": [5]}]}, "not a mapping"),
    ],
)
def test_a_field_of_another_type_is_said(
    saved: Path, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under test, the import hook would refuse the type first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    file = saved.with_suffix(".json")
    values = json.loads(file.read_text())
    for subject in change.pop("subjects", ()):
        values["subjects"][0] |= subject
    file.write_text(json.dumps(values | change))
    with pytest.raises(ValueError, match="are not the settings of a picture") as refused:
        read_settings(file)
    assert words in str(refused.value)


def test_what_is_missing_is_said_by_its_name(saved: Path) -> None:
    file = saved.with_suffix(".json")
    values = json.loads(file.read_text())
    for change, words in (({}, "prompt is missing"), ({"subjects": "toys"}, "a subject is 't'")):
        kept = {name: value for name, value in values.items() if change or name != "prompt"}
        file.write_text(json.dumps(kept | change))
        with pytest.raises(ValueError, match=words):
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


def test_files_are_recorded_by_name_and_hash(tmp_path: Path) -> None:
    for name in ("rex.png", "mask.png"):
        Image.new("RGB", (4, 4), "white").save(tmp_path / name)
    rex, mask = tmp_path / "rex.png", Image.open(tmp_path / "mask.png")
    subjects = [Subject(rex, mask=mask), Subject(rex, mask="left"), Subject(rex, scale=0.5)]
    record = record_subjects([[rex]] * 3, subjects, [str(tmp_path / "mask.png"), "left", ""])
    records = record([[0.21234567, 0.3, 0.5]] * 3)
    assert [each.mask for each in records] == ["mask.png", "left", None]
    sha256 = file_sha256(tmp_path / "mask.png")
    assert [each.mask_sha256 for each in records] == [sha256, None, None]
    assert (records[2].scale, records[0].sha256) == (0.5, file_sha256(rex))
    assert records[0].coefficients == (0.2123, 0.3, 0.5)


def test_an_adapter_without_part_is_not_named(tmp_path: Path) -> None:
    tiny.adapter().save_pretrained(tmp_path / "mine")
    origin = Origin.read("owner/base", tmp_path / "mine")
    assert (origin.adapter, origin.adapter_sha256) == ("mine", adapter_sha256(tmp_path / "mine"))
    picture = Image.new("RGB", (4, 6))
    asked = {name: getattr(SETTINGS, name) for name in ("prompt", "seed", "steps", "guidance")}
    asked |= {"branches": "image", "overlap": "sum", "image_guidance": 3.0}
    alone = origin.describe(picture, **asked)
    assert (alone.adapter, alone.adapter_sha256, alone.height) == (None, None, 6)
    with_it = origin.describe(picture, SETTINGS.subjects, **asked)
    assert with_it.adapter == "mine"
    assert [each.image_guidance for each in (alone, with_it)] == [1, 3]
    assert Origin.read("owner/base") == Origin("owner/base")


def test_hash_and_versions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert installed_versions()["dynaip"]
