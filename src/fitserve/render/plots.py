"""Small pictures in text: lines and points over two axes.

A character of braille holds two by four dots and is one column wide in every terminal, which the East Asian width of
other marks is not; points that must be told apart are written as short labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_DOTS_WIDE, _DOTS_HIGH = 2, 4
_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LEAST_COLUMNS, _MOST_COLUMNS = 24, 56
_TICKS_ROOM = 3
_GAP = 3
_LEAST_BESIDE = 36

Point = tuple[float, float]
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Points over two axes: joined by a line, or each with its label. A `log` axis has equal steps for equal ratios.

    `labels`: one a point, else a line joins them. `faint`: indices of points that stand back.
    """

    title: str
    points: tuple[Point, ...]
    x_text: Format
    y_text: Format
    x_title: str = ""
    labels: tuple[str, ...] = ()
    faint: frozenset[int] = frozenset()
    log_x: bool = False
    log_y: bool = False
    rows: int = 8
    columns: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture, as wide as the terminal lets it be up to a limit."""
        yield Text("\n").join(self.lines(options.max_width))

    def lines(self, width: int) -> list[Text]:
        """Title, rows with their scale on the left, the axis and its scale."""
        xs = _Scale.over([x for x, _ in self.points], is_log=self.log_x)
        ys = _Scale.over([y for _, y in self.points], is_log=self.log_y)
        ticks = {0: self.y_text(ys.high), self.rows - 1: self.y_text(ys.low)}
        ticks[(self.rows - 1) // 2] = self.y_text(ys.at(1 - ((self.rows - 1) // 2) / (self.rows - 1)))
        room = max(len(text) for text in ticks.values())
        columns = max(_LEAST_COLUMNS, min(self.columns or _MOST_COLUMNS, width - room - _TICKS_ROOM))
        body = self._labelled(xs, ys, columns) if self.labels else self._drawn(xs, ys, columns)
        lines = [Text(self.title, style="bold")]
        for index, line in enumerate(body):
            has_tick = index in ticks
            lines.append(Text(f"{ticks.get(index, ''):>{room}} {'┤' if has_tick else '│'}").append_text(line))
        lines.append(Text(f"{'':>{room}} └{'─' * columns}"))
        return [*lines, self._below(xs, room, columns)]

    def _below(self, xs: "_Scale", room: int, columns: int) -> Text:
        """The scale of the axis: its ends, and its title between them."""
        low, high = self.x_text(xs.low), self.x_text(xs.high)
        title = Text(f" {self.x_title} ", style="dim")
        left = (columns - title.cell_len) // 2 - len(low)
        right = columns - len(low) - max(left, 0) - title.cell_len - len(high)
        if left < 0 or right < 0:
            return Text(f"{'':>{room + 2}}{low}{high:>{max(1, columns - len(low))}}")
        return Text(f"{'':>{room + 2}}{low}{'':>{left}}").append_text(title).append(f"{'':>{right}}{high}")

    def _drawn(self, xs: "_Scale", ys: "_Scale", columns: int) -> list[Text]:
        """A line of dots through the points."""
        wide, high = columns * _DOTS_WIDE, self.rows * _DOTS_HIGH
        cells = [[0] * columns for _ in range(self.rows)]
        places = [
            (round(xs.share(x) * (wide - 1)), round((1 - ys.share(y)) * (high - 1))) for x, y in sorted(self.points)
        ]
        for x, y in _joined(places):
            cells[y // _DOTS_HIGH][x // _DOTS_WIDE] |= _BITS[y % _DOTS_HIGH][x % _DOTS_WIDE]
        return [Text("".join(chr(_BRAILLE + bits) if bits else " " for bits in row)) for row in cells]

    def _labelled(self, xs: "_Scale", ys: "_Scale", columns: int) -> list[Text]:
        """The labels at their points; one that finds its place taken moves aside, and is left out where there is no room."""
        rows: list[list[tuple[str, bool]]] = [[(" ", False)] * columns for _ in range(self.rows)]
        order = sorted(range(len(self.points)), key=lambda index: index in self.faint)
        for index in order:
            label = self.labels[index]
            column = min(round(xs.share(self.points[index][0]) * (columns - 1)), columns - len(label))
            row = round((1 - ys.share(self.points[index][1])) * (self.rows - 1))
            place = _free(rows, row, column, len(label))
            if place is not None:
                for offset, letter in enumerate(label):
                    rows[place[0]][place[1] + offset] = (letter, index in self.faint)
        lines = []
        for row_cells in rows:
            line = Text()
            for letter, is_faint in row_cells:
                line.append(letter, style="dim" if is_faint else "bold green" if letter != " " else "")
            lines.append(line)
        return lines


@dataclass(frozen=True, slots=True)
class _Scale:
    """From a value to its share of the axis."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def over(cls, values: Sequence[float], *, is_log: bool) -> "_Scale":
        """The axis of some values; a logarithm needs them above zero."""
        return cls(min(values), max(values), is_log and min(values) > 0)

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one; the middle where all values are one."""
        if self.high == self.low:
            return 0.5
        if self.is_log:
            return log(value / self.low) / log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, share: float) -> float:
        """The value at a share of the axis."""
        if self.is_log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


def _joined(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """All dots of the line through some places."""
    dots = list(places[:1])
    for (x0, y0), (x1, y1) in pairwise(places):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        dots += [
            (round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)) for step in range(1, steps + 1)
        ]
    return dots


def _free(rows: Sequence[Sequence[tuple[str, bool]]], row: int, column: int, length: int) -> tuple[int, int] | None:
    """The nearest place for a label with a blank on either side."""
    shifts = [
        (0, 0),
        *((down, 0) for down in (1, -1)),
        *((down, side) for side in (3, -3, 6, -6) for down in (0, 1, -1)),
    ]
    for down, side in shifts:
        y, x = row + down, column + side
        if not 0 <= y < len(rows) or not 0 <= x <= len(rows[0]) - length:
            continue
        if all(letter == " " for letter, _ in rows[y][max(0, x - 1) : x + length + 1]):
            return y, x
    return None


@dataclass(frozen=True, slots=True)
class Beside:
    """Pictures of one height next to each other, or below each other where the terminal is narrow."""

    plots: tuple[Plot, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All of them."""
        width = (options.max_width - _GAP * (len(self.plots) - 1)) // len(self.plots)
        if width < _LEAST_BESIDE:
            yield from self.plots
            return
        columns = [plot.lines(width) for plot in self.plots]
        wide = [max(line.cell_len for line in lines) for lines in columns]
        for row in zip(*columns, strict=True):
            line = Text()
            for index, part in enumerate(row):
                line.append_text(part)
                if index < len(row) - 1:
                    line.append(" " * (wide[index] - part.cell_len + _GAP))
            yield line
