"""Metrics on tiny real models saved to disk, and on real photographs where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from dynaip.evaluation.benchmarks.baselines import make_baseline
from dynaip.evaluation.benchmarks.dreambooth import read_dreambooth
from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.metrics import (
    ClipEmbedder,
    ColourAndEdges,
    DinoEmbedder,
    cut_out,
    score_likeness,
    score_prompts,
)

ASSETS = Path(__file__).parents[2].parent / "shared" / "assets" / "dreambooth"
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipEmbedder:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**SMALL, "num_hidden_layers": 1, "vocab_size": 32, "eos_token_id": 1},
        vision_config={**SMALL, "num_hidden_layers": 1, "image_size": 16, "patch_size": 4},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    processor = CLIPImageProcessor(size=size, crop_size=size)
    CLIPProcessor(image_processor=processor, tokenizer=tiny.tokenizer()).save_pretrained(folder)
    return ClipEmbedder(str(folder))


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> DinoEmbedder:
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    config = Dinov2Config(**SMALL, num_hidden_layers=1, image_size=32, patch_size=8)
    Dinov2Model(config).save_pretrained(folder)
    # DINOv2's own makes 256 pixels of a picture's shorter side, and keeps the middle 224.
    size, crop = {"shortest_edge": 48}, {"height": 32, "width": 32}
    CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return DinoEmbedder(str(folder))


@pytest.fixture(scope="module")
def old_dino(tmp_path_factory: pytest.TempPathFactory) -> DinoEmbedder:
    """With the processor of DINO, which crops nothing."""
    folder = tmp_path_factory.mktemp("old-dino")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**SMALL, num_hidden_layers=1, image_size=16, patch_size=4)).save_pretrained(
        folder
    )
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return DinoEmbedder(str(folder))


def noisy(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A picture that copies its first subject's only reference, and has boxes."""
    for name in ("a", "b"):
        noisy(ord(name)).save(tmp_path / f"{name}.png")
    subjects = (
        CaseSubject(name="a", category="a", kind="object", references=(tmp_path / "a.png",)),
        CaseSubject(
            name="b",
            category="b",
            kind="object",
            references=(tmp_path / "a.png", tmp_path / "b.png"),
            box=(0.5, 0.0, 1.0, 1.0),
        ),
    )
    case = Case(id="x", prompt="a red dog", seeds=(0, 1), subjects=subjects)
    manifest = Manifest(name="m", settings={}, cases=(case,))
    made = Results.create(tmp_path / "out", manifest, Method(name="copy"))
    first = made.missing()[0].path
    first.parent.mkdir(parents=True)
    noisy(ord("a")).save(first)
    return made


@pytest.mark.parametrize("kind", ["clip", "dino", "offline"])
def test_likeness_is_the_mean_cosine_with_the_references(
    results: Results, clip: ClipEmbedder, dino: DinoEmbedder, kind: str
) -> None:
    embedder = {"clip": clip, "dino": dino, "offline": ColourAndEdges()}[kind]
    rows = list(score_likeness(results, embedder))
    assert [(row.subject, row.measure) for row in rows] == [
        (0, embedder.measure),
        (1, embedder.measure),
        (1, f"{embedder.measure}-masked"),
    ]
    assert rows[0].score == pytest.approx(1)
    right = noisy(ord("a")).crop((8, 0, 16, 16))
    vectors = embedder.pictures([noisy(ord("a")), noisy(ord("b")), right]).astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert rows[1].score == pytest.approx((1 + unit[0] @ unit[1]) / 2)
    assert rows[2].score == pytest.approx((unit[2] @ unit[0] + unit[2] @ unit[1]) / 2)
    assert rows[1].score < 0.9999


def test_prompts_are_compared_whole(results: Results, clip: ClipEmbedder) -> None:
    (row,) = score_prompts(results, clip)
    picture = clip.pictures([noisy(ord("a"))])[0]
    text = clip.texts(["a red dog"])[0]
    expected = picture @ text / np.linalg.norm(picture) / np.linalg.norm(text)
    assert row.score == pytest.approx(expected, abs=1e-6)
    assert (row.measure, row.subject) == ("clip-t", None)
    assert not np.allclose(text, clip.texts(["the beach"])[0])


@pytest.mark.parametrize("kind", ["clip", "dino", "old dino"])
def test_nothing_at_the_edges_is_cropped_away(
    clip: ClipEmbedder, dino: DinoEmbedder, old_dino: DinoEmbedder, kind: str
) -> None:
    embedder = {"clip": clip, "dino": dino, "old dino": old_dino}[kind]
    wide = noisy(1, (32, 128))
    changed = wide.copy()
    changed.paste("red", (0, 0, 8, 32))
    first, second = embedder.pictures([wide, changed])
    assert not np.allclose(first, second, atol=1e-4)


def test_dino_sees_pictures_of_the_size_it_was_trained_on(dino: DinoEmbedder) -> None:
    seen = []
    look = lambda module, arguments, named: seen.append(named["pixel_values"].shape)  # noqa: E731
    handle = dino.model.register_forward_pre_hook(look, with_kwargs=True)
    dino.pictures([noisy(1, (50, 70))])
    handle.remove()
    assert seen == [(1, 3, 32, 32)]


def test_a_mask_beside_the_picture_comes_before_the_box(results: Results) -> None:
    (wanted,) = results.pictures()
    picture = noisy(ord("a"))
    assert cut_out(picture, wanted, 0, wanted.case.subjects[0]) is None
    mask = Image.new("L", picture.size)
    mask.paste(255, (2, 4, 6, 12))
    mask.putpixel((3, 5), 0)
    mask.save(wanted.path.with_name("0.mask-1.png"))
    cut = cut_out(picture, wanted, 1, wanted.case.subjects[1])
    assert cut is not None
    assert cut.size == (4, 8)
    assert cut.getpixel((0, 0)) == picture.getpixel((2, 4))
    assert cut.getpixel((1, 1)) == (255, 255, 255)
    Image.new("L", picture.size).save(wanted.path.with_name("0.mask-1.png"))
    with pytest.raises(ValueError, match="is empty"):
        cut_out(picture, wanted, 1, wanted.case.subjects[1])


def test_the_offline_likeness_sees_colours_and_edges() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = (255, 0, 0)
    upright, across = Image.fromarray(stripes), Image.fromarray(stripes.swapaxes(0, 1).copy())
    green = Image.fromarray(stripes[..., [1, 0, 2]])
    embedder = ColourAndEdges()
    vectors = embedder.pictures(
        [upright, upright.transpose(Image.Transpose.ROTATE_180), across, green]
    )
    likeness = vectors @ vectors[0] / 2
    assert likeness[0] == pytest.approx(1)
    assert likeness[1] == pytest.approx(1, abs=0.02)
    assert likeness[2] < 0.6
    assert likeness[3] < 0.95


def test_real_photographs_go_through(tmp_path: Path) -> None:
    """A view of the subject is likelier than a view of another, and less than itself."""
    if not ASSETS.is_dir():
        pytest.skip("the DreamBooth photographs are not beside this checkout")
    whole = read_dreambooth(ASSETS, pictures=1)
    kept = tuple(case for case in whole.cases if case.id in ("dog-00", "vase-00"))
    made = make_baseline("real", Manifest(name="two", settings={}, cases=kept), tmp_path / "real")
    assert not made.missing()
    own = [row.score or 0 for row in score_likeness(made, ColourAndEdges())]
    dog, vase = (wanted.path for wanted in made.pictures())
    dog.rename(tmp_path / "dog.png")
    vase.rename(dog)
    (tmp_path / "dog.png").rename(vase)
    swapped = [row.score or 0 for row in score_likeness(made, ColourAndEdges())]
    assert all(1 > right > wrong > 0 for right, wrong in zip(own, swapped, strict=True))


def test_a_ceiling_needs_a_second_photograph(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ceiling"):
        make_baseline("real", results.manifest, tmp_path / "real")
    with pytest.raises(ValueError, match="copy, real, perfect"):
        make_baseline("best", results.manifest, tmp_path / "best")


def test_the_ceiling_s_photograph_is_not_its_own_reference(tmp_path: Path) -> None:
    views = tuple(tmp_path / f"{number}.png" for number in range(3))
    for number, path in enumerate(views):
        noisy(number).save(path)
    subject = CaseSubject(name="a", category="a", kind="object", references=views)
    case = Case(id="x", prompt="a", seeds=(0, 1, 2), subjects=(subject,))
    manifest = Manifest(name="m", settings={}, cases=(case,))
    made = make_baseline("real", manifest, tmp_path / "real")
    answers = [np.asarray(Image.open(wanted.path)) for wanted in made.pictures()]
    assert len(answers) == 3
    assert all(np.array_equal(answer, noisy(2)) for answer in answers)
    assert made.manifest.cases[0].subjects[0].references == views[:2]
    # One file under three names.
    assert len({wanted.path.stat().st_ino for wanted in made.pictures()}) == 1
