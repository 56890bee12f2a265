"""Table 2 against ground truth: one row of measures for each way of making the same pictures.

Pictures wait in files that are named after what they depend on, and a row is a function of them, so
a run that was stopped goes on, and the same checkpoints give the same rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from torch import nn

from dynaip.evaluation.calibration import strange
from dynaip.evaluation.factors import PICTURE_FACTORS, labels
from dynaip.evaluation.figures import MEASURABLE, Reading
from dynaip.evaluation.generation import Generator, make_pictures
from dynaip.evaluation.miniature import PROMPTED, Trial, decoded, read, renders
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.statistics import (
    NOT_MEASURED,
    Columns,
    Comparison,
    Interval,
    Statistic,
    cluster_bootstrap,
    cluster_bootstrap_ratio,
    compare,
    mean_columns,
    ratio,
)
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.leakage import (
    copy_paste_index,
    following,
    specified_leak,
    unspecified_leak,
)
from dynaip.evaluation.truth.preservation import (
    TIERS,
    Preservation,
    concept_scores,
    measurable_tiers,
    preservation,
)
from dynaip.evaluation.truth.scores import tier_columns, tier_statistic

# What prompts of the trials leave open, though a reference shows it.
OPEN = tuple(name for name in PICTURE_FACTORS if name not in PROMPTED)
LEAKS = (*(f"leak_{name}" for name in PROMPTED), *(f"open_{name}" for name in OPEN))


class Seen(NamedTuple):
    """Pictures as the probe sees them.

    Attributes:
        reading: What it reads.
        energies: How strange it finds each.
    """

    reading: Reading
    energies: Float[np.ndarray, " b"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What all ways of making pictures share.

    Attributes:
        trials: What is asked for, each with the picture that its reference is cut from.
        probe: Reads the pictures.
        autoencoder: The base's; its round trip of the right picture is the ceiling.
        folder: Keeps the pictures.
        readable: Factors that the instruments read well enough, others are in no measure; nothing
            asks the trials' own renders.
        usual: Energies of perfect pictures, which tell what is strange; likewise.
        reference_size: Side of the references in pixels.
        batch_size: Pictures a call.
        on_pictures: Called with how many more are done.
    """

    trials: Sequence[Trial]
    probe: Probe
    autoencoder: nn.Module
    folder: Path
    readable: frozenset[str] | None = None
    usual: Float[np.ndarray, " n"] | None = None
    reference_size: int = 64
    batch_size: int = 32
    on_pictures: Callable[[int], Any] | None = None

    @cached_property
    def ceiling(self) -> Seen:
        """The probe on round-tripped renders."""
        return self.see(self.restored(renders(self.trials, self.probe.config.size)))

    @cached_property
    def sources(self) -> Reading:
        """What is true of the pictures that references were cut from."""
        specs = [trial.source for trial in self.trials if trial.source is not None]
        if len(specs) < len(self.trials):
            raise ValueError("Every trial needs the picture that its reference is cut from.")
        truths = labels(specs, self.probe.config.values)
        names = np.arange(len(specs))
        values = self.probe.config.values
        return Reading(values=values, truths=truths, answers=truths, clusters=names)

    def reads(self, factor: str) -> bool:
        """Whether the instruments read a factor of the picture well enough to measure it."""
        if self.readable is None:
            return bool(self.ceiling.reading.right(factor).mean() >= MEASURABLE)
        return factor in self.readable

    def restored(self, pictures: UInt8[np.ndarray, "b y x 3"]) -> UInt8[np.ndarray, "b y x 3"]:
        """Pictures after the autoencoder's round trip."""
        return decoded(self.autoencoder, pictures)

    def pictures(self, name: str, generator: Generator) -> UInt8[np.ndarray, "b y x 3"]:
        """A generator's pictures, of which the missing ones are made."""
        return make_pictures(
            generator,
            [trial.request(self.reference_size) for trial in self.trials],
            self.folder / name,
            batch_size=self.batch_size,
            on_pictures=self.on_pictures,
        )

    def see(self, pictures: UInt8[np.ndarray, "b y x 3"]) -> Seen:
        """Reads pictures of the trials; a category that the prompt says tells nothing."""
        found = read(self.probe, self.trials, pictures)
        named = np.array([trial.named for trial in self.trials])
        found = dataclasses.replace(found, told={"category": named})
        return Seen(found, self.probe.energy(pictures))


def ablation_row(
    name: str, identity: Mapping[str, Any], made: Seen, base: Seen, bench: Bench
) -> dict[str, Any]:
    """All measures of one way, as JSON values, beside what made the pictures.

    Intervals are value, low and high end; `null` is what was not measured.

    Args:
        name: Of the way.
        identity: Names the checkpoint's hash and the settings.
        made: Its pictures.
        base: The base's pictures, same prompts and seeds.
        bench: What they share.
    """
    kept = _kept(made, bench)
    clusters = made.reading.clusters
    each, before = _by_picture(made, bench), _by_picture(base, bench)
    row: dict[str, Any] = {"name": name, **identity, "pictures": len(bench.trials)}
    row["cp"] = jsonable(kept.overall)
    row["detail_gap"] = jsonable(kept.detail_gap)
    row |= {f"cp_{tier}": jsonable(score) for tier, score in kept.tiers.items()}
    row["factors"] = {factor: dataclasses.asdict(score) for factor, score in kept.factors.items()}
    row |= {
        measure: jsonable(cluster_bootstrap(mean_columns(values), clusters, ratio))
        for measure, values in each.items()
    }
    row["retention"] = jsonable(cluster_bootstrap_ratio(each["pf"], before["pf"], clusters))
    row["cp_pf"] = jsonable(_product(made, kept, each["pf"], bench))
    return row


def differences(first: Seen, second: Seen, bench: Bench) -> dict[str, dict[str, Any]]:
    """One way's measures minus another's on the same trials, each with its sign-flip test.

    Args:
        first: One way's pictures.
        second: The other's.
        bench: What they share.

    Returns:
        By measure, as `ratio_differences`.
    """
    clusters = first.reading.clusters
    other = kept_columns(second, bench)
    found = {
        name: tested(compare(columns, other[name][0], clusters, statistic))
        for name, (columns, statistic) in kept_columns(first, bench).items()
    }
    made, against = (
        {name: mean_columns(values) for name, values in _by_picture(side, bench).items()}
        for side in (first, second)
    )
    return found | ratio_differences(made, against, clusters)


def kept_columns(seen: Seen, bench: Bench) -> dict[str, tuple[Columns, Statistic]]:
    """CP and its tiers as columns and the statistic of their sums; none that is not measurable."""
    found = concept_scores(seen.reading, bench.ceiling.reading, readable=bench.readable)
    tiers = measurable_tiers(found)
    scores = {"cp": list(tiers.values()), **{f"cp_{tier}": [tiers[tier]] for tier in tiers}}
    return {
        name: (
            tier_columns(seen.reading, bench.ceiling.reading, members),
            tier_statistic(seen.reading, members, [1 / len(members)] * len(members)),
        )
        for name, members in scores.items()
        if all(members)
    }


def followed_columns(seen: Seen, bench: Bench) -> Columns:
    """PF as columns whose `ratio` it is."""
    return mean_columns(_followed(seen.reading, bench)["pf"])


def ratio_differences(
    first: Mapping[str, Columns], second: Mapping[str, Columns], clusters: Shaped[np.ndarray, " b"]
) -> dict[str, dict[str, Any]]:
    """One way's `ratio`s less another's on the same rows, as JSON values.

    Args:
        first: One way's columns, by measure.
        second: The other's, of the same measures.
        clusters: The subject that each row belongs to.

    Returns:
        By measure: `difference` with its interval, `p`, and the smallest `detectable` one.
    """
    return {
        name: tested(compare(columns, second[name], clusters, ratio))
        for name, columns in first.items()
    }


def tested(comparison: Comparison) -> dict[str, Any]:
    """`difference` with its interval, `p`, and the smallest `detectable` one, as JSON values."""
    return jsonable(comparison._asdict())


def _kept(seen: Seen, bench: Bench) -> Preservation:
    return preservation(seen.reading, bench.ceiling.reading, readable=bench.readable)


def _by_picture(seen: Seen, bench: Bench) -> dict[str, Float[np.ndarray, " b"]]:
    """What each picture adds to the measures that are means."""
    made = seen.reading
    usual = bench.ceiling.energies if bench.usual is None else bench.usual
    return {
        **_followed(made, bench),
        "named_category": _named_category(made, bench),
        **_leaked(made, bench),
        "strange": strange(seen.energies, usual).astype(float),
    }


def _followed(made: Reading, bench: Bench) -> dict[str, Float[np.ndarray, " b"]]:
    """Of the prompted factors that are read well enough; not numbers where none is."""
    names = [name for name in PROMPTED if bench.reads(name)]
    if not names:
        nothing = np.full(len(made.clusters), np.nan)
        return dict.fromkeys(("pf", "all_right", "copy_paste"), nothing)
    right = {name: made.right(name) for name in names}
    options = {name: len(made.values[name]) for name in names}
    ceilings = {name: _ceiling(name, bench) for name in names}
    shown, given, wanted = (
        np.stack([side[name] for name in names], axis=1)
        for side in (made.answers, bench.sources.truths, made.truths)
    )
    return {
        "pf": following(right, ceilings, options),
        "all_right": np.all(list(right.values()), axis=0).astype(float),
        "copy_paste": copy_paste_index(shown, given, wanted),
    }


def _named_category(made: Reading, bench: Bench) -> Float[np.ndarray, " b"]:
    """Where the prompt says what it is, whether that is drawn; not a number elsewhere."""
    right = made.right("category").astype(float)
    return np.where(made.told["category"] & bench.reads("category"), right, np.nan)


def _leaked(made: Reading, bench: Bench) -> dict[str, Float[np.ndarray, " b"]]:
    """Each factor of the picture by itself; not numbers where it is not read well enough."""
    given = bench.sources.truths
    options = {name: len(made.values[name]) for name in PICTURE_FACTORS}
    ceilings = {name: _ceiling(name, bench) for name in PICTURE_FACTORS}
    leaks = {
        f"leak_{name}": specified_leak(
            made.answers[name],
            given[name],
            made.truths[name],
            options=options[name],
            ceiling=ceilings[name],
        )
        for name in PROMPTED
        if bench.reads(name)
    }
    leaks |= {
        f"open_{name}": unspecified_leak(
            made.answers[name], given[name], options=options[name], ceiling=ceilings[name]
        )
        for name in OPEN
        if bench.reads(name)
    }
    nothing = np.full(len(made.clusters), np.nan)
    return {name: leaks.get(name, nothing) for name in LEAKS}


def _ceiling(factor: str, bench: Bench) -> float:
    return float(bench.ceiling.reading.right(factor).mean())


def _product(made: Seen, kept: Preservation, pf: Float[np.ndarray, " b"], bench: Bench) -> Interval:
    """CP times PF, of the means (M5)."""
    tiers = list(measurable_tiers(kept.factors).values())
    if not all(tiers):
        return NOT_MEASURED
    columns: Columns = np.concatenate(
        [tier_columns(made.reading, bench.ceiling.reading, tiers), mean_columns(pf)], axis=1
    )
    preserved: Statistic = tier_statistic(made.reading, tiers, [1 / len(TIERS)] * len(TIERS))
    return cluster_bootstrap(
        columns, made.reading.clusters, lambda sums: preserved(sums[:, :-2]) * ratio(sums[:, -2:])
    )
