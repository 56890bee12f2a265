"""The miniature's figures: autoencoder, base, and adapter, measured against Toyland's truth.

Every picture that is judged has a spec that says what it should show. The probe reads the picture,
and reads a real render of the same spec as its yardstick.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import nn

from dynaip.evaluation.corruptions import round_trip
from dynaip.evaluation.factors import CONCEPT_FACTORS, PICTURE_FACTORS, labels
from dynaip.evaluation.figures import Figure, Reading, factor_figure
from dynaip.evaluation.generation import Request
from dynaip.evaluation.probe import Probe, as_pictures, as_tensor
from dynaip.evaluation.statistics import cluster_bootstrap_ratio
from dynaip.miniature.toyland import Spec, caption, render, sample_spec, segment, vary

BASE_STREAM, ADAPTER_STREAM = 2, 3
PROMPTED = ("scene", "light", "posture")
# Thirty words cannot name the small mark besides all of these.
BASE_PROMPTED = tuple(name for name in (*CONCEPT_FACTORS, *PICTURE_FACTORS) if name != "mark")

AUTOENCODER_TARGET = 30.0
BASE_TARGETS: dict[str, float] = dict.fromkeys(
    ("category", "scene", "light", "posture", "facing", "position", "main_colour"), 0.9
)
KEPT_TARGETS = {
    "category": 0.85,
    "main_colour": 0.85,
    "second_colour": 0.6,
    "pattern": 0.6,
    "glyph": 0.3,
}
PROMPTED_TARGET = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A picture to be made, and what it should show.

    Attributes:
        target: What it should show.
        prompt: The words that say so, or the part of it that the reference does not.
        seed: Of its noise.
        source: The picture that the reference was cut from; none for the base.
        named: Whether the prompt names the category.
    """

    target: Spec
    prompt: str
    seed: int
    source: Spec | None = None
    named: bool = True

    def request(self, reference_size: int | None = None) -> Request:
        """What a generator is asked, with the reference if it has one and a size is given."""
        if self.source is None or reference_size is None:
            return Request(prompt=self.prompt, seed=self.seed)
        return Request(
            prompt=self.prompt,
            seed=self.seed,
            references=(segment(self.source, size=reference_size),),
            phrases=(self.target.actors[0].concept.category if self.named else "toy",),
        )


def base_trials(count: int, seed: int = 0) -> list[Trial]:
    """Held-out subjects in prompts that name all of `BASE_PROMPTED`."""
    return [_base_trial(index, seed) for index in range(count)]


def adapter_trials(count: int, seed: int = 0) -> list[Trial]:
    """Held-out subjects, each cut from one picture and asked for in another.

    Prompts name scene, light and posture, and nothing of how the subject looks; every other one
    calls it a toy instead of what it is.
    """
    return [_adapter_trial(index, seed) for index in range(count)]


def _base_trial(index: int, seed: int) -> Trial:
    rng = np.random.default_rng([BASE_STREAM, seed, index])
    spec = sample_spec(rng, split="test")
    return Trial(target=spec, prompt=caption(spec, rng, name=BASE_PROMPTED), seed=_noise_seed(rng))


def _adapter_trial(index: int, seed: int) -> Trial:
    rng = np.random.default_rng([ADAPTER_STREAM, seed, index])
    source = sample_spec(rng, split="test")
    target = vary(source, rng)
    named = index % 2 == 0
    prompt = caption(target, rng, name=(*PROMPTED, "category") if named else PROMPTED)
    return Trial(target=target, prompt=prompt, seed=_noise_seed(rng), source=source, named=named)


def _noise_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def renders(trials: Sequence[Trial], size: int) -> UInt8[np.ndarray, "b y x 3"]:
    """What perfect pictures would be."""
    return np.stack([render(trial.target, size).image for trial in trials])


def decoded(
    autoencoder: nn.Module, pictures: UInt8[np.ndarray, "b y x 3"], batch_size: int = 128
) -> UInt8[np.ndarray, "b y x 3"]:
    """Pictures after the autoencoder's round trip: the best that any generation can be."""
    parts = torch.from_numpy(pictures).split(batch_size)
    return np.concatenate(
        [as_pictures(round_trip(autoencoder, as_tensor(part.numpy()))) for part in parts]
    )


def read(probe: Probe, trials: Sequence[Trial], pictures: UInt8[np.ndarray, "b y x 3"]) -> Reading:
    """What the probe says of the trials' pictures."""
    values = probe.config.values
    return Reading(
        values=values,
        truths=labels([trial.target for trial in trials], values),
        answers=probe.read(pictures),
        clusters=np.array([repr(trial.target.actors[0].concept) for trial in trials]),
    )


def autoencoder_figure(
    pictures: UInt8[np.ndarray, "b y x 3"], restored: UInt8[np.ndarray, "b y x 3"]
) -> Figure:
    """Peak signal-to-noise ratio of the round trip, over all pixels together."""
    difference = pictures.astype(np.float64) - restored
    each = np.square(difference).mean((1, 2, 3))
    # More error is less PSNR, so the interval's ends change places.
    error = cluster_bootstrap_ratio(each, np.ones_like(each), np.arange(len(each)))
    value, high, low = (_decibels(part) for part in error)
    return Figure(
        group="autoencoder",
        name="round trip",
        unit="dB",
        value=value,
        low=low,
        high=high,
        count=len(pictures),
        target=AUTOENCODER_TARGET,
    )


def _decibels(error: float) -> float:
    """Of a mean square error of bytes."""
    return 10 * math.log10(255**2 / error) if error else math.inf


def probe_figures(real: Reading, restored: Reading) -> list[Figure]:
    """The probe's accuracy after the round trip, its ceiling, over that on clean renders."""
    return [factor_figure("probe", factor, restored, real) for factor in real.values]


def base_figures(made: Reading, real: Reading) -> list[Figure]:
    """Accuracy per prompted factor, over the probe's own on real renders of the same specs."""
    return [
        factor_figure("base", factor, made, real, target=BASE_TARGETS.get(factor))
        for factor in BASE_PROMPTED
        if factor in made.values
    ]


def adapter_figures(
    group: str,
    trials: Sequence[Trial],
    made: Reading,
    ceiling: Reading,
    without: Reading,
    *,
    held_to_targets: bool = True,
) -> list[Figure]:
    """What the adapter keeps of the reference, and of what the prompt asks for.

    Args:
        group: Name of the system.
        trials: What was asked for.
        made: The probe on the adapter's pictures.
        ceiling: The probe on round-tripped renders of the targets.
        without: The probe on the base's pictures of the same prompts and seeds.
        held_to_targets: Whether this system is the one that targets are set for.
    """
    kept = KEPT_TARGETS if held_to_targets else {}
    figures = [
        factor_figure(group, factor, made, ceiling, target=kept.get(factor))
        for factor in CONCEPT_FACTORS
        if factor in made.values
    ]
    named = np.array([trial.named for trial in trials])
    figures += list(_category_by_prompt(group, made, ceiling, named))
    target = PROMPTED_TARGET if held_to_targets else None
    figures += [
        factor_figure(
            group,
            factor,
            made,
            without,
            ceiling=ceiling,
            name=f"prompted {factor}",
            target=target,
        )
        for factor in PROMPTED
    ]
    return figures


def _category_by_prompt(
    group: str, made: Reading, ceiling: Reading, named: Bool[np.ndarray, " b"]
) -> Iterator[Figure]:
    for among, name in ((named, "category, named"), (~named, 'category, called "toy"')):
        yield factor_figure(group, "category", made, ceiling, among=among, name=name)
