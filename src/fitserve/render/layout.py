"""Rows of an answer: a table where it fits the terminal, a few lines a row where it does not."""

from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fitserve.render.texts import Texts

_UNLIMITED = 10_000
_INDENT = 3
_NAME_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Rows:
    """Cells under headings; a heading that begins with `>` is that of a figure. The first `lead` cells name a row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lead: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or each row as lines when the table is wider than the terminal."""
        table = self._table()
        width = Measurement.get(console, options.update_width(_UNLIMITED), table).maximum
        # a name may be folded, down to this width, to make room for the rest
        longest = max((cell_len(row[0]) for row in self.rows), default=0)
        if width - max(0, longest - _NAME_COLUMNS) <= options.max_width:
            yield table
        else:
            for row in self.rows:
                yield from self._lines(row)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for index, heading in enumerate(self.headings):
            justify: Literal["left", "right"] = "right" if heading.startswith(">") else "left"
            table.add_column(heading.removeprefix(">"), justify=justify, no_wrap=index > 0, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def _lines(self, row: tuple[str, ...]) -> list[RenderableType]:
        named = list(zip(self.headings, row, strict=True))
        words = [cell for heading, cell in named[self.lead :] if not heading.startswith(">")]
        figures = [f"{heading[1:]} {cell}" for heading, cell in named[self.lead :] if heading.startswith(">")]
        title = Text(" ".join(row[: self.lead]), style="bold")
        details = [indented(" · ".join(part)) for part in (words, figures) if part]
        return [title, *details]


def headings_of(names: tuple[str, ...], texts: Texts) -> tuple[str, ...]:
    """Headings by the names of their labels; `>` stays before those of figures."""
    return tuple(">" * name.startswith(">") + texts.label(name.removeprefix(">")) for name in names)


def indented(text: str, style: str = "", indent: int = _INDENT) -> Padding:
    """A paragraph whose lines, also those that wrap, begin `indent` columns in."""
    return Padding(Text(text, style=style), (0, 0, 0, indent), expand=False)
