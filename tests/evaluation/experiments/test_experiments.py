"""The experiments: systems of known worth go through them, and a tiny model runs them all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from experimenting import laboratory
from knowing import SIZE, Knowing
from PIL import Image

from dynaip.adapter.attention import OVERLAPS
from dynaip.adapter.config import BRANCHES
from dynaip.analysis.attention_maps import picture_attention
from dynaip.analysis.evidence_figures import FIGURES, draw_evidence
from dynaip.evaluation.evidence import read_rows, write_evidence
from dynaip.evaluation.experiments import EXPERIMENTS, Laboratory
from dynaip.evaluation.experiments.branches import CHANGED, attention_maps, changed, transfer_matrix
from dynaip.evaluation.experiments.laboratory import PerSubject
from dynaip.evaluation.experiments.methods import with_word
from dynaip.evaluation.experiments.several import USES, Group
from dynaip.evaluation.experiments.strength import SWEEPS
from dynaip.evaluation.experiments.table import WAYS
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels, probed_values
from dynaip.evaluation.generation import Request, Use, hash_weights
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.casting import InstanceFinder, read_cast
from dynaip.evaluation.truth.confusion import LIGHT_ANGLES, Cast
from dynaip.evaluation.truth.references import SINGLE, copy_source, with_concepts
from dynaip.miniature.toyland import Spec, is_held_out, render, segment
from dynaip.pipeline.subject import Subject, token_mask


class Copier:
    """Draws what `show` makes of the picture that the reference was cut from."""

    def __init__(self, probe: Knowing, lab: Laboratory, show: Callable[[Spec, Spec], Spec]) -> None:
        self.identity = {"adapter": "copier"}
        self.probe, self.show, self.size = probe, show, lab.reference_size
        self.sources: dict[bytes, Spec] = {}
        self.targets = {trial.seed: trial.target for trial in lab.trials}
        for trial in lab.trials:
            for spec in (copy_source(trial), *(changed(trial, factor) for factor in CHANGED)):
                pixels = segment(spec, size=self.size)
                self.sources[pixels.tobytes()] = spec
                self.sources[np.roll(pixels, 1, axis=1).tobytes()] = spec

    def __call__(self, requests: Sequence[Request]) -> np.ndarray:
        pictures = []
        for request in requests:
            source = self.sources[request.references[0].tobytes()]
            pictures.append(self.probe.draw(self.show(source, self.targets[request.seed])))
        return np.stack(pictures)


def matrix_diagonal(row: dict[str, Any], name: str) -> Any:
    """As the matrix has it, which is rounded."""
    cell = row["matrix"][row["outputs"].index(name)][row["inputs"].index(name)]
    return pytest.approx(cell, abs=1e-4)


def keep(source: Spec, target: Spec) -> Spec:
    """The reference's subject, as the prompt wants it."""
    return with_concepts(target, [source.actors[0].concept])


@pytest.mark.parametrize(
    ("show", "agnostic", "dts"), [(keep, 0.0, 1.0), (lambda source, _: source, 1.0, 0.0)]
)
def test_the_matrix_tells_a_copy_from_the_subject_alone(
    show: Callable[[Spec, Spec], Spec], agnostic: float, dts: float, model: Path, tmp_path: Path
) -> None:
    probe = Knowing()
    lab = laboratory(model, tmp_path, probe, 12)
    lab.__dict__["readable"] = frozenset(probed_values())
    row = transfer_matrix(lab, "image", Copier(probe, lab, show))
    assert all(value == matrix_diagonal(row, name) for name, (value, *_) in row["diagonal"].items())
    assert row["pictures"] == 6
    matrix = np.array(row["matrix"])
    for column, factor in enumerate(row["inputs"]):
        wanted = 1.0 if factor in CONCEPT_FACTORS else agnostic
        for line, output in enumerate(row["outputs"]):
            expected = wanted if output == factor else 0.0
            # By chance another factor may follow: a new main colour may be what the second was.
            assert matrix[line, column] == pytest.approx(expected, abs=0.01), (output, factor)
    assert row["dts"] == pytest.approx([dts] * 3)


def test_one_factor_of_a_reference_is_changed_and_no_other(model: Path, tmp_path: Path) -> None:
    values = probed_values()
    for trial in laboratory(model, tmp_path, Knowing(), 20).trials:
        before = labels([copy_source(trial)], values)
        for factor in CHANGED:
            after = labels([changed(trial, factor)], values)
            differs = {name for name in values if before[name] != after[name]}
            # Strings of two letters have no label of their own.
            assert differs == {factor}, (factor, differs)
    with pytest.raises(ValueError, match="cannot be changed alone"):
        changed(trial, "scene")


def test_groups_are_held_out_and_asked_for_where_they_stand() -> None:
    for index in range(10):
        group = Group.draw(0, index, 3)
        assert all(is_held_out(actor.concept) for actor in group.target.actors)
        request = group.request(16, SIZE)
        assert len(request.references) == len(request.boxes) == 3
        for actor, source, mask, box in zip(
            group.target.actors,
            group.sources,
            render(group.target, SIZE).masks,
            request.boxes,
            strict=True,
        ):
            assert source.actors[0].concept == actor.concept
            left, top, right, bottom = (edge * SIZE for edge in box)
            y, x = np.nonzero(mask)
            assert left <= x.min() < x.max() < right
            assert top <= y.min() < y.max() < bottom
        alone = group.alone(1).request(16, SIZE)
        assert alone.seed == request.seed
        assert np.array_equal(alone.references[0], request.references[1])
        assert len(alone.boxes) == 1


def test_a_subject_by_itself_is_the_same_picture_under_every_overlap_rule(
    model: Path, tmp_path: Path
) -> None:
    """So that `several` may draw it once: bit for bit, and its box ends within tokens."""
    lab = laboratory(model, tmp_path, Knowing(), 2)
    request = Group.draw(0, 0, 2).alone(1).request(lab.reference_size, SIZE)
    side = tiny.SIZE // 4
    mask = token_mask(request.boxes[0], (side, side))
    assert ((mask > 0) & (mask < 1)).any()
    for branches in BRANCHES:
        with lab.attached("full") as (_, put):
            ways = [put(Use(branches=branches, overlap=overlap)) for overlap in OVERLAPS]
            first, *others = (way([request]) for way in ways)
            base = lab.base([request])
        assert (first != base).any()
        assert all((first == other).all() for other in others)


def test_maps_of_the_first_trials_are_in_rows_and_drawn_from_them(
    model: Path, tmp_path: Path
) -> None:
    """As `picture_attention` makes them, of the pictures that wait, in every run alike."""
    lab = laboratory(model, tmp_path, Knowing(), 5)
    rows, trials = [], lab.trials[:3]
    requests = [trial.request(lab.reference_size) for trial in trials]
    for name in ("text", "image"):
        with lab.attached("full") as (personal, put):
            way = put(Use(branches=name))
            row = json.loads(json.dumps(attention_maps(lab, personal, name, way)))
            rows.append(row)
            assert row["pictures"] == len(row["shown"]) == 3
            pictures = lab.pictures("full", way, requests)
            for trial, request, picture, shown in zip(
                trials, requests, pictures, row["shown"], strict=True
            ):
                drawn, (reference,) = Image.fromarray(picture), request.references
                maps = picture_attention(
                    personal,
                    drawn,
                    trial.prompt,
                    [Subject(Image.fromarray(reference))],
                    noise=row["noise"],
                    branches=name,
                    seed=trial.seed,
                )
                near = {"rtol": 0, "atol": 1e-5}
                shares = maps.reference[name][0, 0, 0]
                np.testing.assert_allclose(shown["over_reference"], shares, **near)
                if name == "image":
                    np.testing.assert_allclose(shown["over_picture"], maps.picture[0, 0], **near)
                assert ("over_picture" in shown) == (name == "image")
    assert len(list(tmp_path.rglob("*.png"))) == 3 * 2
    figure = FIGURES["branches"]["attention"](rows)
    assert figure is not None
    (text, image), axes = (row["shown"][1] for row in rows), figure.axes[6:12]
    heats = [np.asarray(ax.images[1].get_array()).tolist() for ax in axes if len(ax.images) > 1]
    assert heats == [text["over_reference"], image["over_reference"], image["over_picture"]]
    scales = [ax.images[1].get_clim() for ax in axes if len(ax.images) > 1]
    assert scales[0] == scales[1]
    plain = [np.asarray(axes[column].images[0].get_array()) for column in (0, 2, 4)]
    made = [np.asarray(Image.open(file)) for file in sorted(tmp_path.rglob("00001-*.png"))]
    assert (plain[0] == requests[1].references[0]).all()
    assert any((plain[1] == each).all() for each in made)
    assert any((plain[2] == each).all() for each in made)
    assert (plain[1] != plain[2]).any()


def in_one_light(
    probe: Probe, finder: InstanceFinder, targets: Sequence[Spec], pictures: np.ndarray
) -> Cast:
    """As it should be on company; by themselves, from the left on whoever stands there."""
    cast = read_cast(probe, finder, targets, pictures)
    if len(targets[0].actors) > 1:
        angles = [[LIGHT_ANGLES[target.light.direction]] for target in targets]
    else:
        angles = [[180.0 * (t.actors[0].view.position == "left")] for t in targets]
    light = np.broadcast_to(np.radians(angles), cast.present.shape)
    return dataclasses.replace(cast, light=light)


def test_a_tiny_model_runs_all_and_its_page_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained probe reads nothing well, so the bar is lowered: what counts is the path."""
    monkeypatch.setattr("dynaip.evaluation.experiments.several.MEASURABLE", 0.0)
    monkeypatch.setattr("dynaip.evaluation.experiments.laboratory.MEASURABLE", 0.0)
    monkeypatch.setattr("dynaip.evaluation.experiments.several.read_cast", in_one_light)
    config = ProbeConfig(values=probed_values(), size=SIZE, widths=(4, 4))
    lab = laboratory(model, tmp_path / "pictures", Probe(config), 4)
    fits: list[tuple[int, str, int]] = []

    def fit(views: Sequence[Any], others: Sequence[Any], folder: Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        fits.append((len(views), views[0][1], len(others)))
        return lab.pipe

    lab = dataclasses.replace(
        lab, methods=(PerSubject(name="fitted", word="sks", settings={}, fit=fit),)
    )
    marks = {"probe": "p", "seed": 0, "dynaip": "0"}
    for name, experiment in EXPERIMENTS.items():
        rows = [{"experiment": name, **row, **marks} for row in experiment(lab)]
        lines = [json.dumps(jsonable(row), allow_nan=False) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    found = read_rows(tmp_path)
    assert list(found) == list(EXPERIMENTS)
    assert [row["name"] for row in found["table"]] == [*SINGLE, "base", *WAYS, "samples"]
    method, *others = found["table"][-1 - len(WAYS) : -1]
    assert "against_method" not in method
    for row in others:
        assert row["against_method"].keys() > {"cp", "pf", "strange"}
    assert [row["own_words"] for row in (method, *others)] == [False, False, True, False]
    assert [row["image_guidance"] for row in (method, *others)] == [1, 1, 1, 3]
    kept = [row["variant"] for row in found["ablation"] if "cp" in row and "variant" in row]
    told = [(row["variant"], row["name"]) for row in found["ablation"] if "sigmas" in row]
    assert kept == ["full", "add"]
    assert told == [(variant, "image") for variant in kept]
    assert {row["name"] for row in found["seeds"] if "sigmas" in row} == {"image"}
    repeated = [row["variant"] for row in found["seeds"] if "cp" in row]
    assert repeated == ["full", "full-seed1", "add", "add-seed1"]
    base, image, *others = found["details"][-1 - len(WAYS) :]
    assert [row["name"] for row in (base, image, *others)] == ["base", *WAYS]
    assert "against_method" not in image
    for row in (base, *others):
        for name, test in row["against_method"].items():
            less = row["details"][name][0] - image["details"][name][0]
            assert test["difference"][0] == pytest.approx(less), name
    swept = [row["name"] for row in found["strength"][1:-1]]
    assert swept == [f"{name}, {number:g}" for name, ways in SWEEPS.items() for number in ways]
    assert [row["image_guidance"] for row in found["strength"][-9:-1]] == [1, 2, 3, 5] * 2
    assert found["strength"][-1]["areas"].keys() == SWEEPS.keys()
    ways = ["text only", "full", "full, guided", "fitted"]
    assert [row["name"] for row in found["methods"]] == ways
    assert [row.get("image_guidance") for row in found["methods"]] == [None, 1, 3, None]
    without, once, again, fit = (row["seconds_per_subject"] for row in found["methods"])
    assert 0 == without < once == again
    assert fit > 0
    assert ["against_method" in row for row in found["methods"]] == [True, False, True, True]
    ((views, words, others),) = fits
    assert (views, others) == (5, 8)
    assert "sks " in words
    assert [row["scale"] for row in found["strength"][1:3]] == [0.25, 0.5]
    assert [row["branches"] for row in found["denoising"]] == list(BRANCHES)
    assert all("against_method" not in row for row in found["denoising"])
    after = [row for row in found["intra"] if "adapter" in row]
    assert {row["variant"] for row in after} == {"intra"}
    assert {row["adapter"] for row in after} == {hash_weights(model / "add")}
    for kind in ("cp", "matrix", "sigmas"):
        ways = [row["name"] for row in after if kind in row]
        assert ways == list(BRANCHES), kind
    assert sum(row.get("granularity") is not None for row in found["granularity"]) == 10
    assert {row["name"] for row in found["router"]} == {"coefficients", "glyph", "fine pattern"}
    *several, samples = found["several"]
    for row in several:
        rule = row["name"].partition(", ")[2]
        assert ("against_method" in row) == (rule != "image, sum"), row["name"]
        if rule == "image, sum":
            method = row
        for kind, test in row.get("against_method", {}).items():
            less = row["outcomes"][kind] - method["outcomes"][kind]
            assert test["difference"][0] == pytest.approx(less), (row["name"], kind)
    assert {row["image_guidance"] for row in several if "guided" in row["name"]} == {3}
    left, right = samples["shown"]["left"][0], samples["shown"]["right"][0]
    assert left != right
    for row in several:
        assert sum(row["outcomes"].values()) == pytest.approx(1)
        assert [*row["harmony"]["together"], row["harmony"]["ceiling"]] == pytest.approx([1] * 4)
        assert row["light_ceiling"] == 1
        assert row["harmony"]["alone"][0] == pytest.approx({2: 0, 3: 1 / 3}[row["subjects"]])
    # Once for every rule of overlap: 2 and 3 subjects of 4 groups, in each of the ways.
    assert len(list((lab.folder / "1 subjects").iterdir())) == (2 + 3) * 4 * len(WAYS)
    assert all(row["adapter"] for rows in found.values() for row in rows if "variant" in row)
    figures = draw_evidence(found, tmp_path / "page")
    assert {"branches", "router", "layers", "several"} <= figures.keys()
    assert [path.stem for path in figures["denoising"]] == ["denoising"]
    with Image.open(figures["denoising"][0]) as figure:
        assert (figure.mode, round(figure.info["dpi"][0])) == ("P", 150)
    assert [path.stem for path in figures["intra"]] == ["intra", "intra-loss"]
    assert [path.stem for path in figures["ablation"]][-2:] == ["ablation-loss", "ablation-samples"]
    assert [path.stem for path in figures["table"]][-1] == "samples"
    assert [path.stem for path in figures["several"]] == ["several", "several-samples"]
    assert [path.stem for path in figures["router"]] == ["coefficients", "router"]
    (coefficients,) = (row for row in found["router"] if row["name"] == "coefficients")
    assert all(
        sum(one["coefficients"]) == pytest.approx(1, abs=1e-3) for one in coefficients["shown"]
    )
    assert [row["layer"] for row in found["layers"]] == [0, 1, 2, 3]
    page = write_evidence(found, figures, tmp_path / "page").read_text()
    for words in (
        "## Table 2",
        "What each branch carries (Section B.6): transfer, reference on image rows",
        "## After stage 1, on intra-pairs alone (Sections 4.1, B.1)\n",
        "## After stage 1, on intra-pairs alone (Sections 4.1, B.1), by the loss",
        "alone (Sections 4.1, B.1): transfer, reference on text rows",
        "branches.png",
        "![attention](attention.png)",
        "the first 3 of the trials",
        "composition",
        "one light",
        "B2 oracle | ",
        "difference from the method",
        "w/o DDS | 0.785 | 0.799",
        "How each tier rises",
        "## What a reference tells each branch, by the loss",
        "## Table 2: what is trained",
        "## Table 2: what is trained, by the loss",
        "## Designs and the luck of a training: the loss, on image rows",
        "2AFC letter",
    ):
        assert words in page
    assert f"adapter full `{found['table'][-2]['adapter']}`" in page

    before = sorted(path.name for path in tmp_path.rglob("pictures/**/*.png"))
    again = [jsonable(row) for row in EXPERIMENTS["table"](lab)]
    assert all(row.items() <= old.items() for row, old in zip(again, found["table"], strict=True))
    assert sorted(path.name for path in tmp_path.rglob("pictures/**/*.png")) == before


def test_as_many_subjects_as_cannot_be_read_are_said_to_be(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ProbeConfig(values=probed_values(), size=SIZE, widths=(4, 4))
    lab = laboratory(model, tmp_path, Probe(config), 2)

    def nearsighted(cast: Cast) -> dict[str, float]:
        best = 0.95 if cast.present.shape[1] == 2 else 0.88
        return dict.fromkeys(cast.wanted, 0.1) | {"main_colour": best}

    monkeypatch.setattr("dynaip.evaluation.experiments.several._accuracies", nearsighted)
    rows = [jsonable(row) for row in EXPERIMENTS["several"](lab)]
    assert [row.get("subjects") for row in rows] == [2] * len(USES) + [3, None]
    assert all(list(row["ceilings"]) == ["main_colour"] for row in rows[: len(USES)])
    marks = {"experiment": "several", "probe": "p", "seed": 0, "dynaip": "0"}
    found = {"several": [{**marks, **row} for row in rows]}
    page = write_evidence(found, draw_evidence(found, tmp_path), tmp_path).read_text()
    assert "3 subjects cannot be measured: of main colour, which the probe reads best" in page
    assert "it reads 0.880 right" in page
    assert page.count("| 2 subjects, ") == 2 * len(USES)


def test_outcomes_are_tested_against_the_methods_own_way(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of the first way are right, of the others one subject is missing."""
    monkeypatch.setattr("dynaip.evaluation.experiments.several.MEASURABLE", 0.0)
    became = iter(["correct", *["omission"] * (len(USES) - 1)] * 2)
    monkeypatch.setattr(
        "dynaip.evaluation.experiments.several.outcomes",
        lambda cast, *_: [next(became)] * len(cast.present),
    )
    config = ProbeConfig(values=probed_values(), size=SIZE, widths=(4, 4))
    *rows, _ = EXPERIMENTS["several"](laboratory(model, tmp_path, Probe(config), 2))
    for row in rows:
        if row["name"].endswith("image, sum"):
            assert row["outcomes"]["correct"] == 1
            assert "against_method" not in row
        else:
            less = {kind: each["difference"][0] for kind, each in row["against_method"].items()}
            assert less == dict.fromkeys(less, 0) | {"correct": -1, "omission": 1}


def test_several_subjects_need_instruments(model: Path, tmp_path: Path) -> None:
    config = ProbeConfig(values=probed_values(), size=SIZE, widths=(4, 4))
    lab = laboratory(model, tmp_path, Probe(config), 2)
    with pytest.raises(ValueError, match="reads no factor right"):
        next(EXPERIMENTS["several"](lab))
    blind = dataclasses.replace(lab, finder=None)
    with pytest.raises(ValueError, match="train-detector"):
        next(EXPERIMENTS["several"](blind))


def test_experiments_need_the_adapters_that_they_are_about(model: Path, tmp_path: Path) -> None:
    lab = dataclasses.replace(laboratory(model, tmp_path, Knowing(), 2), variants={})
    with pytest.raises(ValueError, match="trained alike"):
        next(EXPERIMENTS["ablation"](lab))
    with pytest.raises(ValueError, match="none was given"):
        next(EXPERIMENTS["intra"](dataclasses.replace(lab, intra=None)))


def test_rows_that_need_a_router_leave_other_fusions_out(model: Path, tmp_path: Path) -> None:
    tiny.adapter(fusion="add").save_pretrained(tmp_path / "add")
    probe = Probe(ProbeConfig(values=probed_values(), size=SIZE, widths=(4, 4)))
    lab = laboratory(model, tmp_path, probe, 2)
    lab = dataclasses.replace(lab, adapters={"add": tmp_path / "add"})
    assert list(EXPERIMENTS["router"](lab)) == []
    (tmp_path / "router.jsonl").write_text("")
    with pytest.raises(ValueError, match="no rows"):
        read_rows(tmp_path)
    with pytest.raises(ValueError, match="granularity"):
        list(EXPERIMENTS["granularity"](lab))


def test_a_subjects_word_goes_before_its_category_and_into_no_other_word() -> None:
    prompt = "in a snowy landscape, a cap stands on the left, a cap"
    named = with_word(prompt, "cap", "sks")
    assert named == "in a snowy landscape, a sks cap stands on the left, a cap"
