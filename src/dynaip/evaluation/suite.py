"""The run behind `dynaip evaluate miniature`: systems, trials, pictures, figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dynaip.evaluation.calibration import strange_figure
from dynaip.evaluation.figures import Figure
from dynaip.evaluation.generation import GUIDED, OWN_WORDS, Generator, Use, make_pictures
from dynaip.evaluation.miniature import (
    Trial,
    adapter_figures,
    adapter_trials,
    autoencoder_figure,
    base_figures,
    base_trials,
    decoded,
    probe_figures,
    read,
    renders,
)
from dynaip.evaluation.probe import Probe

# The first way is the paper's; targets are set for both ways of `HELD`.
WAYS = {
    "adapter, image rows (DDS)": Use(),
    "adapter, image rows (DDS), image guidance 3": GUIDED,
    "adapter, image and text rows": Use(branches="both"),
    "adapter, image rows and own words": OWN_WORDS,
}
HELD = frozenset({"adapter, image rows (DDS)", "adapter, image rows (DDS), image guidance 3"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Systems:
    """Who makes the pictures.

    Attributes:
        base: The base by itself.
        adapters: The adapter by name of the group, in its ways of being used; targets are set for
            those in `HELD`.
        reference_size: Side of the references in pixels.
    """

    base: Generator
    adapters: Mapping[str, Generator] = dataclasses.field(default_factory=dict)
    reference_size: int = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """One evaluation of the miniature.

    Attributes:
        probe: Reads the pictures.
        autoencoder: The base's.
        folder: Keeps the pictures between runs.
        count: Trials of each task; each is of another held-out subject.
        batch_size: Pictures a call.
        seed: Of the trials.
        progress: Called with a stage's name, its pictures in all, and how many more are done.
    """

    probe: Probe
    autoencoder: nn.Module
    folder: Path
    count: int = 512
    batch_size: int = 32
    seed: int = 0
    progress: Callable[[str, int, int], Any] = lambda stage, total, done: None

    def run(self, systems: Systems) -> list[Figure]:
        """Makes what is missing, reads everything; figures in the report's order."""
        return [*self._base(systems), *self._adapter(systems)]

    def _base(self, systems: Systems) -> list[Figure]:
        trials = base_trials(self.count, self.seed)
        clean = renders(trials, self.probe.config.size)
        restored = decoded(self.autoencoder, clean)
        real = read(self.probe, trials, clean)
        pictures = self._make("base", systems.base, trials)
        made = read(self.probe, trials, pictures)
        return [
            autoencoder_figure(clean, restored),
            *probe_figures(real, read(self.probe, trials, restored)),
            *base_figures(made, real),
            strange_figure(
                "base", self.probe.energy(pictures), self.probe.energy(restored), made.clusters
            ),
        ]

    def _adapter(self, systems: Systems) -> list[Figure]:
        if not systems.adapters:
            return []
        trials = adapter_trials(self.count, self.seed)
        perfect = decoded(self.autoencoder, renders(trials, self.probe.config.size))
        ceiling = read(self.probe, trials, perfect)
        usual = self.probe.energy(perfect)
        stage = "base, the adapter's prompts"
        without = read(self.probe, trials, self._make(stage, systems.base, trials))
        figures = []
        for group, generator in systems.adapters.items():
            pictures = self._make(group, generator, trials, systems.reference_size)
            made = read(self.probe, trials, pictures)
            figures += adapter_figures(
                group, trials, made, ceiling, without, held_to_targets=group in HELD
            )
            strangeness = self.probe.energy(pictures)
            figures.append(strange_figure(group, strangeness, usual, made.clusters))
        return figures

    def _make(
        self,
        stage: str,
        generator: Generator,
        trials: list[Trial],
        reference_size: int | None = None,
    ) -> Any:
        requests = [trial.request(reference_size) for trial in trials]
        return make_pictures(
            generator,
            requests,
            self.folder / "pictures" / _folder_name(stage),
            batch_size=self.batch_size,
            on_pictures=lambda done: self.progress(stage, len(requests), done),
        )


def _folder_name(stage: str) -> str:
    """Letters and single hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in stage).split())
