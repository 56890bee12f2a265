"""Any FLUX pipeline of diffusers, taking reference subjects."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import torch
from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel
from diffusers.utils import BaseOutput
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from dynaip.adapter.attention import Overlap, resolve_overlap
from dynaip.adapter.card import SubjectCard
from dynaip.adapter.config import Branches, DynaIPConfig
from dynaip.adapter.fusion import FusedTokens
from dynaip.adapter.model import ImagePromptAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.bundle import NAME, import_own_parts, miniature_folder
from dynaip.hosts.checks import check_prompt, check_rows
from dynaip.hosts.flux import attach
from dynaip.hosts.sites import BlockBranches, check_base, find_sites
from dynaip.pipeline.arguments import (
    counts_steps,
    default_guidance,
    is_guided,
    refuse_stock,
    token_grid,
    with_image_guidance,
    with_sizes,
)
from dynaip.pipeline.phrases import have_phrases, text_masks, words_of
from dynaip.pipeline.placing import resolve_places
from dynaip.pipeline.provenance import RecordedBranches
from dynaip.pipeline.references import UNREADABLE, ReferenceReader, execution_device, side_by_side
from dynaip.pipeline.regional import Regional, encode_regions
from dynaip.pipeline.strength import block_scales
from dynaip.pipeline.subject import (
    Grid,
    Mask,
    Reference,
    Subject,
    are_lists,
    check_subjects,
    token_mask,
)


@dataclasses.dataclass
class PersonalPipelineOutput(BaseOutput):
    """What a `PersonalPipeline` returns.

    Attributes:
        images: The pipeline's pictures, of its `output_type`.
        coefficients: The weights of low, mid and high that made each reference, "b s l"; b is 1
            where all prompts share their subjects. With other people's adapters, which have no
            levels, l is 1, and all are one.
    """

    images: Any
    coefficients: Float[Tensor, "b s l"]


class Conditioning(NamedTuple):
    """Projected subjects.

    Attributes:
        prompt: Their keys and values, strengths and places.
        coefficients: The weights of the levels that made them.
        words: The prompt that their phrases are in; nothing where no subject has one.
    """

    prompt: ImagePrompt
    coefficients: Float[Tensor, "b s l"]
    words: str | None = None


Subjects = Sequence[Subject] | Sequence[Sequence[Subject]] | Conditioning
Negative = Reference | Subject | Sequence[Reference | Subject]


def load(
    model: str | Path | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> FluxPipeline:
    """Loads a FLUX model from a folder, or from the Hugging Face hub.

    Args:
        model: A pipeline's folder, or a hub id such as `black-forest-labs/FLUX.1-dev`; nothing, or
            `"miniature"`, is the bundled one.
        dtype: Precision; by default bf16 on an accelerator and fp32 on a CPU.
        device: Where it runs; by default the accelerator, if there is one.

    Raises:
        ValueError: There is no such folder, or no model of that name can be had.
    """
    if device is None:
        # Without the check it is what torch was built for, also where there is none.
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        device = accelerator or torch.device("cpu")
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    if model is None or (model == NAME and not Path(model).is_dir()):
        model = miniature_folder()
    folder = Path(model)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} holds no model: its model_index.json is missing; give a pipeline's folder."
        )
    try:
        import_own_parts(folder / "model_index.json")
        # Whole, so that the folder is found from elsewhere, too: its card is read later.
        location = folder.absolute() if folder.is_dir() else model
        pipe = FluxPipeline.from_pretrained(str(location), dtype=dtype)
    except UNREADABLE as error:
        if not folder.exists():
            raise ValueError(
                f"{model} is neither a folder here nor a model that the hub would give "
                f"({type(error).__name__}); check the path, or the name and the connection."
            ) from error
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"The model {model} cannot be loaded: {first}") from error
    return cast(FluxPipeline, pipe.to(device))


class PersonalPipeline:
    """A FLUX pipeline with an adapter attached: the same call, and `subjects`.

    Made by `adapter.attach(pipe)`. Works on any pipeline with a FLUX transformer
    (text-to-image, image-to-image, inpainting, ControlNet, Kontext, ...). A context manager; on
    leaving it, or on `detach`, the pipeline is what it was, the same objects.

    Attributes:
        pipe: The pipeline. Called by itself, it makes the base's pictures, at FLUX.1's sizes and
            guidance where none are given.
        adapter: The adapter.
        attachment: The adapter's processors in the pipeline's transformer.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        adapter: ImagePromptAdapter,
        image_encoder: PreTrainedModel | None = None,
        *,
        offload: bool = False,
    ) -> None:
        """Attaches `adapter`.

        Args:
            pipe: The pipeline.
            adapter: An adapter for its transformer, our own or other people's.
            image_encoder: What reads the references; by default the pipeline's own where it has
                one that the adapter can read, else the one that the adapter names.
            offload: Keep the adapter's weights on the CPU but while references are projected; what
                the blocks need afterwards are keys and values.

        Raises:
            ValueError: The pipeline has no FLUX transformer, or the adapter is for another base, or
                the encoder of another kind.
        """
        transformer = getattr(pipe, "transformer", None)
        if not isinstance(getattr(transformer, "_orig_mod", transformer), FluxTransformer2DModel):
            raise ValueError(
                f"{type(pipe).__name__} has no FLUX transformer; attach to a FLUX pipeline."
            )
        transformer = cast(FluxTransformer2DModel, transformer)
        _check_fit(transformer, adapter)
        self._references = ReferenceReader(pipe, adapter, image_encoder, offload)
        self.pipe, self.adapter = pipe, adapter
        self.attachment = attach(transformer, branches=BlockBranches(**adapter.branches))

    @property
    def reference_size(self) -> int:
        """Pixels of the square that the image encoder sees; its weights are not loaded for it.

        Raises:
            ValueError: It is not loaded yet, as with FLUX.1, and its config not to be had.
        """
        return self._references.size

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        subjects: Subjects = (),
        branches: Branches | BlockBranches | None = None,
        overlap: Overlap = "sum",
        image_guidance_scale: float = 1.0,
        negative_ip_adapter_image: Negative | None = None,
        regional_prompts: Sequence[str] | None = None,
        regional_masks: Sequence[Mask] | None = None,
        base_ratio: float | None = None,
        mask_inject_steps: int | None = None,
        **arguments: Any,
    ) -> PersonalPipelineOutput | tuple[Any, Tensor]:
        """Makes pictures of the subjects.

        Args:
            prompt: As the pipeline's own.
            subjects: The subjects of every picture; or a list of them for each prompt, all of one
                length; or what `encode` returned, which is used as it is. Nothing gives the base's
                pictures.
            branches: Rows that see the references: `"image"` (the paper's, Dynamic Decoupling),
                `"text"` or `"both"`; by default what the adapter says (of other people's, the rows
                that their weights were published for), and where that has no text rows and a
                subject has a phrase, `"both"`.
            overlap: Where subjects meet, `"sum"` (Equation 9), `"normalise"` or `"priority"` of
                earlier ones.
            image_guidance_scale: w of `v_0 + w (v_1 - v_0)`, where `v_1` sees prompt and subjects
                and `v_0` the same prompt without them: classifier-free guidance by the references
                alone. 1 is a single pass; more takes two in each step. Not with negative or
                regional prompts, nor in pipelines without `true_cfg_scale`.
            negative_ip_adapter_image: What the second pass of image guidance, or the unconditional
                one of true classifier-free guidance, sees, a picture, a card or a `Subject`, one
                or several; by default nothing. Where subjects have phrases, its image rows alone
                see it.
            regional_prompts: Prompts of places in the picture, beside `prompt`. This and the three
                after it are the arguments of InstantX's Regional-Prompting-FLUX.
            regional_masks: As many places, see `Subject.mask`; here a token is in or out.
            base_ratio: Share of `prompt` in the regions, 0 to 1; by default 0.3.
            mask_inject_steps: Denoising steps that the regions take part in; by default 10.
            **arguments: All others are the pipeline's. Height, width and `guidance_scale`, where
                not given, are those the model was made for.

        Returns:
            Pictures and coefficients; a tuple of them with `return_dict=False`.

        Raises:
            ValueError: A reference, mask or argument cannot be used.
        """
        refuse_stock(arguments)
        arguments = with_sizes(self.pipe, arguments)
        given = arguments.get("guidance_scale")
        arguments["guidance_scale"] = default_guidance(self.pipe, given)
        as_tuple = not arguments.pop("return_dict", True)
        words = words_of(prompt, arguments)
        conditioning = self._conditioning(words, subjects, arguments, overlap, branches)
        phrased = conditioning.prompt.text_mask is not None
        if image_guidance_scale != 1:
            if regional_prompts is not None:
                raise ValueError(
                    "image_guidance_scale and regional prompts do not go together: a second pass "
                    "has no regions; leave one of them out."
                )
            guided = with_image_guidance(self.pipe, prompt, image_guidance_scale, arguments)
            # Where neither pass sees anybody, both are the base's.
            seen = conditioning.prompt.subjects or negative_ip_adapter_image is not None
            arguments = guided if seen else arguments
        negative = self._negative(negative_ip_adapter_image, arguments, overlap, phrased)
        places = Regional(regional_prompts, regional_masks, base_ratio, mask_inject_steps)
        regions = encode_regions(self.pipe, places, token_grid(self.pipe, arguments), arguments)
        if regions is not None and phrased:
            raise ValueError(
                "Subjects' phrases and regional prompts do not go together: a region has words of "
                "its own; leave one of them out."
            )
        self.attachment.branches = attended_rows(self.adapter, phrased, branches)
        self.attachment.set_prompt(conditioning.prompt, negative)
        self.attachment.set_regions(regions)
        if regions or counts_steps(arguments, conditioning.prompt, negative):
            self.attachment.passes.follow(cast(Any, self.pipe).scheduler)
        try:
            images = cast(Any, self.pipe)(prompt=prompt, return_dict=False, **arguments)[0]
        finally:
            self.attachment.set_prompt(None)
            self.attachment.set_regions(None)
            self.attachment.passes.follow(None)
        if as_tuple:
            return images, conditioning.coefficients
        return PersonalPipelineOutput(images=images, coefficients=conditioning.coefficients)

    @torch.no_grad()
    def encode(
        self,
        subjects: Sequence[Subject],
        grid: Grid | None = None,
        overlap: Overlap = "sum",
        prompt: str | None = None,
        max_sequence_length: int | None = None,
    ) -> Conditioning:
        """Reads, encodes and projects the subjects of one picture: all that the blocks need.

        The result can be given as `subjects` to any number of calls: other prompts, other seeds.

        Args:
            subjects: Any number of them.
            grid: Rows and columns of image tokens; needed where a subject has a mask.
            overlap: See `__call__`.
            prompt: What T5 will read; needed where a subject has a phrase, and then the only prompt
                that the result is for.
            max_sequence_length: That of the calls, where it is not the pipeline's usual one.

        Raises:
            ValueError: A picture, mask or phrase cannot be used, the image encoder does not fit, or
                what is given are no subjects.
        """
        made = self._encode([subjects], grid, overlap)
        if not have_phrases([subjects]):
            return made
        if prompt is None:
            raise ValueError(
                "A subject's phrase is looked up in the prompt; give `encode` that as `prompt`."
            )
        length = {"max_sequence_length": max_sequence_length}
        masks = text_masks(self.pipe, [subjects], [prompt], with_sizes(self.pipe, length))
        return made._replace(prompt=made.prompt.with_text_mask(masks), words=prompt)

    @torch.no_grad()
    def encode_card(self, subject: Subject, *, fused: bool = False) -> SubjectCard:
        """A subject's pictures as the adapter's experts see them, to keep, share and use again.

        Args:
            subject: Its pictures, and for a fused card its granularity.
            fused: Keep the fused tokens alone: smaller, of one granularity. Cards of other people's
                adapters always are.

        Raises:
            ValueError: A picture cannot be used, or the adapter has no experts to keep apart.
        """
        with self._references.on_device():
            return self._references.card(subject, fused=fused)

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
        self,
        words: list[str] | None,
        subjects: Subjects,
        arguments: dict[str, Any],
        overlap: Overlap,
        branches: Branches | BlockBranches | None,
    ) -> Conditioning:
        if isinstance(subjects, Conditioning):
            if overlap != "sum":
                raise ValueError("These subjects are encoded already; give overlap to `encode`.")
            if subjects.words is not None and {*(words or ())} != {subjects.words}:
                raise ValueError(
                    "These subjects' phrases were looked up in another prompt, "
                    f"{subjects.words!r}; `encode` them for this one."
                )
            return subjects
        grid = token_grid(self.pipe, arguments)
        alike = not are_lists(subjects)
        each = cast(Sequence[Sequence[Subject]], [subjects] if alike else subjects)
        if not alike and len(words or ()) != len(each):
            raise ValueError(
                f"Subjects were given for {len(each)} prompts; give as many prompts, in a list."
            )
        made = self._encode(each, grid, overlap)
        pictures = arguments.get("num_images_per_prompt", 1)
        if made.prompt.batch > 1:
            made = made._replace(prompt=made.prompt.repeat_interleave(pictures))
        if not have_phrases(each):
            return made
        if words is None:
            raise ValueError(
                "A subject's phrase is looked up in the prompt; give that in words, as `prompt`."
            )
        every = [*each] * len(words) if alike else each
        # A picture in which nobody has a phrase is as it would be by itself.
        silent = attended_rows(self.adapter, False, branches).has_text
        masks = text_masks(self.pipe, every, words, arguments, silent)
        if len(masks) > 1:
            masks = masks.repeat_interleave(pictures, dim=0)
        return made._replace(prompt=made.prompt.with_text_mask(masks))

    def _encode(
        self, pictures: Sequence[Sequence[Subject]], grid: Grid | None, overlap: Overlap
    ) -> Conditioning:
        """The subjects of each picture of a batch, all of them with equally many tokens."""
        for subjects in pictures:
            check_subjects(subjects)
        resolve_overlap(torch.ones(1, 1, 1), overlap)
        with self._references.on_device():
            fused = [[self._references.fuse(each) for each in own] for own in pictures]
            tokens = iter(side_by_side([each.tokens for own in fused for each in own]))
            projected = [[self.adapter.project(next(tokens)) for _ in own] for own in fused]
        prompts = [
            self._together(own, subjects, grid, overlap)
            for own, subjects in zip(projected, pictures, strict=True)
        ]
        coefficients = [self._coefficients(own) for own in fused]
        return Conditioning(
            ImagePrompt.stack(prompts).to(
                execution_device(self.pipe), self.attachment.transformer.dtype
            ),
            torch.cat(coefficients),
        )

    def _together(
        self,
        prompts: Sequence[ImagePrompt],
        subjects: Sequence[Subject],
        grid: Grid | None,
        overlap: Overlap,
    ) -> ImagePrompt:
        """One picture's projected subjects, each in its place."""
        if not prompts:
            return ImagePrompt.empty()
        masks = resolve_places([subject.mask for subject in subjects])
        placed = [
            self._placed(prompt, subject, mask, grid)
            for prompt, subject, mask in zip(prompts, subjects, masks, strict=True)
        ]
        return dataclasses.replace(ImagePrompt.join(placed), overlap=overlap)

    def _coefficients(self, fused: Sequence[FusedTokens]) -> Float[Tensor, "1 s l"]:
        """Of each subject, the mean over its views."""
        if not fused:
            return torch.zeros(1, 0, self.adapter.levels)
        each = [one.coefficients.float().mean(0, keepdim=True).cpu() for one in fused]
        return torch.stack(each, dim=1)

    def _negative(
        self,
        given: Negative | None,
        arguments: dict[str, Any],
        overlap: Overlap,
        phrased: bool,
    ) -> ImagePrompt | None:
        if given is None:
            return None
        if not is_guided(arguments):
            raise ValueError(
                "negative_ip_adapter_image is for a second pass, and this call has none; give an "
                "image_guidance_scale above 1, or a negative_prompt and a true_cfg_scale above 1."
            )
        several = isinstance(given, Sequence) and not isinstance(given, str)
        each = cast(Sequence[Reference | Subject], given) if several else [given]
        subjects = [s if isinstance(s, Subject) else Subject(cast(Reference, s)) for s in each]
        if have_phrases([subjects]):
            raise ValueError(
                "A phrase names one of the picture's own subjects; leave it out of "
                "negative_ip_adapter_image."
            )
        prompt = self.encode(subjects, token_grid(self.pipe, arguments), overlap).prompt
        # Where phrases open text rows, those of the unconditional pass name nobody.
        return prompt.with_text_mask(torch.zeros(len(subjects), 1)) if phrased else prompt

    def _placed(
        self, prompt: ImagePrompt, subject: Subject, mask: Any, grid: Grid | None
    ) -> ImagePrompt:
        """A projected subject with its strength, time and place."""
        double = sum(site.kind == "double" for site in self.attachment.sites)
        scales = block_scales(subject.scale, double, prompt.blocks - double)
        prompt = prompt.with_scale(torch.tensor([scales]))
        if (subject.start, subject.end) != (0, 1):
            prompt = prompt.with_window(subject.start, subject.end)
        if mask is None:
            return prompt
        if grid is None:
            raise ValueError(
                "A mask needs the picture's size; give height and width to the call, or to "
                "`encode` the grid of its tokens, (height // 16, width // 16) on FLUX."
            )
        return prompt.with_mask(torch.from_numpy(token_mask(mask, grid))[None])


def attended_rows(
    adapter: ImagePromptAdapter,
    phrased: bool,
    given: Branches | BlockBranches | None = None,
) -> BlockBranches:
    """The rows that see references in a call.

    Args:
        adapter: Its own rows count where none are given.
        phrased: Whether a subject has a phrase, which needs text rows: then `"both"`, where the
            adapter's own have none.
        given: What the call says.
    """
    if isinstance(given, BlockBranches):
        return given
    own = BlockBranches(**adapter.branches)
    if given is None and (own.has_text or not phrased):
        return own
    rows = given or "both"
    return BlockBranches(double=rows, single=rows)


def recorded_branches(
    adapter: ImagePromptAdapter | None, phrased: bool, given: Branches | None = None
) -> RecordedBranches:
    """`attended_rows` in the word that settings have for them; where there is no adapter, `given`.

    Args:
        adapter: See `attended_rows`; nothing for the base by itself.
        phrased: See there.
        given: See there.
    """
    if adapter is None:
        return given or "image"
    rows = attended_rows(adapter, phrased, given)
    return rows.double if rows.double == rows.single else "published"


def check_attended(
    adapter: ImagePromptAdapter, phrased: bool, given: Branches | BlockBranches | None = None
) -> None:
    """Refuses rows, or words, that the adapter does not have, before there is any subject.

    Args:
        adapter: See `attended_rows`.
        phrased: See there.
        given: See there.

    Raises:
        ValueError: A call would be refused for its branches or its phrases.
    """
    prompt = _nobody(adapter)
    if phrased:
        prompt = prompt.with_text_mask(torch.zeros(1, 1))
    check_rows(prompt, attended_rows(adapter, phrased, given))


def _nobody(adapter: ImagePromptAdapter) -> ImagePrompt:
    """A subject without tokens: what the adapter projects, and where it puts it."""
    return adapter.project(next(adapter.parameters()).new_empty(1, 0, adapter.config.token_dim))


def _check_fit(transformer: FluxTransformer2DModel, adapter: ImagePromptAdapter) -> None:
    """Refuses an adapter for another base.

    Other people's files do not say where single blocks begin: what they project is compared, as
    far as a prompt without tokens shows it.
    """
    if isinstance(adapter.config, DynaIPConfig):
        check_base(transformer, adapter.config)
    else:
        check_prompt(_nobody(adapter), find_sites(transformer))
