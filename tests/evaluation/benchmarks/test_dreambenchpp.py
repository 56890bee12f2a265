from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from dynaip.evaluation.benchmarks.dreambenchpp import import_samples, read_dreambenchpp
from dynaip.evaluation.benchmarks.results import ResultsError

SUBJECTS = {
    "live_subject/animal/00": "Corgi dog",
    "live_subject/human/03": "woman",
    "object/07": "teddy-bear, brown",
    "style/01": "ink",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The layout, with made pictures: the real ones are no part of the repository."""
    root = tmp_path / "dreambench_plus"
    for place, noun in SUBJECTS.items():
        picture = root / "data" / "images" / f"{place}.jpg"
        captions = root / "data" / "captions" / f"{place}.txt"
        for path in (picture, captions):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(picture)
        captions.write_text("\n".join([noun, *(f"{noun}, prompt {n}" for n in range(9))]) + "\n")
    return root


def test_categories_and_prompt_kinds_are_kept(checkout: Path) -> None:
    manifest = read_dreambenchpp(checkout)
    assert manifest == read_dreambenchpp(checkout / "data")
    assert len(manifest.cases) == 4 * 9
    kinds = Counter((case.subjects[0].kind, case.prompt_kind) for case in manifest.cases)
    for kind in ("animal", "human", "object", "style"):
        assert kinds[kind, "photorealistic"] == 4
        assert kinds[kind, "style"] == 3
        assert kinds[kind, "imaginative"] == 2
    first = manifest.cases[0]
    assert first.id == "live_subject_animal_00_corgi_dog-0"
    assert first.prompt == "Corgi dog, prompt 0"
    assert manifest.settings == {"seed": 0, "subjects": 4, "of": 150}
    assert len({case.seeds for case in manifest.cases}) == 36


def test_broken_checkouts_are_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no pictures"):
        read_dreambenchpp(tmp_path)
    (checkout / "data" / "captions" / "style" / "01.txt").write_text("ink\none prompt\n")
    with pytest.raises(ValueError, match=r"01\.txt should hold .* has 2 lines"):
        read_dreambenchpp(checkout)
    (checkout / "data" / "captions" / "style" / "01.txt").unlink()
    with pytest.raises(ValueError, match="has 0 lines"):
        read_dreambenchpp(checkout)


def test_its_own_results_are_taken_over(checkout: Path, tmp_path: Path) -> None:
    manifest = read_dreambenchpp(checkout)
    samples = tmp_path / "samples" / "blip"
    wanted = {
        "live_subject_animal_00_corgi_dog": 5,
        "object_07_teddy-bear,_brown": 0,
        "object_07_unknown": 0,
    }
    for red, (collection, prompt) in enumerate(wanted.items()):
        folder = samples / "tgt_image" / collection
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (200 * red, 0, 0)).save(folder / f"{prompt}_0.png")
        Image.new("RGB", (8, 8), (0, 255, 0)).save(folder / f"{prompt}_1.png")
    # A cut-out: what is transparent is white, whatever colour lies below.
    cutout = samples / "tgt_image" / "style_01_ink"
    cutout.mkdir(parents=True)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(cutout / "2_0.png")
    # Of no collection, so nobody's.
    Image.new("RGB", (8, 8)).save(samples / "tgt_image" / "3_0.png")
    results = import_samples(samples, manifest, tmp_path / "out", "BLIP")
    found = {w.case.id: Image.open(w.path).getpixel((0, 0)) for w in results.pictures()}
    assert found == {
        "live_subject_animal_00_corgi_dog-5": (0, 0, 0),
        "object_07_teddy-bear__brown-0": (200, 0, 0),
        "style_01_ink-2": (255, 255, 255),
    }
    assert results.method.name == "BLIP"
    assert len(results.missing()) == 33


def test_a_folder_of_something_else_is_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match="none of the manifest's pictures"):
        import_samples(tmp_path / "empty", read_dreambenchpp(checkout), tmp_path / "out", "BLIP")
