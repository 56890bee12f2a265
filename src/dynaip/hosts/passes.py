"""Which pass of a pipeline runs: how far it is, and for which half of true guidance.

`FluxPipeline` names its passes through `cache_context`; diffusers' other FLUX pipelines do not.
All of them run the conditional pass of a step first, so where nothing is named, a second pass at
the same step of the scheduler is the unconditional one.
"""

from __future__ import annotations

from typing import Any

UNCONDITIONAL = "uncond"


class Passes:
    """Follows the passes of one pipeline call.

    Attributes:
        name: What the pipeline calls the pass, where it says so.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._scheduler: Any = None
        self._latest: int | None = None

    def follow(self, scheduler: Any) -> None:
        """Counts the steps of this scheduler from here on; `None` counts nothing."""
        self._scheduler, self._latest = scheduler, None

    def unconditional(self) -> bool:
        """Whether this pass is the unconditional one. To be asked once a pass."""
        if self.name is not None or self._scheduler is None:
            return self.name == UNCONDITIONAL
        done, self._latest = self._latest, self.done()
        return done == self._latest

    def position(self) -> float:
        """The share of this call's steps that are done, 0 in the first.

        Raises:
            ValueError: No scheduler is followed.
        """
        done = self.done()
        return done / self.steps()

    def steps(self) -> int:
        """This call's steps, done and to come. Only while a scheduler is followed."""
        # An image-to-image pipeline begins in the middle of the schedule.
        return len(self._scheduler.timesteps) - (self._scheduler.begin_index or 0)

    def done(self) -> int:
        """This call's steps that are done.

        Raises:
            ValueError: No scheduler is followed.
        """
        if self._scheduler is None:
            raise ValueError(
                "What comes or goes during the steps needs their scheduler; call "
                "`attachment.passes.follow(pipe.scheduler)` before the pipeline."
            )
        index, begin = self._scheduler.step_index, self._scheduler.begin_index or 0
        return 0 if index is None else index - begin
