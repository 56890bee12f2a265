"""Any FLUX pipeline of diffusers, taking reference subjects."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import torch
from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel
from diffusers.utils import BaseOutput
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPVisionModel

from dynaip.adapter.config import Branches
from dynaip.adapter.features import tap_features
from dynaip.adapter.model import DynaIPAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import BlockBranches, attach, check_base
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.pictures import read_reference
from dynaip.pipeline.subject import Grid, Subject, token_mask

Subjects = Sequence[Subject] | Sequence[Sequence[Subject]]
# What diffusers and transformers raise over a model's files.
UNREADABLE = (OSError, ValueError, SafetensorError)


@dataclasses.dataclass
class PersonalPipelineOutput(BaseOutput):
    """What a `PersonalPipeline` returns.

    Attributes:
        images: The pipeline's pictures, of its `output_type`.
        coefficients: The weights of low, mid and high that made each reference, "b s l"; b is 1
            where all prompts share their subjects.
    """

    images: Any
    coefficients: Float[Tensor, "b s l"]


class Conditioning(NamedTuple):
    """Projected subjects, and the coefficients "b s l" that made them."""

    prompt: ImagePrompt
    coefficients: Float[Tensor, "b s l"]


def load(
    model: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> FluxPipeline:
    """Loads a FLUX model from a folder, or from the Hugging Face hub.

    Args:
        model: A pipeline's folder, or a hub id such as `black-forest-labs/FLUX.1-dev`.
        dtype: Precision; by default bf16 on an accelerator and fp32 on a CPU.
        device: Where it runs; by default the accelerator, if there is one.

    Raises:
        ValueError: There is no such folder, or no model of that name can be had.
    """
    if device is None:
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    folder = Path(model)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} holds no model: its model_index.json is missing; give a pipeline's folder."
        )
    try:
        pipe = FluxPipeline.from_pretrained(str(model), dtype=dtype)
    except UNREADABLE as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"The model {model} cannot be loaded: {first}") from error
    return cast(FluxPipeline, pipe.to(device))


def default_arguments(pipe: DiffusionPipeline) -> dict[str, int]:
    """Sizes of this model, where diffusers' FLUX pipelines assume those of FLUX.1.

    Returns:
        Those of `height`, `width` (pixels) and `max_sequence_length` that the pipeline's call
        takes.
    """
    size = getattr(pipe.vae.config, "sample_size", None)
    tokens = getattr(pipe.tokenizer_2, "model_max_length", 512)
    defaults = {"height": size, "width": size, "max_sequence_length": min(512, tokens)}
    accepted = inspect.signature(pipe.__call__).parameters
    return {name: v for name, v in defaults.items() if v is not None and name in accepted}


class PersonalPipeline:
    """A FLUX pipeline with an adapter attached: the same call, and `subjects`.

    Made by `DynaIPAdapter.attach(pipe)`. Works on any pipeline with a FLUX transformer
    (text-to-image, image-to-image, inpainting, ControlNet, Kontext, ...). A context manager; on
    leaving it, or on `detach`, the pipeline is what it was, the same objects.

    Attributes:
        pipe: The pipeline. Called by itself, it makes the base's pictures.
        adapter: The adapter.
        attachment: The adapter's processors in the pipeline's transformer.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        adapter: DynaIPAdapter,
        image_encoder: CLIPVisionModel | None = None,
    ) -> None:
        """Attaches `adapter`.

        Args:
            pipe: The pipeline.
            adapter: An adapter for its transformer.
            image_encoder: What reads the references; by default the pipeline's own where it has
                one, else the one that the adapter's config names.

        Raises:
            ValueError: The pipeline has no FLUX transformer, or the adapter is for another base.
        """
        transformer = getattr(pipe, "transformer", None)
        if not isinstance(getattr(transformer, "_orig_mod", transformer), FluxTransformer2DModel):
            raise ValueError(
                f"{type(pipe).__name__} has no FLUX transformer; attach to a FLUX pipeline."
            )
        transformer = cast(FluxTransformer2DModel, transformer)
        check_base(transformer, adapter.config)
        self.pipe, self.adapter = pipe, adapter
        self._image_encoder = image_encoder or getattr(pipe, "image_encoder", None)
        self.attachment = attach(transformer, branches=adapter.config.branches)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        subjects: Subjects = (),
        branches: Branches | BlockBranches | None = None,
        **arguments: Any,
    ) -> PersonalPipelineOutput | tuple[Any, Tensor]:
        """Makes pictures of the subjects.

        Args:
            prompt: As the pipeline's own.
            subjects: The subjects of every picture; or a list of them for each prompt, all of one
                length. Nothing gives the base's pictures.
            branches: Rows that see the references: `"image"` (the paper's, Dynamic Decoupling),
                `"text"` or `"both"`; by default what the adapter's config says.
            **arguments: All others are the pipeline's. Height and width, where not given, are those
                the model was made for.

        Returns:
            Pictures and coefficients; a tuple of them with `return_dict=False`.

        Raises:
            ValueError: A reference, mask or argument cannot be used.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        arguments = {**default_arguments(self.pipe), **given}
        as_tuple = not arguments.pop("return_dict", True)
        conditioning = self._conditioning(prompt, subjects, arguments)
        self.attachment.branches = branches or self.adapter.config.branches
        self.attachment.set_prompt(conditioning.prompt)
        try:
            images = cast(Any, self.pipe)(prompt=prompt, return_dict=False, **arguments)[0]
        finally:
            self.attachment.set_prompt(None)
        if as_tuple:
            return images, conditioning.coefficients
        return PersonalPipelineOutput(images=images, coefficients=conditioning.coefficients)

    def encode(self, subjects: Sequence[Subject], grid: Grid | None = None) -> Conditioning:
        """Reads, encodes and projects the subjects of one picture: all that the blocks need.

        Args:
            subjects: Any number of them.
            grid: Rows and columns of image tokens; needed where a subject has a mask.

        Raises:
            ValueError: A picture or mask cannot be used, or the image encoder does not fit.
        """
        if not subjects:
            levels = len(self.adapter.config.layers)
            return Conditioning(ImagePrompt.empty(), torch.zeros(1, 0, levels))
        features = self._features(subjects)
        prompts, coefficients = [], []
        for index, subject in enumerate(subjects):
            fused = self.adapter.encode(features[:, index : index + 1], subject.granularity)
            prompt = self.adapter.project(fused.tokens).with_scale(subject.scale)
            if subject.mask is not None:
                if grid is None:
                    raise ValueError("A mask needs the picture's size; give height and width.")
                mask = torch.from_numpy(token_mask(subject.mask, grid))
                prompt = prompt.with_mask(mask[None])
            prompts.append(prompt)
            coefficients.append(fused.coefficients.float().cpu())
        transformer = self.attachment.transformer
        prompt = ImagePrompt.join(prompts).to(_device(self.pipe), transformer.dtype)
        return Conditioning(prompt, torch.stack(coefficients, dim=1))

    def detach(self) -> None:
        """Makes the pipeline what it was before; a second call does nothing."""
        self.attachment.detach()

    def __enter__(self) -> PersonalPipeline:
        """Nothing more: attaching is done."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detaches."""
        self.detach()

    def _conditioning(
        self, prompt: str | list[str] | None, subjects: Subjects, arguments: dict[str, Any]
    ) -> Conditioning:
        grid = self._grid(arguments)
        if all(isinstance(subject, Subject) for subject in subjects):
            return self.encode(cast(Sequence[Subject], subjects), grid)
        each = cast(Sequence[Sequence[Subject]], subjects)
        if not isinstance(prompt, list) or len(prompt) != len(each):
            raise ValueError(
                f"Subjects were given for {len(each)} prompts; give as many prompts, in a list."
            )
        parts = [self.encode(own, grid) for own in each]
        together = ImagePrompt.stack([part.prompt for part in parts])
        return Conditioning(
            together.repeat_interleave(arguments.get("num_images_per_prompt", 1)),
            torch.cat([part.coefficients for part in parts]),
        )

    def _features(self, subjects: Sequence[Subject]) -> Float[Tensor, "l b n d"]:
        encoder = self._encoder()
        size = cast(int, encoder.config.image_size)
        references = [read_reference(subject.image, size) for subject in subjects]
        hidden_states = encode_references(encoder, stack_pictures(references))
        features = tap_features(hidden_states, self.adapter.config.layers)
        return features.to(next(self.adapter.parameters()))

    def _encoder(self) -> CLIPVisionModel:
        if self._image_encoder is None:
            name = self.adapter.config.encoder
            weight = next(self.adapter.parameters())
            try:
                encoder = CLIPVisionModel.from_pretrained(name, dtype=weight.dtype)
            except UNREADABLE as error:
                raise ValueError(
                    f"The adapter's image encoder {name} cannot be loaded; download it, or give "
                    "one as `image_encoder`."
                ) from error
            self._image_encoder = cast(Any, encoder).to(weight.device).eval()
        return cast(CLIPVisionModel, self._image_encoder)

    def _grid(self, arguments: dict[str, Any]) -> Grid | None:
        """Rows and columns of image tokens, rounded as the pipeline rounds."""
        token = self.pipe.vae_scale_factor * 2
        if "height" not in arguments or "width" not in arguments:
            return None
        return int(arguments["height"]) // token, int(arguments["width"]) // token


def _device(pipe: DiffusionPipeline) -> torch.device:
    """Where the pipeline computes, also when its parts wait elsewhere."""
    return pipe._execution_device
