"""Likeness of pictures to references and prompts: CLIP-I, CLIP-T, DINO, and one without a hub.

All of them are cosines of embeddings. They are cheap and repeatable, and they reward copying: read
them beside the baselines (`evaluation.benchmarks.baselines`) and beside judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, CLIPModel

from dynaip.evaluation.benchmarks.manifest import CaseSubject
from dynaip.evaluation.benchmarks.results import Results, Wanted
from dynaip.evaluation.scores import ScoreRow
from dynaip.pictures import on_white, open_picture, square

COSINE = (-1.0, 1.0)
# DreamBench++'s and DreamBooth's own choices.
CLIP = "openai/clip-vit-base-patch32"
DINO = "facebook/dino-vits8"


@runtime_checkable
class PictureEmbedder(Protocol):
    """Turns pictures into vectors whose cosine is a likeness."""

    measure: str
    scorer: str

    def pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "b d"]:
        """Embeds pictures; the vectors need no unit length."""
        ...


class ClipEmbedder:
    """CLIP's projected image and text vectors: CLIP-I and CLIP-T.

    Args:
        model: Folder or hub id.
    """

    measure = "clip-i"

    def __init__(self, model: str = CLIP) -> None:
        self.scorer = f"clip:{model}"
        self.processor = AutoProcessor.from_pretrained(model, use_fast=False)
        self.model: Any = CLIPModel.from_pretrained(model).eval()

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "b d"]:
        """Projected image vectors. The whole picture is seen: it is padded, not cropped."""
        side = self.model.config.vision_config.image_size
        squares = [square(picture, side) for picture in pictures]
        inputs = self.processor(images=squares, return_tensors="pt")
        return _vectors(self.model.get_image_features(**inputs))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[np.ndarray, "b d"]:
        """Projected text vectors; texts longer than the model reads are cut."""
        inputs = self.processor(
            text=list(texts), return_tensors="pt", padding=True, truncation=True
        )
        return _vectors(self.model.get_text_features(**inputs))


class DinoEmbedder:
    """The class token of a self-supervised vision transformer.

    Args:
        model: Folder or hub id, of DINO, DINOv2 or a like model.
    """

    measure = "dino"

    def __init__(self, model: str = DINO) -> None:
        self.scorer = f"dino:{model}"
        self.processor = AutoImageProcessor.from_pretrained(model, use_fast=False)
        self.model: Any = AutoModel.from_pretrained(model).eval()

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "b d"]:
        """Class tokens. The whole picture is seen: it is padded, not cropped."""
        squares = [square(picture, self._side()) for picture in pictures]
        # Of what DINOv2's processor makes of 256 pixels it would keep the middle 224.
        inputs = self.processor(
            images=squares, return_tensors="pt", do_resize=False, do_center_crop=False
        )
        return self.model(**inputs).last_hidden_state[:, 0].numpy()

    def _side(self) -> int:
        """Of the pictures that the model is made for."""
        cropped = getattr(self.processor, "do_center_crop", False)
        size = self.processor.crop_size if cropped else self.processor.size
        return size.get("height") or size["shortest_edge"]


class ColourAndEdges:
    """A likeness without weights: which colours, and which directions of edges, in what shares.

    It knows nothing of objects: two dogs of one colour are alike, one dog on grass and on snow is
    not. It serves to see a run through where no model can be had, and as a floor: a metric that
    orders methods as this one does has seen colours.
    """

    measure = "colour-edges"
    scorer = "colour-edges"

    def pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "b d"]:
        """Square roots of two histograms, of 4x4x4 colours and of 8 edge directions."""
        return np.stack([self._describe(picture) for picture in pictures])

    def _describe(self, picture: Image.Image) -> Float[np.ndarray, " d"]:
        pixels = np.asarray(square(picture, 64), dtype=np.float64)
        colours, _ = np.histogramdd(pixels.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)
        grey = pixels.mean(-1)
        down, across = np.gradient(grey)
        directions, _ = np.histogram(
            np.arctan2(down, across) % np.pi, 8, (0, np.pi), weights=np.hypot(down, across)
        )
        parts = (colours.ravel(), directions)
        return np.concatenate([np.sqrt(part / max(part.sum(), 1e-12)) for part in parts])


def score_likeness(
    results: Results,
    embedder: PictureEmbedder,
    on_picture: Callable[[], Any] | None = None,
) -> Iterator[ScoreRow]:
    """Scores each picture against each of its subjects: the mean cosine with the references.

    The whole picture is compared; and once more, as `<measure>-masked`, what is inside the
    subject's mask on white, where the mask is known: `pictures/<case>/<n>.mask-<subject>.png`
    beside the picture, or else the subject's box.

    Args:
        results: The pictures.
        embedder: Of pictures.
        on_picture: Called after each picture.
    """
    cache: dict[tuple[Path, ...], np.ndarray] = {}
    for wanted in results.pictures():
        picture = on_white(open_picture(wanted.path))
        for index, subject in enumerate(wanted.case.subjects):
            if subject.references not in cache:
                references = [open_picture(path) for path in subject.references]
                cache[subject.references] = _unit(embedder.pictures(references))
            views = [(embedder.measure, picture)]
            if (cut := cut_out(picture, wanted, index, subject)) is not None:
                views.append((f"{embedder.measure}-masked", cut))
            vectors = _unit(embedder.pictures([view for _, view in views]))
            for (measure, _), vector in zip(views, vectors, strict=True):
                likeness = float((cache[subject.references] @ vector).mean())
                yield _row(wanted, measure, embedder.scorer, likeness, index)
        if on_picture is not None:
            on_picture()


def score_prompts(
    results: Results,
    embedder: ClipEmbedder,
    on_picture: Callable[[], Any] | None = None,
) -> Iterator[ScoreRow]:
    """CLIP-T: the cosine of each picture with its whole prompt."""
    for wanted in results.pictures():
        picture = _unit(embedder.pictures([on_white(open_picture(wanted.path))]))
        prompt = _unit(embedder.texts([wanted.case.prompt]))
        yield _row(wanted, "clip-t", embedder.scorer, float((picture @ prompt.T).item()), None)
        if on_picture is not None:
            on_picture()


def cut_out(
    picture: Image.Image, wanted: Wanted, index: int, subject: CaseSubject
) -> Image.Image | None:
    """What is inside a subject's mask, on white, cropped to it; nothing where no mask is known.

    Raises:
        PictureError: The mask's file is broken.
        ValueError: It is empty, or of another size than the picture.
    """
    path = wanted.path.with_name(f"{wanted.picture}.mask-{index}.png")
    if path.is_file():
        mask = open_picture(path).convert("L")
        if mask.size != picture.size or mask.getbbox() is None:
            raise ValueError(f"{path} is empty, or not {picture.width}x{picture.height} pixels.")
        white = Image.new("RGB", picture.size, "white")
        return Image.composite(picture, white, mask).crop(mask.getbbox())
    if subject.box is None:
        return None
    left, top, right, bottom = subject.box
    width, height = picture.size
    box = (left * width, top * height, right * width, bottom * height)
    return picture.crop(cast(Any, tuple(round(side) for side in box)))


def _row(wanted: Wanted, measure: str, scorer: str, cosine: float, subject: int | None) -> ScoreRow:
    return ScoreRow(
        case=wanted.case.id,
        picture=wanted.picture,
        measure=measure,
        scorer=scorer,
        protocol="metric",
        status="ok",
        score=min(1.0, max(-1.0, cosine)),
        scale=COSINE,
        subject=subject,
    )


def _unit(vectors: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b d"]:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def _vectors(output: Any) -> Float[np.ndarray, "b d"]:
    """The projected vectors, which recent transformers wrap."""
    return getattr(output, "pooler_output", output).numpy()
