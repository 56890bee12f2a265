"""`dynaip run` makes the same picture again, or says what it lacks; `dynaip verify` reads it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pngs import mend_checksums

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest, write_manifest
from dynaip.pipeline.provenance import read_settings, save_picture

PROMPT = "a red dog sits on the beach"


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of two subjects, their references, and a mask's file."""
    from dynaip.apps.cli import app
    from dynaip.apps.cli.errors import run

    folder = tmp_path_factory.mktemp("made")
    for name, colour in (("rex.png", "red"), ("mug.png", "blue")):
        Image.new("RGB", (20, 12), colour).save(folder / name)
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    mask.save(folder / "mask.png")
    arguments: list[Any] = ["generate", "--prompt", PROMPT, "--model", model, "--steps", 2]
    arguments += ["--reference", folder / "rex.png", "--mask", folder / "mask.png"]
    arguments += ["--reference", folder / "mug.png", "--mask", "right", "--granularity", "1,0,0"]
    arguments += [
        "--phrase",
        "dog",
        "--phrase",
        "beach",
        "--seed",
        3,
        "--scale",
        0.7,
        "--start",
        0.5,
        "--image-guidance",
        2,
        "--out",
        folder / "a.png",
    ]
    with pytest.raises(SystemExit) as finished:
        run(app, [str(argument) for argument in arguments])
    assert finished.value.code == 0
    return folder


def same(first: Path, second: Path) -> bool:
    return Image.open(first).tobytes() == Image.open(second).tobytes()


def test_the_picture_again(made: Path, model: Path, cli: Any, tmp_path: Path) -> None:
    result = cli("run", made / "a.png", "--model", model, "--out", tmp_path / "b.png", "--json")
    assert result.code == 0, result.err
    assert same(made / "a.png", tmp_path / "b.png")
    assert json.loads(result.out)["prompt"] == PROMPT
    assert json.loads(result.out)["same_pixels"] is True
    assert read_settings(tmp_path / "b.png") == read_settings(made / "a.png")


def test_it_says_whether_the_pixels_are_the_same(
    made: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    def told(picture: Path) -> str:
        options = ("--reference", made, "--model", model, "--out", tmp_path / "again.png")
        result = cli("run", picture, *options)
        assert result.code == 0, result.err
        return result.out.strip().removeprefix(f"{tmp_path / 'again.png'}  seed 3")

    settings, picture = read_settings(made / "a.png"), Image.open(made / "a.png").convert("RGB")
    red, green, blue = picture.getpixel((0, 0))
    one_channel, clear = picture.copy(), picture.convert("RGBA")
    one_channel.putpixel((0, 0), (red, green, 255 - blue))
    clear.putalpha(128)
    changed = {"a": one_channel, "b": clear, "c": picture.resize((16, 16))}
    for name, other in changed.items():
        save_picture(other, tmp_path / f"{name}.png", settings)
        assert told(tmp_path / f"{name}.png").startswith(", not pixel for pixel the same")
    assert told(made / "a.json") == ", pixel for pixel the same"
    # A JSON alone, beside what is no picture, and beside another's picture.
    alone = tmp_path / "alone.json"
    alone.write_text((made / "a.json").read_text())
    assert told(alone) == ""
    (tmp_path / "alone.png").write_bytes(b"no picture")
    assert told(alone) == ""
    save_picture(picture, tmp_path / "alone.png", dataclasses.replace(settings, seed=4))
    alone.write_text((made / "a.json").read_text())
    assert told(alone) == ""


def test_a_mask_painted_in_the_browser_is_in_the_picture(
    made: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    import base64

    settings = read_settings(made / "a.png")
    content = base64.b64encode((made / "mask.png").read_bytes()).decode()
    url = f"data:image/png;base64,{content}"
    painted = dataclasses.replace(settings.subjects[0], mask=url, mask_sha256=None)
    settings = dataclasses.replace(settings, subjects=(painted, settings.subjects[1]))
    save_picture(Image.open(made / "a.png"), tmp_path / "page.png", settings)
    shutil.copy(made / "rex.png", tmp_path / "renamed.png")
    files = ("--reference", tmp_path / "renamed.png", "--reference", made)
    out = ("--out", tmp_path / "b.png")
    result = cli("run", tmp_path / "page.png", *files, "--model", model, *out)
    assert result.code == 0, result.err
    assert same(made / "a.png", tmp_path / "b.png")
    assert read_settings(tmp_path / "b.png").subjects[0].mask == url


def test_all_views_of_a_benchmark_s_subject(
    made: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    files = (made / "rex.png", made / "mug.png")
    box = (1 / 3, 0.0, 2 / 3, 1.0)
    toy = CaseSubject(name="toy", category="toy", kind="object", references=files, box=box)
    case = Case(id="one", prompt=PROMPT, seeds=(3,), subjects=(toy,))
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(Manifest(name="views", settings={}, cases=(case,)), manifest)
    options = ("--model", model, "--out")
    result = cli("bench", "run", manifest, "--steps", 2, *options, tmp_path / "answers")
    assert result.code == 0, result.err
    picture = tmp_path / "answers" / "pictures" / "one" / "0.png"
    settings = read_settings(picture)
    (record,) = settings.subjects
    assert [view.name for view in record.views] == ["rex.png", "mug.png"]
    assert tuple(map(float, (record.mask or "").split(","))) == box
    again = ("run", picture, *options, tmp_path / "b.png", "--reference")
    assert "mug.png is none of the files given" in cli(*again, files[0]).err
    result = cli(*again, made)
    assert result.code == 0, result.err
    assert same(picture, tmp_path / "b.png")
    assert read_settings(tmp_path / "b.png") == settings


def test_what_is_missing_or_changed_is_said(
    made: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    shutil.copy(made / "a.png", tmp_path / "a.png")
    result = cli("run", tmp_path / "a.png", "--model", model)
    assert (result.code, "reference rex.png is not beside" in result.err) == (2, True)
    result = cli("run", tmp_path / "a.png", "--model", model, "--reference", made / "mug.png")
    assert (result.code, "rex.png is none of the files given" in result.err) == (2, True)
    Image.new("RGB", (20, 12), "green").save(tmp_path / "rex.png")
    result = cli("run", tmp_path / "a.png", "--model", model)
    assert (result.code, "has changed" in result.err) == (2, True)
    shutil.copy(made / "rex.png", tmp_path / "rex.png")
    shutil.copy(made / "mug.png", tmp_path / "mug.png")
    result = cli("run", tmp_path / "a.png", "--model", model)
    assert (result.code, "mask mask.png is not beside" in result.err) == (2, True)
    Image.new("L", (32, 32), "white").save(tmp_path / "mask.png")
    result = cli("run", tmp_path / "a.png", "--model", model)
    assert (result.code, "mask.png is not the file" in result.err) == (2, True)
    (tmp_path / "mug.png").unlink()
    (tmp_path / "empty").mkdir()
    given = ("--reference", tmp_path / "empty", "--reference", made / "rex.png")
    result = cli("run", tmp_path / "a.png", "--model", model, *given)
    assert result.code == 2
    assert result.err == (
        f"Error: The reference mug.png is none of the files given ({made / 'rex.png'}), not in "
        f"{tmp_path / 'empty'}, and not beside the picture; give it, or its folder, as "
        "--reference.\n"
    )
    result = cli("run", made / "a.png", "--model", model, "--reference", tmp_path / "none.png")
    assert (result.code, "nothing at" in result.err and "none.png" in result.err) == (2, True)
    Image.new("RGB", (20, 12), "green").save(tmp_path / "cat.png")
    result = cli("run", made / "a.png", "--model", model, "--reference", tmp_path / "cat.png")
    assert (result.code, "was not made from" in result.err and "cat.png" in result.err) == (2, True)
    result = cli("run", made / "a.png")
    assert (result.code, "give it as --model" in result.err) == (2, True)
    result = cli("run", made / "rex.png")
    assert (result.code, "holds no settings" in result.err) == (2, True)


def test_names_in_a_picture_are_not_followed_through_folders(
    made: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    shutil.copy(made / "rex.png", tmp_path / "rex.png")
    settings = read_settings(made / "a.png")
    outside = dataclasses.replace(settings.subjects[0], name="../rex.png")
    settings = dataclasses.replace(settings, subjects=(outside,))
    save_picture(Image.open(made / "a.png"), tmp_path / "inner" / "a.png", settings)
    result = cli("run", tmp_path / "inner" / "a.png", "--model", model)
    assert (result.code, "reference rex.png is not beside" in result.err) == (2, True)


def test_another_adapter_is_refused(made: Path, model: Path, cli: Any, tmp_path: Path) -> None:
    settings = dataclasses.replace(read_settings(made / "a.png"), adapter_sha256="00" * 32)
    save_picture(Image.open(made / "a.png"), tmp_path / "a.png", settings)
    result = cli("run", tmp_path / "a.png", "--reference", made, "--model", model)
    assert (result.code, "other weights" in result.err) == (2, True)


@pytest.mark.parametrize("option", ["--adapter", "--reference"])
def test_a_picture_without_subjects_has_no_use_for_references(
    made: Path, cli: Any, tmp_path: Path, option: str
) -> None:
    settings = dataclasses.replace(read_settings(made / "a.png"), subjects=())
    save_picture(Image.open(made / "a.png"), tmp_path / "a.png", settings)
    result = cli("run", tmp_path / "a.png", option, made)
    assert (result.code, "this picture has none; leave them out" in result.err) == (2, True)


def test_settings_of_another_type_are_one_sentence(made: Path, cli: Any, tmp_path: Path) -> None:
    values = json.loads((made / "a.json").read_text())
    values["subjects"][0]["mask"] = 5
    (tmp_path / "a.json").write_text(json.dumps(values))
    result = cli("run", tmp_path / "a.json")
    assert result.code == 2
    assert result.err == "Error: These are not the settings of a picture (mask is 5).\n"


def test_verify_reads_settings_notice_and_credential(
    made: Path, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = cli("verify", made / "a.png", "--json")
    facts = json.loads(result.out)
    assert (result.code, facts["notice"], facts["settings"]["prompt"]) == (0, True, PROMPT)
    assert facts["credential"]["intact"]
    changed = (made / "a.png").read_bytes().replace(b"AI generated", b"Hand painted")
    (tmp_path / "changed.png").write_bytes(mend_checksums(changed))
    result = cli("verify", tmp_path / "changed.png", "--json")
    assert (result.code, json.loads(result.out)["credential"]["intact"]) == (1, False)
    for verb in ("verify", "inspect"):
        assert "CHANGED since it was signed" in cli(verb, tmp_path / "changed.png").out
        assert "Not changed since" in cli(verb, made / "a.png").out
    assert "nothing shows whether" in cli("inspect", made / "a.json").out
    monkeypatch.setenv("COLUMNS", "60")
    shown = cli("verify", made / "a.png").out
    assert all(subject["sha256"] in shown for subject in facts["settings"]["subjects"])
    result = cli("run", tmp_path / "changed.png")
    assert "so may be its settings" in result.err
    assert cli("verify", made / "rex.png").code == 1
    assert cli("verify", made / "none.png").code == 2
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    result = cli("verify", tmp_path / "photo.jpg", "--json")
    assert (result.code, json.loads(result.out)["credential"]) == (1, "none")
