"""A laboratory that a test can afford."""

from __future__ import annotations

from pathlib import Path

import tiny
from knowing import SIZE

from dynaip.analysis.attention_maps import picture_attention
from dynaip.evaluation.detector import Detector, DetectorConfig
from dynaip.evaluation.experiments import Laboratory
from dynaip.evaluation.probe import Probe


def laboratory(model: Path, folder: Path, probe: Probe, count: int) -> Laboratory:
    pipe = tiny.pipeline()
    # Room for all words of Toyland's captions: a phrase that is cut off is refused.
    pipe.tokenizer_2 = tiny.tokenizer(40)
    return Laboratory(
        pipe=pipe,
        model=model,
        guidance=3.5,
        adapters={"full": model / "adapter"},
        variants={
            "full": model / "adapter",
            "full-seed1": model / "adapter",
            "add": model / "add",
            "add-seed1": model / "add",
        },
        intra=model / "add",
        probe=probe,
        look=picture_attention,
        finder=Detector(DetectorConfig(size=SIZE, widths=(4, 4, 4), threshold=0.0)),
        folder=folder,
        count=count,
        calibration=12,
        steps=1,
    )
