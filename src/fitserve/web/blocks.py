"""Documents and answers as blocks that one template draws: paragraphs, lists, tables, code, charts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fitserve.render.page.document import Block, Bullets, Cell, Code, Document, Figure, Heading, Paragraph, Table
from fitserve.render.page.html import inline

_NOTHING = Markup("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A block: its kind, its text or lines, and what a table needs. Texts are escaped markup already."""

    kind: str
    text: Markup = _NOTHING
    plain: str = ""
    strong: bool = False
    lines: tuple[Markup, ...] = ()
    headings: tuple[tuple[str, bool], ...] = ()
    """(name, whether figures stand below it)."""
    rows: tuple[tuple[tuple[Markup, Markup, str], ...], ...] = ()
    """(text, note, verdict) of each cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSection:
    """A section with its anchor."""

    id: str
    title: str
    blocks: tuple[Shown, ...]


def sections_of(document: Document) -> tuple[ShownSection, ...]:
    """The sections of a document."""
    return tuple(
        ShownSection(id=part.id, title=part.title, blocks=tuple(map(_shown, part.blocks))) for part in document.sections
    )


def marked(text: str) -> Markup:
    """A text with its code and bold parts, everything else escaped."""
    return Markup(inline(text))  # noqa: S704 - inline escapes


def _shown(block: Block) -> Shown:
    match block:
        case Table():
            rows = tuple(tuple(_cell(cell) for cell in row) for row in block.rows)
            return Shown(kind="table", text=marked(block.caption), headings=headings(block.headings), rows=rows)
        case Bullets():
            return Shown(kind="bullets", lines=tuple(map(marked, block.items)))
        case Code():
            return Shown(kind="code", plain=block.text.rstrip(), text=marked(block.title))
        case Heading():
            return Shown(kind="heading", text=marked(block.text))
        case Figure():
            return Shown(kind="figure", text=Markup(block.svg), plain=block.caption)  # noqa: S704 - drawn by us
        case Paragraph():
            return Shown(kind="note" if block.is_note else "text", text=marked(block.text))


def _cell(cell: Cell) -> tuple[Markup, Markup, str]:
    return marked(cell.text), marked(cell.note), cell.verdict or ""


def headings(names: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    """Names of columns; `>` says that figures stand below."""
    return tuple((name.removeprefix(">"), name.startswith(">")) for name in names)


def plain_rows(rows: Iterable[Sequence[str]]) -> tuple[tuple[tuple[Markup, Markup, str], ...], ...]:
    """Cells of text."""
    return tuple(tuple((marked(cell), Markup(""), "") for cell in row) for row in rows)
