"""What a document is made of. Texts may hold `code` and **bold**; everything else in them is plain."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: its text, a smaller second line, and a verdict (fits, tight, no, unsup, unknown) that colours it."""

    text: str
    note: str = ""
    verdict: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headings and rows. A heading that begins with `>` is that of a figure; `caption` names the table."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A paragraph; `is_note` is set smaller."""

    text: str
    is_note: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Lines to copy; `title` says what they are."""

    text: str
    language: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart as SVG, with the words that stand beside it; Markdown leaves it out, a table holds its figures."""

    svg: str
    caption: str


Block: TypeAlias = Table | Paragraph | Bullets | Code | Heading | Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a document; `id` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Title, what stands above it, one or more sentences that sum it up, and the sections."""

    language: str
    title: str
    eyebrow: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    contents_title: str = ""
    colophon: str = ""


def cells(*texts: str) -> tuple[Cell, ...]:
    """A row of plain cells."""
    return tuple(Cell(text=text) for text in texts)
