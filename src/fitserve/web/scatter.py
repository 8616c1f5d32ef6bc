"""Predicted against measured, on logarithmic axes; a miss beyond 30 per cent is hollow and red, and none is left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_MISS_PCT = 30.0
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 8.0, 98.0, 26, 420
_FEW_TICKS = (1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One case. `error_pct` is signed."""

    measured: float
    predicted: float
    name: str
    error_pct: float


def scatter(dots: Sequence[Dot], *, x_title: str, y_title: str, title: str) -> Markup:
    """The drawing; empty without dots."""
    if not dots:
        return Markup("")
    values = [value for dot in dots for value in (dot.measured, dot.predicted)]
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.06 * (high - low), 0.05)
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (math.log10(value) - low) / (high - low)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (math.log10(value) - low) / (high - low)

    rows = [f'<text class="strong" x="0" y="14">{escape(y_title)}</text>']
    for value in _ticks(low, high):
        text = f"{value:,g}"
        rows.append(f'<line class="grid" x1="{x(value):.2f}%" x2="{x(value):.2f}%" y1="{_TOP}" y2="{_BOTTOM}"/>')
        rows.append(f'<line class="grid" x1="{_LEFT}%" x2="{_RIGHT}%" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        rows.append(f'<text x="{x(value):.2f}%" y="{_BOTTOM + 16}" text-anchor="middle">{text}</text>')
        rows.append(f'<text x="{_LEFT - 0.8}%" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    first, last = 10**low, 10**high
    rows.append(f'<line class="diag" x1="{x(first):.2f}%" y1="{y(first):.1f}" x2="{x(last):.2f}%" y2="{y(last):.1f}"/>')
    for dot in sorted(dots, key=lambda item: abs(item.error_pct)):
        kind = "pt out" if abs(dot.error_pct) > _MISS_PCT else "pt"
        label = f"{dot.name}: {dot.measured:,.4g} → {dot.predicted:,.4g} ({dot.error_pct:+.1f} %)"
        rows.append(
            f'<circle class="{kind}" cx="{x(dot.measured):.2f}%" cy="{y(dot.predicted):.1f}" r="4">'
            f"<title>{escape(label)}</title></circle>"
        )
    rows.append(f'<text class="strong" x="{_RIGHT}%" y="{_HEIGHT - 4}" text-anchor="end">{escape(x_title)}</text>')
    return Markup(  # noqa: S704 - every text above is escaped
        f'<svg class="scatter" width="100%" height="{_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(rows)}</svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them where the range is short."""
    steps = _FEW_TICKS if high - low < 2.5 else (1,)
    found = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [value for value in found if low <= math.log10(value) <= high]
