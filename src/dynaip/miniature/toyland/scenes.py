"""The six places of the paper's Table 3: pale, calm, recognisable at a glance."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dynaip.miniature.toyland.palette import RGB, Air, mix
from dynaip.miniature.toyland.svg import oval, polygon, rounded


class Backdrop:
    """Collects a scene's flat shapes in tinted colours."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._parts: list[str] = []

    def fill(self, path: str, colour: RGB) -> None:
        """A flat shape."""
        self._parts.append(f'<path d="{path}" fill="{self._air.scene(colour)}"/>')

    def stroke(self, path: str, colour: RGB, width: float) -> None:
        """A line."""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{self._air.scene(colour)}" '
            f'stroke-width="{width}" stroke-linecap="round"/>'
        )

    def svg(self) -> str:
        """The elements drawn so far."""
        return "".join(self._parts)


def _sheet(top: float, bottom: float = 100) -> str:
    return f"M0 {top}H100V{bottom}H0Z"


def _room(back: Backdrop, rng: Random) -> None:
    wall = mix((250, 236, 214), (240, 226, 232), rng.random())
    back.fill(_sheet(0, 68), wall)
    for x in range(4, 100, 12):
        back.stroke(f"M{x} 0V66", mix(wall, (255, 255, 255), 0.45), 2)
    back.fill(_sheet(68), (222, 190, 156))
    back.stroke("M0 68H100", (250, 246, 240), 4)
    for y in (78, 90):
        back.stroke(f"M0 {y}H100", (204, 170, 136), 1)
    left = rng.choice((7.0, 12.0, 62.0, 68.0))
    back.fill(rounded(left - 2, 10, 30, 34, 1), (255, 255, 255))
    back.fill(rounded(left, 12, 26, 30, 1), (196, 224, 240))
    back.stroke(f"M{left + 13} 12V42M{left} 27H{left + 26}", (255, 255, 255), 2)
    frame = 78.0 if left < 50 else 16.0
    back.fill(oval(frame, 24, 9, 11), (214, 182, 150))
    back.fill(oval(frame, 24, 6.5, 8.5), (252, 244, 230))


def _snow(back: Backdrop, rng: Random) -> None:
    back.fill(_sheet(0), (206, 222, 238))
    peak = rng.uniform(18, 40)
    back.fill(polygon((peak - 36, 66), (peak, 26), (peak + 38, 66)), (186, 204, 226))
    back.fill(polygon((peak - 9, 36), (peak, 26), (peak + 10, 36.5), (peak, 40)), (250, 252, 255))
    back.fill(polygon((peak + 10, 66), (peak + 48, 34), (peak + 88, 66)), (194, 212, 232))
    back.fill(f"M0 66Q{rng.uniform(20, 40):.1f} 56 56 66T100 62V100H0Z", (242, 247, 252))
    back.fill("M0 82Q30 74 60 82T100 80V100H0Z", (252, 253, 255))
    for x in (rng.uniform(4, 14), rng.uniform(84, 96)):
        for row in range(3):
            y = 40 + row * 8
            back.fill(
                polygon((x, y - 10), (x - 5 - row * 2, y + 4), (x + 5 + row * 2, y + 4)),
                (168, 198, 196),
            )
    flakes = "".join(oval(rng.uniform(2, 98), rng.uniform(2, 60), 1.3, 1.3) for _ in range(14))
    back.fill(flakes, (255, 255, 255))


def _jungle(back: Backdrop, rng: Random) -> None:
    back.fill(_sheet(0), (204, 228, 192))
    for x in (rng.uniform(12, 24), rng.uniform(44, 56), rng.uniform(76, 88)):
        back.fill(
            f"M{x - 4:.1f} 0Q{x - 2:.1f} 40 {x - 5:.1f} 76H{x + 6:.1f}"
            f"Q{x + 2:.1f} 40 {x + 5:.1f} 0Z",
            (182, 198, 160),
        )
    back.fill("M0 70Q25 64 50 70T100 68V100H0Z", (176, 204, 150))
    for _ in range(3):
        x, end = rng.uniform(6, 94), rng.uniform(18, 40)
        back.stroke(f"M{x:.1f} 0Q{x + 6:.1f} {end / 2:.1f} {x:.1f} {end:.1f}", (146, 188, 132), 1.6)
    back.fill(
        "M0 0H100V8Q92 18 84 9Q74 20 64 10Q54 18 46 9Q36 19 27 10Q16 20 9 10Q4 16 0 12Z",
        (150, 192, 136),
    )
    for x, lean in ((0, 1), (100, -1)):
        for reach, y in ((26, 42), (30, 60), (22, 78)):
            reach *= rng.uniform(0.8, 1.15)
            tip = x + lean * reach
            back.fill(
                f"M{x} {y}Q{x + lean * reach * 0.5:.1f} {y - 20} {tip:.1f} {y - 8}"
                f"Q{x + lean * reach * 0.5:.1f} {y + 4} {x} {y + 10}Z",
                (152, 194, 138),
            )
            back.stroke(
                f"M{x} {y + 5}Q{x + lean * reach * 0.5:.1f} {y - 9} {tip:.1f} {y - 8}",
                (184, 214, 166),
                1,
            )


def _beach(back: Backdrop, rng: Random) -> None:
    back.fill(_sheet(0), (206, 234, 248))
    back.fill(_sheet(48, 72), (128, 198, 222))
    for y in (53, 59):
        x = rng.uniform(0, 30)
        back.stroke(f"M{x:.1f} {y}h22m18 0h26", (176, 224, 238), 1.6)
    back.fill("M0 68Q25 62 50 67T100 64V100H0Z", (250, 250, 244))
    back.fill("M0 71Q25 65 50 70T100 67V100H0Z", (246, 228, 178))
    side = rng.choice((0, 1))
    x, lean = (8.0, 1) if side == 0 else (92.0, -1)
    back.stroke(f"M{x} 76Q{x + lean * 2} 50 {x + lean * 6} 26", (212, 184, 140), 4)
    top = x + lean * 6
    for dx, dy in ((18, 2), (14, 14), (-16, 4), (-12, 15), (4, -12)):
        back.stroke(
            f"M{top} 26Q{top + dx * 0.6:.1f} {20 + dy * 0.2:.1f} {top + dx} {24 + dy}",
            (150, 202, 158),
            4,
        )
    sail = rng.uniform(34, 66)
    back.fill(polygon((sail, 38), (sail, 49), (sail + 8, 49)), (255, 255, 255))


def _grass(back: Backdrop, rng: Random) -> None:
    back.fill(_sheet(0), (212, 234, 252))
    for x in (rng.uniform(8, 36), rng.uniform(60, 92)):
        y = rng.uniform(12, 24)
        back.fill(
            oval(x, y, 10, 4.5) + oval(x - 4, y - 3, 5, 4) + oval(x + 4, y - 2, 5, 4),
            (252, 253, 255),
        )
    top = rng.uniform(50, 58)
    back.fill(f"M0 62Q28 {top:.1f} 58 62T100 58V100H0Z", (190, 222, 160))
    back.fill("M0 70Q34 63 66 70T100 68V100H0Z", (170, 212, 136))
    blades = "".join(
        f"M{x:.1f} {y:.1f}l-1.5 -4M{x:.1f} {y:.1f}l1.5 -4"
        for x, y in ((rng.uniform(3, 97), rng.uniform(74, 98)) for _ in range(12))
    )
    back.stroke(blades, (138, 188, 108), 1.2)
    flowers = "".join(oval(rng.uniform(3, 97), rng.uniform(70, 98), 1.5, 1.5) for _ in range(7))
    back.fill(flowers, (255, 250, 236))


def _street(back: Backdrop, rng: Random) -> None:
    back.fill(_sheet(0), (226, 232, 240))
    x = -rng.uniform(0, 14)
    number = rng.randrange(3)
    walls = ((236, 214, 206), (232, 226, 204), (212, 220, 226))
    while x < 100:
        width, top = rng.uniform(24, 30), rng.uniform(20, 30)
        back.fill(f"M{x:.1f} {top:.1f}h{width:.1f}V68h{-width:.1f}Z", walls[number % 3])
        back.fill(
            polygon((x - 1, top), (x + width / 2, top - 14), (x + width + 1, top)), (206, 178, 172)
        )
        windows = "".join(
            f"M{x + width * share - 3:.1f} {y:.1f}h6v9h-6Z"
            for share in (0.28, 0.72)
            for y in (top + 6, top + 22)
        )
        back.fill(windows, (188, 200, 216))
        x, number = x + width, number + 1
    back.fill(_sheet(68), (176, 176, 182))
    for row, (y, height) in enumerate(((69.2, 6.2), (76.6, 7.2), (85, 8.4), (94.6, 9))):
        width = 8.6 + row * 1.6
        start = -width * (0.5 if row % 2 else 0.1)
        stones = "".join(
            rounded(start + index * width, y, width - 1.3, height, 2.6)
            for index in range(int(100 / width) + 2)
        )
        back.fill(stones, (208, 206, 206) if row % 2 else (200, 200, 204))


_SCENES: dict[str, Callable[[Backdrop, Random], None]] = {
    "room": _room,
    "snow": _snow,
    "jungle": _jungle,
    "beach": _beach,
    "grass": _grass,
    "street": _street,
}


def scenery(scene: str, seed: int, air: Air) -> str:
    """The SVG elements of a scene in a box of 100 by 100; `white` is plain white paper."""
    if scene not in _SCENES:
        return '<path d="M0 0H100V100H0Z" fill="#fff"/>'
    back = Backdrop(air)
    _SCENES[scene](back, Random(seed))
    return back.svg()
