"""What the verbs share before they do their work: where the miniature is, and quiet loading."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from dynaip.bundle import ADAPTER, miniature_folder

if TYPE_CHECKING:
    from diffusers import FluxPipeline

    from dynaip.adapter.model import ImagePromptAdapter

Choice = TypeVar("Choice", bound=str)
# How verbs are told what to draw with.
Model = Annotated[
    str | None, typer.Option(help="A pipeline's folder or hub id; else the miniature.")
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="An adapter's folder or hub id, or a file that InstantX or XLabs published for FLUX; "
        "else the model's own."
    ),
]
Offload = Annotated[
    bool,
    typer.Option(
        "--offload",
        help="Keep on the accelerator only the part of the model at work: less memory, slower.",
    ),
]
# How long they train.
Steps = Annotated[int | None, typer.Option(min=1, help="Steps in all, instead of the recipe's.")]
# By the prompt, and by the references.
Guidance = Annotated[
    float | None,
    typer.Option(min=0, help="Guidance scale; the model's own if not given (FLUX.1-dev: 3.5)."),
]
ImageGuidance = Annotated[
    float,
    typer.Option(
        min=1,
        help="How far to go from what the prompt alone gives towards the reference; above 1 takes "
        "twice as long.",
    ),
]
# Parts of the miniature whose classes are not those that diffusers' annotations name.
OWN_CLASSES = ("Expected types for image_encoder", "Expected types for vae")
# Results go to stdout, everything said on the way to stderr: `--json` can be piped.
progress_console = Console(stderr=True)


# The instruments that belong to Toyland, whatever model they measure.
PROBES = miniature_folder().parent / "probes"


def load_model(model: str | None, offload: bool = False) -> FluxPipeline:
    """Loads a model; nothing means the miniature.

    Args:
        model: Its folder or hub id.
        offload: Whether its parts wait on the CPU and are moved to the accelerator one at a time.

    Raises:
        ValueError: It is not there, or cannot be read, or there is no accelerator to offload from.
    """
    quiet_libraries()
    if model is None and not (miniature_folder() / "model_index.json").is_file():
        raise ValueError(
            "The miniature is not here (models/miniature); run this in a checkout, train it with "
            "`dynaip miniature train`, or give --model."
        )
    with progress_console.status("Loading the model ..."):
        from dynaip.pipeline.flux import load

        location = model or miniature_folder()
        pipe = _load_offloaded(location) if offload else load(location)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_offloaded(model: str | Path) -> FluxPipeline:
    import torch

    from dynaip.pipeline.flux import load

    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        raise ValueError("--offload is for an accelerator, and there is none here; leave it out.")
    pipe = load(model, dtype=torch.bfloat16, device="cpu")
    pipe.enable_model_cpu_offload(torch.accelerator.current_device_index(), device)
    return pipe


def load_adapter(adapter: str) -> ImagePromptAdapter:
    """Loads an adapter from its folder or hub id, or other people's from its file.

    Raises:
        ValueError: It is not there, or cannot be read.
    """
    quiet_libraries()
    with progress_console.status("Loading the adapter ..."):
        from dynaip.adapter.foreign import ForeignAdapter
        from dynaip.adapter.model import DynaIPAdapter

        published = Path(adapter).is_file()
        loaded = (ForeignAdapter.from_file if published else DynaIPAdapter.from_pretrained)(adapter)
        return loaded.eval()


def adapter_location(adapter: str | None, model: str | None) -> str:
    """The adapter that is meant: the one given, or the folder `adapter` of a local model.

    Raises:
        ValueError: None was given, and the model's folder has none.
    """
    if adapter is not None:
        return adapter
    if model is not None and not Path(model).is_dir():
        raise ValueError(
            f"{model} is no folder here, so no adapter comes with it; check --model, or give the "
            "adapter's folder or hub id as --adapter."
        )
    own = (miniature_folder() if model is None else Path(model)) / ADAPTER
    if not own.is_dir():
        raise ValueError(f"There is no adapter in {own}; give its folder or hub id as --adapter.")
    return str(own)


def one_of(option: str, value: str, choices: Sequence[Choice]) -> Choice:
    """The value of an option that is one of a few words.

    Raises:
        ValueError: It is none of them.
    """
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"{option} is {', '.join(choices[:-1])} or {choices[-1]}; got {value!r}.")


def named_folders(option: str, entries: list[str]) -> dict[str, Path]:
    """Folders of adapters by name, in the order given: `NAME=FOLDER`.

    Raises:
        ValueError: An entry is not of this form, or its folder is not there.
    """
    folders = {}
    for entry in entries:
        name, _, path = entry.partition("=")
        if not name or not path:
            raise ValueError(f"{option} is NAME=FOLDER; got {entry!r}.")
        if not Path(path).is_dir():
            raise ValueError(f"There is no adapter in {path}; check {option} {name}.")
        if name in folders:
            raise ValueError(f"{option} {name} is given twice; choose two names.")
        folders[name] = Path(path)
    return folders


def quiet_libraries() -> None:
    """Keeps remarks that nobody can act on out of the terminal; call before loading.

    diffusers' own warnings stay, but for those about classes of the miniature that the annotation
    of its pipeline does not name. So do transformers', but for those about weights that are left
    over, as a text tower's are where an image tower is read out of a whole model.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    logging.getLogger("diffusers.pipelines.pipeline_utils").addFilter(_is_news)
    logging.getLogger("transformers.modeling_utils").addFilter(_is_loss)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(OWN_CLASSES)


def _is_loss(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    kinds = ("MISSING", "MISMATCH", "CONVERSION")
    return "UNEXPECTED" not in said or any(kind in said for kind in kinds)
