"""What all experiments are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.pipeline().save_pretrained(folder)
    tiny.adapter().save_pretrained(folder / "adapter")
    tiny.adapter(fusion="add").save_pretrained(folder / "add")
    return folder
