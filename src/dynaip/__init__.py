"""DynaIP: reference subjects in the pictures of a frozen FLUX, zero-shot (arXiv 2512.09814).

The names below are the public surface. They are looked up when first used, so that importing
the package loads neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaip.adapter.card import SubjectCard
    from dynaip.adapter.model import DynaIPAdapter, DynaIPConfig
    from dynaip.adapter.prompt import ImagePrompt
    from dynaip.pipeline.flux import PersonalPipeline, load
    from dynaip.pipeline.subject import Subject

__version__ = "0.1.0"

__all__ = [
    "DynaIPAdapter",
    "DynaIPConfig",
    "ImagePrompt",
    "PersonalPipeline",
    "Subject",
    "SubjectCard",
    "load",
]

_HOMES = {
    "DynaIPAdapter": "dynaip.adapter.model",
    "DynaIPConfig": "dynaip.adapter.model",
    "ImagePrompt": "dynaip.adapter.prompt",
    "PersonalPipeline": "dynaip.pipeline.flux",
    "Subject": "dynaip.pipeline.subject",
    "SubjectCard": "dynaip.adapter.card",
    "load": "dynaip.pipeline.flux",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynaip' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
