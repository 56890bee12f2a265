"""The page as a file: all inside, nothing that names a method, nothing that a prompt breaks."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from evaluation.study.cases import COLOURS
from PIL import Image

from dynaip.evaluation.study.design import Study
from dynaip.evaluation.study.page import embedded, study_page
from dynaip.evaluation.study.votes import study_of_page


@pytest.fixture(scope="module")
def page(study: Study) -> str:
    return study_page(study, title="Toys & <games>")


def data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_nothing_names_a_method(page: str) -> None:
    assert "default-src 'none'" in page
    words = json.dumps({**data(page), "pictures": {}})
    for name in (*COLOURS, "expected", "case-"):
        assert name not in words
    assert [len(group) for group in data(page)["groups"]] == [5, 5]


def test_prompts_are_data(page: str) -> None:
    prompt = data(page)["groups"][0][0]["prompt"]
    assert prompt.endswith('</script><b>"bold"</b> & @data@')
    assert "<title>Toys &amp; &lt;games></title>" in page


def test_pictures_are_whole_and_say_nothing_of_their_maker(study: Study, page: str) -> None:
    pair = study.groups["rival"][0]
    for token, method in pair.methods.items():
        raw = base64.b64decode(data(page)["pictures"][token].partition(",")[2])
        assert b"made by" not in raw
        picture = Image.open(io.BytesIO(raw))
        assert picture.convert("RGB").getpixel((5, 5)) == COLOURS[method]


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "large.png")
    raw = base64.b64decode(embedded(tmp_path / "large.png", 100).partition(",")[2])
    assert Image.open(io.BytesIO(raw)).size == (100, 50)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "cutout.png")
    raw = base64.b64decode(embedded(tmp_path / "cutout.png", 100).partition(",")[2])
    assert Image.open(io.BytesIO(raw)).convert("RGB").getextrema() == ((255, 255),) * 3


def test_photographs_stand_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (40, 20), "red")
    lying.getexif()[0x0112] = 6  # turn it a quarter
    lying.save(tmp_path / "phone.jpg", exif=lying.getexif())
    raw = base64.b64decode(embedded(tmp_path / "phone.jpg", 100).partition(",")[2])
    assert Image.open(io.BytesIO(raw)).size == (20, 40)


def test_the_file_says_which_study_it_is(page: str, study: Study, tmp_path: Path) -> None:
    (tmp_path / "study.html").write_text(page)
    assert study_of_page(tmp_path / "study.html") == study.id
    (tmp_path / "other.html").write_text("<p>hello</p>")
    with pytest.raises(ValueError, match="no study page"):
        study_of_page(tmp_path / "other.html")
