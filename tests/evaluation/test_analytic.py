"""The reader without training knows nothing but the letters' strokes."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.evaluation.analytic import read_letter
from dynaip.evaluation.factors import UNANSWERABLE, probed_values
from dynaip.evaluation.miniature import adapter_trials
from dynaip.miniature.toyland import render

GLYPHS = probed_values()["glyph"]


@pytest.mark.parametrize("upside", [1, -1])
def test_letters_are_read_off_subjects_as_they_stand(upside: int) -> None:
    specs = [trial.target for trial in adapter_trials(72, seed=3)]
    lettered = [spec for spec in specs if len(spec.actors[0].concept.glyph) == 1]
    assert len(lettered) > 30
    right = 0
    for spec in lettered:
        picture = render(spec, 64)
        seen = read_letter(picture.image[::upside], picture.masks[0][::upside], GLYPHS)
        right += GLYPHS[seen] == spec.actors[0].concept.glyph
    share = right / len(lettered)
    assert share > 0.85 if upside == 1 else share < 0.5


def test_company_changes_no_letter() -> None:
    specs = [trial.target for trial in adapter_trials(16, seed=3)]
    lettered = [spec for spec in specs if len(spec.actors[0].concept.glyph) == 1]
    first, second = (render(spec, 64) for spec in lettered[:2])
    both = np.hstack([first.image, second.image])
    nothing = np.zeros((64, 64), bool)
    masks = np.hstack([first.masks[0], nothing]), np.hstack([nothing, second.masks[0]])
    alone = [read_letter(part.image, part.masks[0], GLYPHS) for part in (first, second)]
    assert alone[0] != alone[1]
    assert [read_letter(both, mask, GLYPHS) for mask in masks] == alone


def test_nothing_is_no_letter() -> None:
    picture = np.full((32, 32, 3), 30, np.uint8)
    everywhere = np.ones((32, 32), bool)
    assert read_letter(picture, everywhere, GLYPHS) == UNANSWERABLE
    assert read_letter(picture, ~everywhere, GLYPHS) == UNANSWERABLE
