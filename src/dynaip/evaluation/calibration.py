"""How far the instruments can be trusted: ceilings, floors, disagreement, strangeness."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from dynaip.evaluation.analytic import read_letter
from dynaip.evaluation.factors import UNANSWERABLE, blind_guess
from dynaip.evaluation.figures import MEASURABLE, Figure
from dynaip.evaluation.miniature import Trial, read
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.statistics import cluster_bootstrap_ratio
from dynaip.miniature.toyland import render
from dynaip.miniature.toyland.palette import NAMED

# Two probes that part more often than this do not know what they read.
MOST_DISAGREEMENT = 0.1
# Oracle renders stranger than this share of them are called out of distribution.
USUAL = 0.99


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well one factor is read off round-tripped held-out renders.

    Attributes:
        factor: Its name.
        ceilings: Accuracy of each probe, by its name.
        analytic: Accuracy of the reader without training, for the factors that have one.
        chance: Accuracy of a blind guess.
        disagreement: Share of pictures about which the probes part.
        count: Pictures that carry the factor.
    """

    factor: str
    ceilings: Mapping[str, float]
    chance: float
    disagreement: float
    count: int
    analytic: float | None = None

    @property
    def measurable(self) -> bool:
        """Whether the first probe reads it well enough and the probes agree about it."""
        first = next(iter(self.ceilings.values()))
        return first >= MEASURABLE and self.disagreement <= MOST_DISAGREEMENT

    def to_row(self) -> dict[str, Any]:
        """As JSON values."""
        return {**dataclasses.asdict(self), "measurable": self.measurable}


def calibrate_probes(
    probes: Mapping[str, Probe], trials: Sequence[Trial], oracle: UInt8[np.ndarray, "b y x 3"]
) -> list[Calibration]:
    """Reads round-tripped renders of held-out subjects with every reader.

    Glyph and main colour are also read without training: `read_letter` and `dominant_colour`.

    Args:
        probes: By name; the first one is the one that measures.
        trials: Held-out subjects.
        oracle: Renders of their targets after the autoencoder's round trip.
    """
    readings = {name: read(probe, trials, oracle) for name, probe in probes.items()}
    first = next(iter(readings.values()))
    masks = [render(trial.target, oracle.shape[1]).masks[0] for trial in trials]
    rows = []
    for factor in first.values:
        counted = first.counted(factor)
        answers = {name: reading.answers[factor] for name, reading in readings.items()}
        apart = np.zeros(len(oracle), bool)
        for other in answers.values():
            apart |= other != first.answers[factor]
        truths = first.truths[factor][counted]
        analytic = None
        if reader := _ANALYTIC.get(factor):
            seen = [
                reader(oracle[index], masks[index], first.values[factor])
                for index in np.flatnonzero(counted)
            ]
            analytic = float((np.array(seen) == truths).mean())
        rows.append(
            Calibration(
                factor=factor,
                ceilings={
                    name: float((answer[counted] == truths).mean())
                    for name, answer in answers.items()
                },
                chance=blind_guess(factor, first.values[factor]),
                disagreement=float(apart[counted].mean()),
                count=int(counted.sum()),
                analytic=analytic,
            )
        )
    return rows


class Strangeness(NamedTuple):
    """What a probe calls out of distribution, if 1 % of some oracle renders are.

    Attributes:
        renders: Share of other oracle renders; about 1 % too, if the threshold holds.
        blends: Share of averages of two renders; the more, the better it sees what is strange.
    """

    renders: float
    blends: float


def calibrate_strangeness(
    probe: Probe, oracle: UInt8[np.ndarray, "b y x 3"], others: UInt8[np.ndarray, "n y x 3"]
) -> Strangeness:
    """Tries the out-of-distribution rate where its right value is known.

    Args:
        probe: Whose energy counts.
        oracle: Round-tripped renders that the threshold is taken of.
        others: The same of other subjects, which are judged.
    """
    blends = (others // 2) + (np.roll(others, 1, axis=0) // 2)
    threshold = probe.energy(oracle)
    return Strangeness(
        *(float(strange(probe.energy(each), threshold).mean()) for each in (others, blends))
    )


def strange(
    energies: Float[np.ndarray, " b"], oracle: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " b"]:
    """Which pictures are stranger than all but 1 % of oracle renders.

    Args:
        energies: `Probe.energy` of the pictures.
        oracle: The same of round-tripped renders.
    """
    return energies > np.quantile(oracle, USUAL)


def strange_figure(
    group: str,
    energies: Float[np.ndarray, " b"],
    oracle: Float[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " b"],
) -> Figure:
    """Out-of-distribution rate of a system's pictures; lower is better, oracle renders have 0.01.

    Its interval takes the threshold as given.

    Args:
        group: Name of the system.
        energies: `Probe.energy` of its pictures.
        oracle: The same of round-tripped renders of the same specs.
        clusters: The subject that each picture is of.
    """
    seen = strange(energies, oracle).astype(np.float64)
    share = cluster_bootstrap_ratio(seen, np.ones_like(seen), clusters)
    return Figure(
        group=group, name="strange pictures", **share._asdict(), count=len(seen), at_most=True
    )


def dominant_colour(
    picture: UInt8[np.ndarray, "y x 3"], mask: Bool[np.ndarray, "y x"], options: Sequence[str]
) -> int:
    """The named colour that most pixels under a mask are nearest to, without any training.

    Grey pixels, such as outlines and white patterns, have no say.

    Returns:
        An index into `options`; `UNANSWERABLE` where every pixel is grey.
    """
    names = np.array([NAMED[name] for name in options]) / 255
    pixels = picture[mask].astype(np.float64) / 255
    colourful = np.ptp(pixels, axis=1) > 0.15 if len(pixels) else np.zeros(0, bool)
    if not colourful.any():
        return UNANSWERABLE
    distances = np.linalg.norm(pixels[colourful][:, None] - names, axis=2)
    return int(np.bincount(distances.argmin(1), minlength=len(options)).argmax())


_AnalyticReader = Callable[
    [UInt8[np.ndarray, "y x 3"], Bool[np.ndarray, "y x"], Sequence[str]], int
]
_ANALYTIC: dict[str, _AnalyticReader] = {"main_colour": dominant_colour, "glyph": read_letter}
