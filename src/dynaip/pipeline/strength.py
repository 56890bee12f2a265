"""A subject's strength λ: one number, or one for each block of the base."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real

Scale = float | Sequence[float] | Mapping[str, float]

_RANGE = re.compile(r"(double|single)(?:\.(\d+)(?:-(\d+))?)?")


def check_scale(scale: Scale) -> None:
    """Refuses what is no strength for any base.

    Raises:
        ValueError: A number is negative, not finite or none, or a range of blocks has no such name.
    """
    if isinstance(scale, Mapping):
        for name in scale:
            if not _RANGE.fullmatch(name):
                raise ValueError(
                    "scale names blocks as 'double', 'single', 'double.3' or 'single.0-9'; got "
                    f"{name!r}."
                )
        numbers = list(scale.values())
    else:
        numbers = list(scale) if isinstance(scale, Sequence) else [scale]
    for number in numbers:
        if not (isinstance(number, Real) and math.isfinite(number) and number >= 0):
            raise ValueError(f"scale must be a number from 0 up, got {number!r}.")


def block_scales(scale: Scale, double: int, single: int) -> list[float]:
    """λ of each block; one number where all of them share it.

    Args:
        scale: A number; one number a block, double-stream blocks first; or numbers by named range,
            such as `{"double": 1, "single": 0.5, "single.0-9": 0}`. Of ranges that overlap the
            later one counts, and blocks that none names keep 1.
        double: Double-stream blocks of the base.
        single: Its single-stream blocks.

    Raises:
        ValueError: The numbers are not as many as the blocks, or a range leaves the base.
    """
    if isinstance(scale, Mapping):
        return _by_range(scale, {"double": (0, double), "single": (double, single)})
    if not isinstance(scale, Sequence):
        return [float(scale)]
    if len(scale) != double + single:
        raise ValueError(
            f"scale lists {len(scale)} numbers, and this base has {double + single} blocks "
            f"({double} double, {single} single); give one number, or one for each block."
        )
    return [float(number) for number in scale]


def _by_range(scale: Mapping[str, float], kinds: Mapping[str, tuple[int, int]]) -> list[float]:
    scales = [1.0] * sum(count for _, count in kinds.values())
    for name, number in scale.items():
        match = _RANGE.fullmatch(name)
        assert match is not None, "names were checked when the subject was made"
        kind, first, last = match.groups()
        offset, count = kinds[kind]
        start = int(first or 0)
        stop = count if first is None else int(last or first) + 1
        if not start < stop <= count:
            raise ValueError(
                f"scale names the blocks {name!r}, and this base has {count} {kind} blocks, "
                f"counted from 0; give a range within them."
            )
        scales[offset + start : offset + stop] = [float(number)] * (stop - start)
    return scales
