"""A curve as SVG: one line over the last minutes, and where its limit is.

What is drawn is said too, for whoever hears a page instead of seeing it. Colours are the style
sheet's. May not import anything with an effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

WIDTH, HEIGHT = 300, 64
#: Room above, below and to the right of the line, which is two wide.
EDGE = 3
_SVG = Markup(
    '<svg class="curve" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img"'
    ' aria-label="{label}"><title>{label}</title>{content}</svg>'
)
_LIMIT = Markup('<path class="limit" d="M0 {y:.1f}H{width}"/>')
_PATH = Markup('<path class="{kind}" d="{points}"/>')
Point = tuple[float, float]


def curve(values: Sequence[float], label: str, *, most: int, limit: float = 0.0) -> Markup:
    """Return a curve of values, oldest first.

    Args:
        values: NaN where there is none.
        label: what it shows, in words.
        most: how many values fill the width; with fewer, the curve begins further right.
        limit: what the values are to stay below; 0 for no limit.
    """
    top = max([limit, *(value for value in values if not math.isnan(value))], default=0.0) or 1.0
    content = Markup()
    if limit:
        content += _LIMIT.format(y=_height(limit, top), width=WIDTH)
    for line in _lines(values[-most:], top, most):
        ground = f"L{line[-1][0]:.1f} {HEIGHT}L{line[0][0]:.1f} {HEIGHT}Z"
        content += _PATH.format(kind="area", points=_path(line) + ground)
        content += _PATH.format(kind="line", points=_path(line))
    return _SVG.format(width=WIDTH, height=HEIGHT, label=label, content=content)


def _height(value: float, top: float) -> float:
    return HEIGHT - EDGE - value / top * (HEIGHT - 2 * EDGE)


def _lines(values: Sequence[float], top: float, most: int) -> list[list[Point]]:
    """Return the points of each piece of the curve; where there is no value, it has a gap."""
    step, begin = (WIDTH - EDGE) / max(1, most - 1), most - len(values)
    points = [((begin + at) * step, value) for at, value in enumerate(values)]
    pieces = groupby(points, key=lambda point: math.isnan(point[1]))
    return [
        _less([(x, _height(value, top)) for x, value in piece])
        for is_gap, piece in pieces
        if not is_gap
    ]


def _less(line: list[Point]) -> list[Point]:
    """Leave out the points in the middle of level stretches: most of most curves."""
    inner = zip(line, line[1:], line[2:], strict=False)
    kept = [here for before, here, after in inner if not before[1] == here[1] == after[1]]
    return [line[0], *kept, line[-1]]


def _path(line: list[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
