"""One server over a tiny model, for all tests of the page and the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny
from served import KEPT, WAITING, Server, serving

from dynaip.apps.web.drawing import Pencil
from dynaip.apps.web.studio import Studio
from dynaip.pipeline.provenance import Origin


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    personal = tiny.adapter().attach(tiny.pipeline())
    studio = Studio(Pencil(personal, Origin("tiny", "adapter", "ab" * 32)), WAITING, kept=KEPT)
    with serving(studio) as running:
        yield running
