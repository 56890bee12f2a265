"""DynaIP-Bench on Toyland: held-out subjects, rendered, and what is true of each beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.evaluation.benchmarks.dynaip_bench import KINDS, PoolSubject
from dynaip.miniature import toyland
from dynaip.miniature.toyland.spec import KINDS as CATEGORIES
from dynaip.pipeline.provenance import write_whole

POOL_STREAM = 5


def render_pools(
    folder: Path,
    *,
    each: int = 18,
    seed: int = 0,
    size: int = 64,
    on_subject: Callable[[], Any] | None = None,
) -> dict[str, list[PoolSubject]]:
    """Renders held-out subjects of every data type on white; the same seed gives the same ones.

    Args:
        folder: Receives `<kind>/<category>-<number>.png`.
        each: Subjects of a data type, its categories in turn.
        seed: Of the subjects and their views.
        size: Side of a reference in pixels.
        on_subject: Called after each.

    Returns:
        The pools; a subject's truth is its concept, as `Concept`'s fields.
    """
    pools: dict[str, list[PoolSubject]] = {}
    for index, kind in enumerate(KINDS):
        pools[kind] = []
        for number in range(each):
            rng = np.random.default_rng([seed, POOL_STREAM, index, number])
            category = CATEGORIES[kind][number % len(CATEGORIES[kind])]
            concept = _held_out(rng, kind, category)
            spec = toyland.sample_spec(rng, concepts=[concept])
            path = folder / kind / f"{concept.category}-{number:02d}.png"
            content = BytesIO()
            Image.fromarray(toyland.segment(spec, 0, size)).save(content, "PNG")
            write_whole(path, content.getvalue())
            pools[kind].append(
                PoolSubject(
                    name=concept.category,
                    references=(path,),
                    truth=dataclasses.asdict(concept),
                )
            )
            if on_subject is not None:
                on_subject()
    return pools


def _held_out(rng: np.random.Generator, kind: str, category: str) -> toyland.Concept:
    """A held-out subject of a category: drawn until it is one."""
    while True:
        concept = toyland.sample_concept(rng, "test", kinds=(kind,))
        if concept.category == category:
            return concept
