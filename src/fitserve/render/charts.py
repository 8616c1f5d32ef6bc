"""Charts as SVG, made on the server: bars of memory, lines, intervals. Widths are per cent, so that a chart stretches and
its text does not; colours are those of the style sheet, by class; every chart has a title and a description in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_NICE = (1, 2, 2.5, 5, 10)
_TICKS = 5
_BAR, _GAP, _TOP = 34, 8, 22
_LABEL_SHARE = 0.16
"""A segment wide enough for its label, as a share of the bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a bar. `code` chooses its colour; `label` stands on it where there is room, `title` says it in full."""

    code: str
    value: float
    label: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """One device: its parts, the whole and the limit that an engine keeps to, all in one unit."""

    name: str
    segments: tuple[Segment, ...]
    capacity: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A named line of (x, y) points."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A named estimate: low, likely and high."""

    name: str
    low: float
    likely: float
    high: float
    text: str


def memory_bars(
    bars: Sequence[MemoryBar], *, chart_id: str, title: str, description: str, unit: str, limit_text: str
) -> str:
    """One bar a device on a common scale. Parts beyond the limit show, in red, past the caret."""
    most = max([1.0, *(max(bar.capacity, sum(part.value for part in bar.segments)) for bar in bars)])
    rows: list[str] = []
    height = _TOP
    rows += _ticks_above(most, unit)
    for bar in bars:
        rows.append(f'<text class="name" x="0" y="{height + 14}">{escape(bar.name)}</text>')
        height += 20
        rows += _bar(bar, most, height)
        height += _BAR + _GAP
    limit = bars[-1].limit / most * 100
    rows.append(f'<text class="strong" x="{limit:.3f}%" y="{height + 8}" text-anchor="end">{escape(limit_text)}</text>')
    return _svg(chart_id, title, description, height + 16, rows)


def _bar(bar: MemoryBar, most: float, top: int) -> list[str]:
    rows = [f'<rect class="track" x="0" y="{top}" width="{bar.capacity / most * 100:.3f}%" height="{_BAR}"/>']
    start = 0.0
    for part in bar.segments:
        if part.value <= 0:
            continue
        x, width = start / most * 100, part.value / most * 100
        rows.append(
            f'<rect class="seg {part.code}" x="{x:.3f}%" y="{top}" width="{width:.3f}%" height="{_BAR}">'
            f"<title>{escape(part.title)}</title></rect>"
        )
        if part.value / most >= _LABEL_SHARE:
            middle = top + _BAR / 2 + 4
            rows.append(
                f'<text class="in-{part.code} wide" x="{x + width / 2:.3f}%" y="{middle:g}" text-anchor="middle">'
                f"{escape(part.label)}</text>"
            )
        start += part.value
    if start > bar.limit:
        x, width = bar.limit / most * 100, (start - bar.limit) / most * 100
        rows.append(f'<rect class="over" x="{x:.3f}%" y="{top}" width="{width:.3f}%" height="{_BAR}"/>')
    limit = bar.limit / most * 100
    rows.append(f'<line class="limit" x1="{limit:.3f}%" x2="{limit:.3f}%" y1="{top - 5}" y2="{top + _BAR + 5}"/>')
    return rows


def _ticks_above(most: float, unit: str) -> list[str]:
    rows = []
    for value in nice_ticks(most):
        if value <= most:
            share = value / most * 100
            rows.append(_scale_text(value, most, unit))
            rows.append(f'<line class="tick" x1="{share:.3f}%" x2="{share:.3f}%" y1="14" y2="19"/>')
    return rows


def _scale_text(value: float, most: float, unit: str) -> str:
    """A number above the chart; zero carries the unit."""
    text = f"{_number(value)} {unit}" if not value else _number(value)
    share = value / most * 100
    return f'<text x="{share:.3f}%" y="10" text-anchor="{_anchor(value, most)}">{escape(text)}</text>'


def _anchor(value: float, most: float) -> str:
    return "start" if value <= 0 else "end" if value / most > 0.95 else "middle"


def line_chart(
    lines: Sequence[Line], *, chart_id: str, title: str, description: str, x_title: str, y_title: str,
    x_names: Sequence[str], limit: float | None = None, limit_text: str = "", top: float | None = None,
) -> str:  # fmt: skip
    """Lines over equally spaced `x_names`; x of a point is the index of its name. `limit` is drawn across.

    `top` cuts the scale; points above it are left out, and their line ends at the edge.
    """
    left, right, upper, lower = 8.0, 97.0, 26, 236
    ticks = nice_ticks(top or max(value for line in lines for _, value in line.points))
    most = top or ticks[-1]

    def x(value: float) -> float:
        return left + (right - left) * value / max(1, len(x_names) - 1)

    def y(value: float) -> float:
        return lower - (lower - upper) * value / most

    rows = [f'<text class="strong" x="0" y="12">{escape(y_title)}</text>']
    for value in ticks:
        if value > most:
            continue
        rows.append(f'<line class="grid" x1="{left}%" x2="{right}%" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        rows.append(f'<text x="{left - 1}%" y="{y(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for index, name in enumerate(x_names):
        rows.append(f'<text x="{x(index):.3f}%" y="{lower + 16}" text-anchor="middle">{escape(name)}</text>')
    rows.append(f'<line class="axis" x1="{left}%" x2="{right}%" y1="{lower}" y2="{lower}"/>')
    rows.append(f'<text x="{right}%" y="{lower + 32}" text-anchor="end">{escape(x_title)}</text>')
    if limit is not None:
        rows.append(f'<line class="limit" x1="{left}%" x2="{right}%" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    for index, line in enumerate(lines):
        rows += _line(line, index, most, x, y)
    if limit is not None:
        rows.append(f'<text class="strong halo" x="{left + 1}%" y="{y(limit) - 6:.1f}">{escape(limit_text)}</text>')
    return _svg(chart_id, title, description, lower + 40, rows)


def _line(line: Line, index: int, most: float, x: object, y: object) -> list[str]:
    assert callable(x) and callable(y)
    rows: list[str] = []
    for (x1, y1), (x2, y2) in zip(line.points, line.points[1:], strict=False):
        if y1 > most:
            break
        share = 1.0 if y2 <= most else (most - y1) / (y2 - y1)  # a line that leaves the chart ends at its edge
        x_end, y_end = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share
        rows.append(
            f'<line class="line s{index % 4}" x1="{x(x1):.3f}%" y1="{y(y1):.1f}" x2="{x(x_end):.3f}%" y2="{y(y_end):.1f}"/>'
        )
    shown = [(px, py) for px, py in line.points if py <= most]
    rows += [
        f'<circle class="dot s{index % 4}" cx="{x(px):.3f}%" cy="{y(py):.1f}" r="4">'
        f"<title>{escape(line.name)}: {_number(py)}</title></circle>"
        for px, py in shown
    ]
    if shown:
        px, py = shown[-1]
        rows.append(
            f'<text class="name" x="{x(px):.3f}%" y="{y(py) - 9:.1f}" text-anchor="end">{escape(line.name)}</text>'
        )
    return rows


def interval_chart(ranges: Sequence[Range], *, chart_id: str, title: str, description: str, unit: str) -> str:
    """A band from low to high and a mark at the likely value for each name, on one linear scale from zero."""
    ticks = nice_ticks(max(item.high for item in ranges))
    most = ticks[-1]
    rows: list[str] = []
    height = 18
    for value in ticks:
        share = value / most * 100
        rows.append(_scale_text(value, most, unit))
        rows.append(f'<line class="grid" x1="{share:.3f}%" x2="{share:.3f}%" y1="16" y2="{18 + 44 * len(ranges)}"/>')
    for item in ranges:
        low, likely, high = (value / most * 100 for value in (item.low, item.likely, item.high))
        top = height + 20
        rows += [
            f'<text class="name" x="0" y="{height + 14}">{escape(item.name)}</text>',
            f'<text class="strong" x="100%" y="{height + 14}" text-anchor="end">{escape(item.text)}</text>',
            f'<rect class="band" x="{low:.3f}%" y="{top}" width="{high - low:.3f}%" height="14">'
            f"<title>{escape(item.name)}: {escape(item.text)}</title></rect>",
            *(f'<line class="end" x1="{at:.3f}%" x2="{at:.3f}%" y1="{top}" y2="{top + 14}"/>' for at in (low, high)),
            f'<line class="likely" x1="{likely:.3f}%" x2="{likely:.3f}%" y1="{top - 3}" y2="{top + 17}"/>',
        ]
        height += 44
    return _svg(chart_id, title, description, height + 4, rows)


def nice_ticks(most: float) -> tuple[float, ...]:
    """Round values from zero to at least `most`."""
    if most <= 0:
        return (0.0, 1.0)
    raw = most / _TICKS
    scale = 10 ** floor(log10(raw))
    step = next(nice * scale for nice in _NICE if nice * scale >= raw)
    return tuple(step * index for index in range(ceil(most / step - 1e-9) + 1))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _svg(chart_id: str, title: str, description: str, height: float, rows: Iterable[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<svg class="chart" height="{height:g}" role="img" aria-labelledby="{chart_id}-t {chart_id}-d">'
        f'<title id="{chart_id}-t">{escape(title)}</title><desc id="{chart_id}-d">{escape(description)}</desc>\n{body}\n</svg>'
    )
