"""Path strings for the few outlines that everything is drawn with."""

from __future__ import annotations


def oval(cx: float, cy: float, rx: float, ry: float) -> str:
    """An ellipse around (cx, cy)."""
    return (
        f"M{cx - rx:.1f} {cy:.1f}a{rx:.1f} {ry:.1f} 0 1 0 {2 * rx:.1f} 0"
        f"a{rx:.1f} {ry:.1f} 0 1 0 {-2 * rx:.1f} 0Z"
    )


def rounded(x: float, y: float, width: float, height: float, radius: float) -> str:
    """A rectangle with round corners; (x, y) is its top left."""
    r = min(radius, width / 2, height / 2)
    across, down = width - 2 * r, height - 2 * r
    return (
        f"M{x + r:.1f} {y:.1f}h{across:.1f}q{r:.1f} 0 {r:.1f} {r:.1f}v{down:.1f}"
        f"q0 {r:.1f} {-r:.1f} {r:.1f}h{-across:.1f}q{-r:.1f} 0 {-r:.1f} {-r:.1f}"
        f"v{-down:.1f}q0 {-r:.1f} {r:.1f} {-r:.1f}Z"
    )


def polygon(*points: tuple[float, float]) -> str:
    """A closed polygon."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def polyline(*points: tuple[float, float]) -> str:
    """An open line through points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
