"""Line plots and timelines as SVG text: the same values give the same bytes. Colours are readable on light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 320
_LEFT: Final = 70
_RIGHT: Final = 20
_TOP: Final = 40
_BOTTOM: Final = 46
_COLOURS: Final = ("#2a78d6", "#d9822b", "#3f9c4c", "#b2488a")
_GREY: Final = "#9aa3ad"
_RED: Final = "#d0343f"
_STEPS: Final = 5
_MOST_ROWS: Final = 400
_ROW: Final = 4


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name and its points."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A request on the time axis, in seconds: waiting until `first_s`, then answered until `last_s`."""

    start_s: float
    first_s: float
    last_s: float
    is_good: bool = True


def _n(value: float) -> str:
    """Two places at most, without a trailing zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


_LEAST_SPAN = 1e-300
"""What is shorter is drawn as nothing: divided into steps it would be zero."""


def _span(values: Sequence[float]) -> float:
    """The largest value; one where there is none to speak of."""
    most = max(values, default=0.0)
    return most if most >= _LEAST_SPAN else 1.0


def tick_step(span: float, most: int = _STEPS) -> float:
    """A step of 1, 2 or 5 times a power of ten, so that at most `most` of them cover the span."""
    if span < _LEAST_SPAN or not math.isfinite(span):
        return 1.0
    power = 10 ** math.floor(math.log10(span / most))
    return float(next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most))


def _frame(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
        f'height="{_n(height)}" role="img" font-family="sans-serif" font-size="12" fill="currentColor">'
    )
    return (
        "\n".join([head, f"<title>{escape(title)}</title>", _text(_LEFT, 22, title, size=14), *parts, "</svg>"]) + "\n"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, colour: str | None = None) -> str:
    fill = "" if colour is None else f' fill="{colour}"'
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" font-size="{size}"{fill}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{_GREY}" stroke-width="1" opacity="0.4"/>'


def line_plot(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """Lines over a common x; both axes begin at 0."""
    drawn = [line for line in series if line.points]
    x_most = _span([x for line in drawn for x, _ in line.points])
    y_most = _span([y for line in drawn for _, y in line.points])
    x_step, y_step = tick_step(x_most, 8), tick_step(y_most)
    y_top = math.ceil(y_most / y_step - 1e-9) * y_step
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / x_most, _TOP + high * (1 - y / y_top)

    parts: list[str] = []
    for index in range(round(y_top / y_step) + 1):
        _, y = place(0, index * y_step)
        parts += [_line(_LEFT, y, _WIDTH - _RIGHT, y), _text(_LEFT - 6, y + 4, f"{index * y_step:,g}", "end")]
    for index in range(int(x_most / x_step + 1e-9) + 1):
        x, _ = place(index * x_step, 0)
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, f"{index * x_step:,g}", "middle"))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 8, x_name, "middle"))
    parts.append(_text(8, 22, y_name))
    for index, line in enumerate(drawn):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [place(x, y) for x, y in sorted(line.points)]
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(_WIDTH - _RIGHT, 22 + 15 * index, line.name, "end", colour=colour))
    return _frame(_WIDTH, _HEIGHT, title, parts)


def timeline(title: str, x_name: str, bars: Sequence[Bar]) -> str:
    """A thin row a request, in the order of their start; of very many, evenly chosen ones."""
    ordered = sorted(bars, key=lambda bar: (bar.start_s, bar.last_s))
    every = max(1, math.ceil(len(ordered) / _MOST_ROWS))
    shown = ordered[::every]
    most = _span([bar.last_s for bar in shown])
    height = _TOP + _ROW * len(shown) + _BOTTOM
    wide, step = _WIDTH - _LEFT - _RIGHT, tick_step(most, 8)
    parts = []
    for index in range(int(most / step + 1e-9) + 1):
        x = _LEFT + wide * index * step / most
        parts += [_line(x, _TOP, x, height - _BOTTOM), _text(x, height - _BOTTOM + 18, f"{index * step:,g}", "middle")]
    for index, bar in enumerate(shown):
        y = _TOP + _ROW * index
        spans = ((bar.start_s, bar.first_s, _GREY), (bar.first_s, bar.last_s, _COLOURS[0] if bar.is_good else _RED))
        for begin, end, colour in spans:
            x, width = _LEFT + wide * begin / most, max(0.0, wide * (end - begin) / most)
            parts.append(
                f'<rect x="{_n(x)}" y="{y}" width="{_n(max(width, 0.5))}" height="{_ROW - 1}" fill="{colour}"/>'
            )
    parts.append(_text(_LEFT + wide / 2, height - 8, x_name, "middle"))
    parts.append(_text(_LEFT - 6, _TOP + 10, f"1 / {every}" if every > 1 else f"{len(shown)}", "end"))
    return _frame(_WIDTH, height, title, parts)


def stacked(plots: Sequence[str]) -> str:
    """Several plots under each other in one picture."""
    y, parts = 0.0, []
    for plot in plots:
        head, _, body = plot.partition("\n")
        height = float(head.split('height="')[1].split('"')[0])
        parts.append(f'<g transform="translate(0 {_n(y)})">\n{body.rsplit("</svg>", 1)[0]}</g>')
        y += height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_n(y)}" width="{_WIDTH}" height="{_n(y)}" '
        'font-family="sans-serif" font-size="12" fill="currentColor">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
