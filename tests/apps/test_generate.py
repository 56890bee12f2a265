"""`dynaip generate` end to end on a tiny model, and one sentence for everything that is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from dynaip.pipeline.provenance import file_sha256, read_settings


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "rex.png"
    Image.new("RGBA", (30, 20), (200, 40, 30, 128)).save(path)
    return path


@pytest.fixture
def arguments(model: Path, reference: Path, tmp_path: Path) -> list[object]:
    out = ["--out", tmp_path / "out"]
    return ["generate", "--model", model, "--reference", reference, "--steps", 2, *out]


def assert_one_sentence(result: Any, words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert words in result.err
    assert "Traceback" not in result.err


def test_a_picture_with_its_settings(
    cli: Any, arguments: list[object], model: Path, reference: Path, tmp_path: Path
) -> None:
    result = cli(*arguments, "--prompt", "A red dog!", "--seed", 5, "--scale", 0.5)
    assert result.code == 0, result.err
    picture = tmp_path / "out" / "a-red-dog-5.png"
    settings = read_settings(picture)
    assert settings == read_settings(picture.with_suffix(".json"))
    assert (settings.prompt, settings.seed, settings.steps) == ("A red dog!", 5, 2)
    assert (settings.model, settings.adapter, settings.branches) == ("tiny", "adapter", "image")
    assert settings.adapter_sha256 == file_sha256(model / "adapter" / "model.safetensors")
    (subject,) = settings.subjects
    assert (subject.name, subject.scale, subject.granularity) == ("rex.png", 0.5, None)
    assert subject.sha256 == file_sha256(reference)
    assert sum(subject.coefficients) == pytest.approx(1, abs=1e-3)
    low, mid, high = (f"{value:.2f}" for value in subject.coefficients)
    assert f"{low}  {mid}  {high}" in " ".join(result.out.split("\n")).replace("   ", "  ")
    assert str(tmp_path) not in picture.with_suffix(".json").read_text()


def test_the_same_call_makes_the_same_picture_and_overwrites_nothing(
    cli: Any, arguments: list[object], tmp_path: Path
) -> None:
    for _ in range(2):
        assert cli(*arguments, "--prompt", "a dog", "--seed", 1).code == 0
    first, second = (
        np.asarray(Image.open(tmp_path / "out" / name)) for name in ("a-dog-1.png", "a-dog-1-2.png")
    )
    np.testing.assert_array_equal(first, second)


def test_several_pictures_count_their_seeds_up(
    cli: Any, arguments: list[object], tmp_path: Path
) -> None:
    result = cli(*arguments, "--prompt", "a dog", "--seed", 8, "-n", 2, "--json")
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    assert [row["seed"] for row in rows] == [8, 9]
    pictures = [np.asarray(Image.open(row["path"])) for row in rows]
    assert (pictures[0] != pictures[1]).any()
    alone = json.loads(cli(*arguments, "--prompt", "a dog", "--seed", 9, "--json").out)
    np.testing.assert_array_equal(np.asarray(Image.open(alone[0]["path"])), pictures[1])


def test_several_references_with_their_own_settings(
    cli: Any, arguments: list[object], reference: Path, tmp_path: Path
) -> None:
    result = cli(
        *arguments,
        *("--prompt", "two dogs", "--reference", reference, "--json"),
        *("--scale", 0.5, "--scale", 0.7, "--granularity", "1,0,0"),
        *("--branches", "both", "--width", 16, "--height", 24),
    )
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)
    assert [subject["scale"] for subject in row["subjects"]] == [0.5, 0.7]
    assert [subject["coefficients"] for subject in row["subjects"]] == [[1, 0, 0]] * 2
    assert (row["branches"], row["width"], row["height"]) == ("both", 16, 24)
    assert Image.open(row["path"]).size == (16, 24)


def test_places_and_times_are_used_and_kept(
    cli: Any, arguments: list[object], reference: Path, tmp_path: Path
) -> None:
    call = [*arguments, "--reference", reference, "--prompt", "two dogs", "--seed", 1, "--json"]
    placed = [*call, "--mask", "halves", "--start", 0.5, "--end", 1, "--overlap", "priority"]
    rows = [json.loads(cli(*each).out)[0] for each in (call, placed)]
    subjects = rows[1]["subjects"]
    assert [(s["mask"], s["start"], s["end"]) for s in subjects] == [("halves", 0.5, 1.0)] * 2
    assert rows[1]["overlap"] == "priority"
    pictures = [np.asarray(Image.open(row["path"])) for row in rows]
    assert (pictures[0] != pictures[1]).any()


def test_phrases_are_used_and_kept(
    cli: Any, arguments: list[object], reference: Path, tmp_path: Path
) -> None:
    call = [*arguments, "--reference", reference, "--prompt", "two red dogs", "--seed", 1]
    phrased = [*call, "--phrase", "Dogs", "--phrase", ""]
    rows = [json.loads(cli(*each, "--json").out)[0] for each in (call, phrased)]
    assert [row["branches"] for row in rows] == ["image", "both"]
    told = [[subject["phrase"] for subject in row["subjects"]] for row in rows]
    assert told == [[None, None], ["Dogs", None]]
    pictures = [np.asarray(Image.open(row["path"])) for row in rows]
    assert (pictures[0] != pictures[1]).any()
    tables = [cli(*each).out for each in (call, phrased)]
    assert ["Dogs" in table for table in tables] == [False, True]


def test_image_guidance_is_used_and_kept(cli: Any, arguments: list[object], tmp_path: Path) -> None:
    call = [*arguments, "--prompt", "a red dog", "--seed", 1, "--json"]
    rows = [json.loads(cli(*call, *more).out)[0] for more in ([], ["--image-guidance", 3])]
    assert [row["image_guidance"] for row in rows] == [1, 3]
    pictures = [np.asarray(Image.open(row["path"])) for row in rows]
    assert (pictures[0] != pictures[1]).any()
    beside = ["--model", arguments[2], "--reference", tmp_path]
    again = cli("run", rows[1]["path"], *beside, "--out", tmp_path / "again")
    assert "pixel for pixel the same" in again.out, again.err
    assert "Image guidance: 3.0" in Image.open(rows[1]["path"]).info["parameters"]


def test_guidance_is_the_models_own(
    cli: Any, arguments: list[object], model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    told = "---\ninference: {parameters: {guidance_scale: 2}}\n---\n"
    (own / "README.md").write_text(told)
    call = ["--prompt", "a dog", "--seed", 1, "--json"]
    rows = [
        json.loads(cli(*arguments, *call, *more).out)[0]
        for more in ([], ["--model", own], ["--model", own, "--guidance", 0])
    ]
    assert [row["guidance"] for row in rows] == [3.5, 2, 0]


def test_subjects_with_their_places(cli: Any, model: Path, reference: Path, tmp_path: Path) -> None:
    mug = tmp_path / "mug@home.png"
    Image.new("RGB", (20, 20), "blue").save(mug)
    call = ["generate", "--model", model, "--prompt", "a dog", "--steps", 2, "--seed", 1, "--json"]
    references = ["--reference", reference, "--reference", mug]
    options = [
        ["--subject", f"{reference}@left", "--subject", f"{mug}@right"],
        [*references, "--mask", "left", "--mask", "right"],
        ["--subject", f"{reference}@right", "--subject", f"{mug}@left"],
        ["--subject", f"{reference}@0,0,0.5,1", "--subject", mug],
        ["--subject", reference, "--subject", mug],
    ]
    pictures, places = [], []
    for index, option in enumerate(options):
        result = cli(*call, *option, "--out", tmp_path / f"{index}.png")
        assert result.code == 0, result.err
        (row,) = json.loads(result.out)
        assert [subject["name"] for subject in row["subjects"]] == ["rex.png", "mug@home.png"]
        places.append([subject["mask"] for subject in row["subjects"]])
        pictures.append(np.asarray(Image.open(row["path"])).tobytes())
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 4
    assert places[:3] == [["left", "right"], ["left", "right"], ["right", "left"]]
    assert places[3:] == [["0,0,0.5,1", None], [None, None]]


def test_subjects_and_references_do_not_mix(cli: Any, arguments: list[object]) -> None:
    result = cli(*arguments, "--prompt", "a dog", "--subject", "rex.png@left")
    assert_one_sentence(result, "leave out --reference and --mask")


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("nowhere.png@left", "no picture file"),
        ("{}@nowhere", "left, middle, right"),
        ("{}@0,0,2,1", "in fractions of the picture"),
        ("{}@0.5,0,0.5,1", "left < right"),
    ],
)
def test_a_wrong_subject_is_one_sentence(
    cli: Any, model: Path, reference: Path, subject: str, words: str
) -> None:
    call = ["generate", "--model", model, "--prompt", "a dog", "--subject"]
    assert_one_sentence(cli(*call, subject.format(reference)), words)


def test_a_card_makes_what_its_picture_makes(
    cli: Any, arguments: list[object], model: Path, reference: Path, tmp_path: Path
) -> None:
    card = tmp_path / "rex.safetensors"
    result = cli("encode", reference, "-o", card, "--model", model, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["bytes"] == card.stat().st_size
    options = ["--steps", 2, "--prompt", "a dog", "--seed", 1, "--json", "--out", tmp_path]
    pictures = []
    for given in (reference, card):
        result = cli("generate", "--model", model, "--reference", given, *options)
        assert result.code == 0, result.err
        pictures.append(np.asarray(Image.open(json.loads(result.out)[0]["path"])))
    np.testing.assert_array_equal(*pictures)


def test_granularity_of_a_card_that_leaves_it_open_is_refused_at_once(
    cli: Any, reference: Path, tmp_path: Path
) -> None:
    """Before a model is loaded: this one is not even there."""
    options = ("-o", tmp_path / "rex.safetensors", "--model", tmp_path / "nowhere")
    result = cli("encode", reference, *options, "--granularity", "1,0,0")
    assert_one_sentence(result, "--granularity is for --fused")


def test_options_change_the_picture(cli: Any, arguments: list[object], tmp_path: Path) -> None:
    options = [[], ["--scale", 0], ["--granularity", "0,0,1"], ["--branches", "text"]]
    pictures = []
    for index, option in enumerate(options):
        path = tmp_path / f"{index}.png"
        result = cli(*arguments, "--prompt", "a dog", "--seed", 1, *option, "--out", path)
        assert result.code == 0, result.err
        pictures.append(np.asarray(Image.open(path)).tobytes())
    assert len(set(pictures)) == len(options)


def test_without_a_reference_it_is_the_base(cli: Any, model: Path, tmp_path: Path) -> None:
    plain = ["generate", "--model", model, "--prompt", "a dog", "--steps", 2, "--seed", 1]
    result = cli(*plain, "--json", "--out", tmp_path)
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)
    assert (row["subjects"], row["adapter"]) == ([], None)
    assert (row["width"], row["height"]) == (32, 32)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--granularity", "0.5,0.5,0.5"], "sum to 1"),
        (["--granularity", "-1,1,1"], "none negative"),
        (["--granularity", "low"], "three numbers with commas"),
        (["--granularity", "1,0"], "3 numbers"),
        (["--scale", "-1"], "scale must be"),
        (["--scale", "nan"], "scale must be"),
        (["--scale", "1", "--scale", "2"], "once for each"),
        (["--branches", "left"], "image, text or both"),
        (["--mask", "halves"], "for 2 subjects, and there are 1"),
        (["--mask", "left", "--mask", "right"], "given 2 times for 1"),
        (["--mask", "0,0,2,1"], "in fractions of the picture"),
        (["--start", "1"], "0 <= start < end <= 1"),
        (["--phrase", "cat"], "does not say 'cat'"),
        (["--phrase", " "], "A phrase is words of the prompt"),
        (["--phrase", "dog", "--phrase", "a"], "given 2 time(s) for 1 reference"),
        (["--phrase", "dog", "--branches", "image"], "with branches 'image'"),
        (["--overlap", "most"], "sum, normalise or priority"),
        (["--reference", "nowhere.png"], "no picture file"),
        (["--adapter", "no/where/at/all"], "no adapter folder"),
        (["-n", "2", "--out", "one.png"], "cannot hold several"),
        (["-n", "2", "--seed", "4294967295"], "pass the largest, 4294967295"),
        (["--width", "18"], "give 16 or 20"),
        (["--height", "3"], "give 4"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    cli: Any, arguments: list[object], option: list[str], words: str
) -> None:
    assert_one_sentence(cli(*arguments, "--prompt", "a dog", *option), words)


def test_what_is_refused_at_once_leaves_no_folder(
    cli: Any, arguments: list[object], tmp_path: Path
) -> None:
    assert cli(*arguments, "--prompt", "a dog", "--granularity", "1,1,1").code == 2
    assert not (tmp_path / "out").exists()


def test_slips_are_told_before_torch_is_imported(reference: Path, tmp_path: Path) -> None:
    code = """
import json, sys
from dynaip.apps.cli import app
from dynaip.apps.cli.errors import run
for arguments in json.loads(sys.argv[1]):
    try:
        run(app, arguments)
    except SystemExit:
        print(arguments[-2], "torch" in sys.modules)
"""
    slips = [
        ["--granularity", "1,2"],
        ["--scale", "nan"],
        ["--start", "2"],
        ["--phrase", " "],
        ["--branches", "foo"],
        ["--overlap", "most"],
    ]
    call = ["generate", "--prompt", "a dog", "--reference", str(reference)]
    command = [sys.executable, "-c", code, json.dumps([[*call, *slip] for slip in slips])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == [f"{option} False" for option, _ in slips]
    assert done.stderr.count("Error: ") == len(slips)


def test_a_wrong_model_is_one_sentence(cli: Any, arguments: list[object], tmp_path: Path) -> None:
    call = [*arguments, "--prompt", "a dog", "--model"]
    assert_one_sentence(cli(*call, tmp_path), "no adapter in")
    assert_one_sentence(cli(*call, tmp_path / "nowhere"), "check --model")
    assert_one_sentence(
        cli("generate", "--prompt", "a dog", "--model", tmp_path), "model_index.json is missing"
    )


def test_options_about_references_need_one(cli: Any, model: Path) -> None:
    call = ["generate", "--model", model, "--prompt", "a dog"]
    assert_one_sentence(cli(*call, "--branches", "text"), "give a --subject or a --reference")


def test_a_reference_is_not_written_over(
    cli: Any, arguments: list[object], reference: Path
) -> None:
    before = reference.read_bytes()
    result = cli(*arguments, "--prompt", "a dog", "--out", reference)
    assert_one_sentence(result, "is what the picture is made from")
    assert reference.read_bytes() == before


def test_a_damaged_adapter_is_one_sentence(
    cli: Any, arguments: list[object], model: Path, tmp_path: Path
) -> None:
    weights = (model / "adapter" / "model.safetensors").read_bytes()
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "config.json").write_bytes((model / "adapter" / "config.json").read_bytes())
    flipped = bytearray(weights)
    flipped[-9] ^= 1
    for content in (weights[:-100], bytes(flipped)):
        (folder / "model.safetensors").write_bytes(content)
        call = [*arguments, "--prompt", "a dog", "--adapter", folder]
        assert_one_sentence(cli(*call), "model.safetensors")


def test_an_adapter_for_another_base_is_one_sentence(
    cli: Any, arguments: list[object], tmp_path: Path
) -> None:
    tiny.adapter(single_blocks=3).save_pretrained(tmp_path / "other")
    result = cli(*arguments, "--prompt", "a dog", "--adapter", tmp_path / "other")
    assert_one_sentence(result, "use the base that the adapter was trained on")


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(
    cli: Any, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_one_sentence(cli(*arguments, "--prompt", "a dog"), "disk is full")
    assert list((tmp_path / "out").iterdir()) == []
